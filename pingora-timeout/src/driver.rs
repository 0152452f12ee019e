//! The process's timers: a wheel per thread, one clock, one thread that advances it. `deadline`
//! is the only user of registrations.
//!
//! * A thread registers into its own shard, so its lock is contended only while the driver fires
//!   timers of that shard or another thread drops a timer of it.
//! * The driver sleeps until the earliest timer and not at all if there is none. Cancelling does
//!   not tell it: it wakes for nothing, at most once, which is cheaper than talking to it.
//! * The clock shows the last tick the driver fired, never one that has not come. It moves before
//!   the timers fire, so "is it due" is one load: a future woken by its timer sees the clock at
//!   or past the due tick, because waking orders the two.
//! * Wakers are cloned, called and dropped outside the locks: they may run anything.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        LazyLock,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    alarm::Alarm,
    wheel::{Key, Wheel},
};

const TICKS_PER_SECOND: u64 = 100;
const TICK_NANOS: u32 = 10_000_000;
/// Threads beyond this many share shards.
const SHARDS: usize = 64;
/// Timers fired per locking of a shard, so that its thread waits some microseconds at most.
const FIRED_PER_LOCK: usize = 64;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static CLOCK: AtomicU64 = AtomicU64::new(0);
#[cfg(not(all(test, loom)))]
static ALARM: Alarm = Alarm::new();
// The atomics of loom cannot be made in constants. Only the model of `alarm` runs with them.
#[cfg(all(test, loom))]
static ALARM: LazyLock<Alarm> = LazyLock::new(Alarm::new);
static SHARD: [Shard; SHARDS] = [const { Shard::new() }; SHARDS];
/// How many threads have registered timers, dead ones too.
static THREADS: AtomicUsize = AtomicUsize::new(0);

static STATE: AtomicU8 = AtomicU8::new(STOPPED);
/// Guards changes of `STATE`. The driver thread never takes it, so it can be joined under it.
static DRIVER: Mutex<Option<JoinHandle<()>>> = Mutex::new(None);
/// Which thread is the driver: one that could not be joined ends although another runs.
static EPOCH: AtomicU64 = AtomicU64::new(0);

/// Not started yet, or could not be.
const STOPPED: u8 = 0;
const RUNNING: u8 = 1;
const PAUSED: u8 = 2;

thread_local! {
    static SHARD_OF_THREAD: Cell<Option<u8>> = const { Cell::new(None) };
}

// Two cache lines, because neighbours are fetched in pairs.
#[repr(align(128))]
struct Shard {
    /// When the driver must look at the wheel, or earlier. Written under the lock.
    next: AtomicU64,
    wheel: Mutex<Wheel<Waker>>,
}

// === impl Shard ===

impl Shard {
    const fn new() -> Self {
        Self {
            next: AtomicU64::new(u64::MAX),
            wheel: Mutex::new(Wheel::new()),
        }
    }

    fn of_thread() -> u8 {
        SHARD_OF_THREAD.with(|cell| {
            cell.get().unwrap_or_else(|| {
                // Partner: the load of `shards`. A scan that misses this thread is repeated
                // before the driver sleeps, and then the fences of `Alarm` order the two.
                let thread = THREADS.fetch_add(1, Ordering::Relaxed);
                let shard = (thread % SHARDS) as u8;
                cell.set(Some(shard));
                shard
            })
        })
    }

    // Calls the wakers of all timers due at or before `now`.
    fn fire(&self, now: u64, fired: &mut Vec<Waker>) {
        loop {
            let mut wheel = self.wheel.lock();
            let more = wheel.expire(now, FIRED_PER_LOCK, fired);
            self.next.store(wheel.next(), Ordering::Relaxed);
            drop(wheel);
            for waker in fired.drain(..) {
                // A waker that panics must not end the timers of everybody else; the panic hook
                // has reported it.
                let _reported = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
            if !more {
                return;
            }
        }
    }
}

/// A timer in the wheel; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Registration {
    due: u64,
    key: Key,
    waker: WakerId,
    shard: u8,
}

// The identity of the waker kept in the wheel. That one is alive, so no other can have it.
#[derive(Debug, PartialEq, Eq)]
struct WakerId {
    data: usize,
    vtable: usize,
}

// === impl Registration ===

impl Registration {
    /// Returns a timer that wakes `waker` at tick `due`; `None` if that has come. `now` is the
    /// current tick or an earlier one.
    pub(crate) fn new(now: u64, due: u64, waker: &Waker) -> Option<Self> {
        let index = Shard::of_thread();
        let shard = &SHARD[index as usize];
        let waker = waker.clone();
        let id = WakerId::of(&waker);
        let mut wheel = shard.wheel.lock();
        wheel.skip_to(now);
        let inserted = wheel.insert(due, waker);
        let rings = match &inserted {
            Ok((_, tick)) if *tick < shard.next.load(Ordering::Relaxed) => {
                shard.next.store(*tick, Ordering::Relaxed);
                true
            }
            _ => false,
        };
        drop(wheel);
        // A waker that was not inserted is dropped here.
        let (key, tick) = inserted.ok()?;
        if rings && ALARM.must_ring(tick) {
            ring();
        }
        Some(Self {
            due,
            key,
            waker: id,
            shard: index,
        })
    }

    /// Returns the tick it is due at.
    #[inline]
    pub(crate) fn due(&self) -> u64 {
        self.due
    }

