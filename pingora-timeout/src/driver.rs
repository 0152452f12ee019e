//! The process's timers: a wheel per thread, one clock, one thread that advances it. `deadline`
//! is the only user of registrations.
//!
//! * A thread registers into its own shard, so its lock is contended only while the driver turns
//!   the wheel of that shard or another thread drops a timer of it.
//! * Registering reads no clock: the driver does, for all timers started since its last turn. So
//!   it turns once per tick while timers are started, and a while longer lest each of them has to
//!   wake it; then it sleeps until the earliest one, or for good if there is none. Only the first
//!   timer of a shard since the driver's last turn may have to wake it: the others do not look.
//! * Time counts from when the driver looks, at most a tick later, and is rounded up to a tick: a
//!   timer is never early and at most two ticks late, which is the precision of 10 ms.
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

use parking_lot::{Mutex, MutexGuard};

use crate::{
    alarm::Alarm,
    deadline::nanos,
    wheel::{Key, Status, Wheel},
};

const TICKS_PER_SECOND: u64 = 200;
const TICK_NANOS: u32 = 5_000_000;
/// How long the driver goes on turning after the last timer was started: 100 ms, so that it is
/// woken ten times per second at most, and turns little if timers are rare.
const LINGER_TICKS: u64 = TICKS_PER_SECOND / 10;
/// What `Shard::next` is when there are fresh timers: earlier than any tick to come.
const AT_ONCE: u64 = 0;
/// Threads beyond this many share shards.
const SHARDS: usize = 64;
/// Timers fired per locking of a shard, so that its thread waits some microseconds at most.
const FIRED_PER_LOCK: usize = 64;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The nanoseconds from the start to when the driver last looked: a lower bound of the time that
/// costs one load.
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

    // Starts a timer. Returns its key and whether the driver may have to be woken.
    #[inline]
    fn start(&self, nanos: u64, waker: Waker) -> (Key, bool) {
        let mut wheel = self.wheel.lock();
        let key = wheel.start(nanos, waker);
        (key, self.expect_turn(wheel))
    }

    // Starts a timer anew. Returns whether the driver may have to be woken; `None` if it is gone.
    fn restart(&self, key: Key, nanos: u64) -> Option<bool> {
        let mut wheel = self.wheel.lock();
        wheel.restart(key, nanos).then(|| self.expect_turn(wheel))
    }

    // Has the driver look at a fresh timer. Returns false if that is expected already: then whoever
    // was the first since its last turn sees to it that it is awake.
    #[inline]
    fn expect_turn(&self, locked: MutexGuard<'_, Wheel<Waker>>) -> bool {
        let is_first = self.next.load(Ordering::Relaxed) != AT_ONCE;
        if is_first {
            self.next.store(AT_ONCE, Ordering::Relaxed);
        }
        drop(locked);
        is_first
    }

    // Gives fresh timers their due tick and calls the wakers of those that are due at the time
    // since the start that `clock` tells.
    fn turn(&self, clock: impl Fn() -> Duration, fired: &mut Vec<Waker>) {
        loop {
            let mut wheel = self.wheel.lock();
            // Not before locking: what has been registered was so before now.
            let now = clock();
            wheel.settle(tick(now), |nanos| {
                due_tick(now.saturating_add(Duration::from_nanos(nanos)))
            });
            let more = wheel.expire(tick(now), FIRED_PER_LOCK, fired);
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
    /// It is not due before so many nanoseconds since the start, whatever the wheel says.
    not_before: u64,
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
    /// Returns a timer that wakes `waker` after `nanos`.
    #[inline]
    pub(crate) fn new(nanos: u64, waker: &Waker) -> Self {
        let shard = Shard::of_thread();
        let waker = waker.clone();
        let id = WakerId::of(&waker);
        // Before the wheel knows the timer: read later, the clock may be ahead of the time from
        // which the wheel counts, and a timer that fired would be taken for one that cannot have.
        let not_before = earliest_due(nanos);
        let (key, is_first) = SHARD[shard as usize].start(nanos, waker);
        if is_first {
            wake_driver();
        }
        Self {
            not_before,
            key,
            waker: id,
            shard,
        }
    }

    /// Makes the timer wake `waker`, `nanos` from now. Returns `false` if it has fired.
    pub(crate) fn restart(&mut self, nanos: u64, waker: &Waker) -> bool {
        if WakerId::of(waker) != self.waker && !self.replace_waker(waker) {
            return false;
        }
        // Before the wheel counts anew, as in `new`.
        let not_before = earliest_due(nanos);
        match self.shard().restart(self.key, nanos) {
            None => return false,
            Some(true) => wake_driver(),
            Some(false) => {}
        }
        self.not_before = not_before;
        true
    }

    /// Returns `true` if it has fired; otherwise `waker` will be woken. Takes no lock if that is
    /// the one it wakes already and the time cannot be over.
    #[inline]
    pub(crate) fn poll_fired(&mut self, waker: &Waker) -> bool {
        let is_early = CLOCK.load(Ordering::Relaxed) < self.not_before;
        !(is_early && WakerId::of(waker) == self.waker) && self.poll_fired_slow(waker)
    }

    #[inline(never)]
    fn poll_fired_slow(&mut self, waker: &Waker) -> bool {
        if WakerId::of(waker) != self.waker {
            return !self.replace_waker(waker);
        }
        match self.shard().wheel.lock().status(self.key) {
            Status::Gone => return true,
            Status::Fresh => {}
            Status::Due(due) => self.not_before = due.saturating_mul(u64::from(TICK_NANOS)),
        }
        false
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
        // Dropped outside the lock.
        let _waker = self.shard().wheel.lock().remove(self.key);
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

// A lower bound of the time at which a timer started now is due: the clock may be behind.
#[inline]
fn earliest_due(nanos: u64) -> u64 {
    CLOCK.load(Ordering::Relaxed).saturating_add(nanos)
}

// The last tick not after `time` since the start.
fn tick(time: Duration) -> u64 {
    let ticks = time.as_secs().saturating_mul(TICKS_PER_SECOND);
    ticks.saturating_add(u64::from(time.subsec_nanos() / TICK_NANOS))
}

// The first tick not before `time` since the start.
fn due_tick(time: Duration) -> u64 {
    let ticks = time.as_secs().saturating_mul(TICKS_PER_SECOND);
    ticks.saturating_add(u64::from(time.subsec_nanos().div_ceil(TICK_NANOS)))
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

// Once per turn of the driver, so it need not be fast.
#[cold]
fn wake_driver() {
    if ALARM.must_ring(AT_ONCE)
        && let Some(thread) = &*DRIVER.lock()
    {
        thread.thread().unpark();
    }
}

fn run(epoch: u64) {
    let mut fired = Vec::with_capacity(FIRED_PER_LOCK);
    // Partner: `pause`, whose unpark orders the store before the return from parking.
    let is_driver =
        || STATE.load(Ordering::Relaxed) == RUNNING && EPOCH.load(Ordering::Relaxed) == epoch;
    let mut linger_until = 0;
    while is_driver() {
        ALARM.awake();
        let now = tick(advance_clock());
        for shard in shards() {
            let next = shard.next.load(Ordering::Relaxed);
            if next == AT_ONCE {
                linger_until = now + LINGER_TICKS;
            }
            if next <= now {
                shard.turn(advance_clock, &mut fired);
            }
        }
        let next = earliest();
        if now < linger_until {
            // Nobody rings as long as it counts as awake.
            park_until(now + 1);
        } else if ALARM.may_sleep(next, earliest) {
            park_until(next);
        }
    }
}

// Returns the time since the start, and has `CLOCK` tell no less: what fires by this time must not
// look early to the task it wakes.
fn advance_clock() -> Duration {
    let time = START.elapsed();
    // Not `store`: a driver that could not be joined may still run beside the next.
    CLOCK.fetch_max(nanos(time), Ordering::Relaxed);
    time
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