    /// Makes it wake `waker`; without a lock if that is the one it wakes already. Returns `false`
    /// if it has fired.
    #[inline]
    pub(crate) fn set_waker(&mut self, waker: &Waker) -> bool {
        WakerId::of(waker) == self.waker || self.replace_waker(waker)
    }

    fn replace_waker(&mut self, waker: &Waker) -> bool {
        let waker = waker.clone();
        let id = WakerId::of(&waker);
        // Dropped outside the lock, whichever it is.
        let replaced = self.shard().wheel.lock().replace(self.key, waker);
        if replaced.is_ok() {
            self.waker = id;
        }
        replaced.is_ok()
    }

    fn shard(&self) -> &'static Shard {
        &SHARD[self.shard as usize]
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // When the clock has passed it, the driver has removed it or is about to.
        if !is_due(self.due) {
            // Dropped outside the lock.
            let _waker = self.shard().wheel.lock().remove(self.key);
        }
    }
}

impl WakerId {
    #[inline]
    fn of(waker: &Waker) -> Self {
        Self {
            data: waker.data().addr(),
            vtable: std::ptr::from_ref(waker.vtable()).addr(),
        }
    }
}

/// Returns whether the clock has reached tick `due`.
#[inline]
pub(crate) fn is_due(due: u64) -> bool {
    CLOCK.load(Ordering::Relaxed) >= due
}

/// Returns the tick of the clock, which may be long past if no timer was due since.
pub(crate) fn clock() -> u64 {
    CLOCK.load(Ordering::Relaxed)
}

/// Returns the current tick and the first that comes `duration` from now or later.
pub(crate) fn now_and_due(duration: Duration) -> (u64, u64) {
    let now = START.elapsed();
    let due = now.saturating_add(duration);
    let due = due
        .as_secs()
        .saturating_mul(TICKS_PER_SECOND)
        .saturating_add(u64::from(due.subsec_nanos().div_ceil(TICK_NANOS)));
    (tick(now), due)
}

fn tick(since_start: Duration) -> u64 {
    since_start.as_secs() * TICKS_PER_SECOND + u64::from(since_start.subsec_nanos() / TICK_NANOS)
}

// === the thread ===

/// Returns whether timers fire: starts the driver if it is needed, unless paused.
#[inline]
pub(crate) fn is_running() -> bool {
    STATE.load(Ordering::Relaxed) == RUNNING || start_unless_paused()
}

#[cold]
fn start_unless_paused() -> bool {
    let mut driver = DRIVER.lock();
    if STATE.load(Ordering::Relaxed) == STOPPED {
        start(&mut driver);
    }
    STATE.load(Ordering::Relaxed) == RUNNING
}

/// Stops the driver and waits for it, so that a fork finds no lock held by it.
pub(crate) fn pause() {
    let mut driver = DRIVER.lock();
    STATE.store(PAUSED, Ordering::Relaxed);
    if let Some(thread) = driver.take() {
        thread.thread().unpark();
        // Called by a waker that the driver runs: it ends when that returns.
        if thread.thread().id() != thread::current().id() {
            let _panics_are_caught = thread.join();
        }
    }
}

/// Starts the driver again after [`pause`].
pub(crate) fn unpause() {
    let mut driver = DRIVER.lock();
    if STATE.load(Ordering::Relaxed) == PAUSED {
        start(&mut driver);
    }
}

fn start(driver: &mut Option<JoinHandle<()>>) {
    let epoch = EPOCH.fetch_add(1, Ordering::Relaxed) + 1;
    STATE.store(RUNNING, Ordering::Relaxed);
    ALARM.awake();
    let thread = thread::Builder::new().name("pingora-timer".into());
    match thread.spawn(move || run(epoch)) {
        Ok(thread) => *driver = Some(thread),
        // Out of threads: the next timer tries again, and until then tokio's are used.
        Err(_) => STATE.store(STOPPED, Ordering::Relaxed),
    }
}

#[cold]
fn ring() {
    if let Some(thread) = &*DRIVER.lock() {
        thread.thread().unpark();
    }
}

fn run(epoch: u64) {
    let mut fired = Vec::with_capacity(FIRED_PER_LOCK);
    // Partner: `pause`, whose unpark orders the store before the return from parking.
    let is_driver =
        || STATE.load(Ordering::Relaxed) == RUNNING && EPOCH.load(Ordering::Relaxed) == epoch;
    while is_driver() {
        ALARM.awake();
        let now = tick(START.elapsed());
        CLOCK.store(now, Ordering::Relaxed);
        for shard in shards() {
            if shard.next.load(Ordering::Relaxed) <= now {
                shard.fire(now, &mut fired);
            }
        }
        let next = earliest();
        if next > now && ALARM.may_sleep(next, earliest) {
            park_until(next);
        }
    }
}

fn park_until(tick: u64) {
    if tick == u64::MAX {
        return thread::park();
    }
    let seconds = Duration::from_secs(tick / TICKS_PER_SECOND);
    let nanos = (tick % TICKS_PER_SECOND) * u64::from(TICK_NANOS);
    let due = seconds.saturating_add(Duration::from_nanos(nanos));
    thread::park_timeout(due.saturating_sub(START.elapsed()));
}

fn earliest() -> u64 {
    let next = |shard: &Shard| shard.next.load(Ordering::Relaxed);
    shards().iter().map(next).min().unwrap_or(u64::MAX)
}

fn shards() -> &'static [Shard] {
    // Partner: `Shard::of_thread`.
    &SHARD[..THREADS.load(Ordering::Relaxed).min(SHARDS)]
}

#[cfg(test)]
mod tests;
