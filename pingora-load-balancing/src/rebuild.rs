//! Builds one selector of a group in the background: one build at a time, only of the newest set.
//!
//! `group.rs` owns one `Slot` per selector and says what to build.
//!
//! ```text
//!          request                    gate open
//!  Idle ────────────> Running, waiting ──────> Running, building ──> Idle if nothing waits
//!                       │    ^ request: the waiting one is replaced, counted as coalesced
//!  Closed <─────────────┴──── the group is dropped
//! ```

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use log::error;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::Backend;
use crate::balancer::build_selector;
use crate::selection::{BackendIter, BackendSelection};

/// Lets one selector at a time be rebuilt, among all groups that share it.
///
/// Large rings are expensive: many groups that get new backends at the same time would take every core from the
/// requests. Rebuilds are let through in the order they asked.
///
/// ```
/// use std::sync::Arc;
/// use pingora_load_balancing::discovery::Static;
/// use pingora_load_balancing::{Backends, LoadBalancerGroup, SelectorRebuildGate, selection::Consistent};
///
/// let gate = Arc::new(SelectorRebuildGate::new());
/// let group = |addr: &'static str| {
///     let backends = Backends::new(Static::try_from_iter([addr])?);
///     let group = LoadBalancerGroup::<Consistent>::from_backends_with_configs(backends, [None]);
///     std::io::Result::Ok(group.with_rebuild_gate(gate.clone()))
/// };
/// let groups = [group("10.0.0.1:80")?, group("10.0.0.2:80")?];
/// # std::io::Result::Ok(())
/// ```
pub struct SelectorRebuildGate {
    turn: Arc<Semaphore>,
}

impl SelectorRebuildGate {
    /// Creates an open gate.
    pub fn new() -> Self {
        SelectorRebuildGate {
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Default for SelectorRebuildGate {
    /// Returns what [`new`](Self::new) does.
    fn default() -> Self {
        Self::new()
    }
}

/// How long the last build of one selector of a group took.
///
/// ```
/// use pingora_load_balancing::{LoadBalancerGroup, selection::Consistent};
///
/// fn log_slow_builds(group: &LoadBalancerGroup<Consistent>) {
///     for index in 0..group.selector_count() {
///         let Some(timing) = group.selector_last_update_timing(index) else {
///             continue;
///         };
///         if timing.build_duration.as_millis() > 100 {
///             println!("selector {index} generation {} {:?}", timing.generation, timing.build_duration);
///         }
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SelectorUpdateTimings {
    /// The generation of the set the selector was built from.
    pub generation: u64,
    /// The time from the update of the set to the start of the build: the gate, and an older build of this selector.
    pub queue_duration: Duration,
    /// The time the build took.
    pub build_duration: Duration,
}

/// A set to build a selector from.
#[derive(Default)]
pub(crate) struct Published {
    /// How many sets were published before, the initial empty one included.
    pub(crate) generation: u64,
    pub(crate) backends: Arc<BTreeSet<Backend>>,
}

/// One selector and its builds.
pub(crate) struct Slot<S: BackendSelection> {
    config: Option<S::Config>,
    selector: ArcSwap<S>,
    /// The generation of `selector`. Stored (release) after it: who loads (acquire) a generation sees its selector.
    generation: AtomicU64,
    timing: ArcSwapOption<SelectorUpdateTimings>,
    coalesced: AtomicU64,
    failed: AtomicU64,
    queue: Mutex<Queue>,
    /// The newest generation whose build has ended, well or not.
    settled: watch::Sender<u64>,
}

#[derive(Default)]
struct Queue {
    waiting: Option<Request>,
    worker: Worker,
}

struct Request {
    set: Arc<Published>,
    since: Instant,
}

#[derive(Default)]
enum Worker {
    #[default]
    Idle,
    Running,
    Closed,
}

impl<S: BackendSelection> Slot<S> {
    /// Builds the selector of the initial set here and now.
    pub(crate) fn new(initial: &Published, config: Option<S::Config>) -> Self {
        Slot {
            selector: ArcSwap::from_pointee(build_selector(&initial.backends, config.as_ref())),
            config,
            generation: AtomicU64::new(initial.generation),
            timing: ArcSwapOption::empty(),
            coalesced: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            queue: Mutex::default(),
            settled: watch::Sender::new(initial.generation),
        }
    }

    pub(crate) fn selector(&self) -> Guard<Arc<S>> {
        self.selector.load()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn timing(&self) -> Option<SelectorUpdateTimings> {
        self.timing.load().as_deref().copied()
    }

    /// Returns how many sets no selector was built from as a newer one was there before the build began.
    pub(crate) fn coalesced(&self) -> u64 {
        self.coalesced.load(Ordering::Relaxed)
    }

    /// Returns how many builds panicked.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits until the build from the set of `generation`, or of a newer one, has ended.
    pub(crate) async fn settled(&self, generation: u64) {
        let mut settled = self.settled.subscribe();
        // It cannot be closed: `self` has the sender.
        let _ = settled.wait_for(|settled| *settled >= generation).await;
    }

    /// Returns whether nothing is being built.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.queue().worker, Worker::Idle)
    }

    /// Forgets what waits; a build in progress ends without effect.
    pub(crate) fn close(&self) {
        let mut queue = self.queue();
        queue.worker = Worker::Closed;
        queue.waiting = None;
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that can panic runs while it is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `set` in the queue, in place of an older one. Returns whether a worker is to be started.
    fn enqueue(&self, set: &Arc<Published>) -> bool {
        let mut queue = self.queue();
        let replaced = queue.waiting.replace(Request {
            set: set.clone(),
            since: Instant::now(),
        });
        if replaced.is_some() {
            self.coalesced.fetch_add(1, Ordering::Relaxed);
        }
        match queue.worker {
            Worker::Idle => {
                queue.worker = Worker::Running;
                true
            }
            Worker::Running => false,
            Worker::Closed => {
                queue.waiting = None;
                false
            }
        }
    }

    /// Returns whether something waits; if not, the worker that asks is idle from now on.
    pub(crate) fn more(&self) -> bool {
        let mut queue = self.queue();
        let more = queue.waiting.is_some();
        if !more {
            queue.release_worker();
        }
        more
    }

    fn build(&self, request: &Request) {
        let set = &request.set;
        let started = Instant::now();
        let build = || build_selector::<S>(&set.backends, self.config.as_ref());
        match catch_unwind(AssertUnwindSafe(build)) {
            Ok(selector) => self.publish(
                selector,
                SelectorUpdateTimings {
                    generation: set.generation,
                    queue_duration: started - request.since,
                    build_duration: started.elapsed(),
                },
            ),
            Err(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                error!("selector build panicked generation={}", set.generation);
            }
        }
        self.settled
            .send_modify(|settled| *settled = set.generation.max(*settled));
    }

    fn publish(&self, selector: S, timing: SelectorUpdateTimings) {
        let queue = self.queue();
        if matches!(queue.worker, Worker::Closed) || timing.generation <= self.generation() {
            return;
        }
        self.selector.store(Arc::new(selector));
        self.timing.store(Some(Arc::new(timing)));
        // Release: pairs with the acquire of `generation`.
        self.generation.store(timing.generation, Ordering::Release);
    }
}

impl<S> Slot<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Config: 'static,
    S::Iter: BackendIter,
{
    /// Has the selector of `set` built: in the background, or right here if there is no runtime.
    pub(crate) fn request(self: &Arc<Self>, set: &Arc<Published>, gate: &Arc<SelectorRebuildGate>) {
        if !self.enqueue(set) {
            return;
        }
        let worker = RunningWorker(self.clone());
        match Handle::try_current() {
            Ok(_) => {
                pingora_runtime::current_handle().spawn(worker.work(gate.clone()));
            }
            Err(_) => worker.work_here(),
        }
    }

    /// Requests a build if the selector is behind `set` and nothing is being done about it: the last build failed.
    pub(crate) fn catch_up(
        self: &Arc<Self>,
        set: &Arc<Published>,
        gate: &Arc<SelectorRebuildGate>,
    ) {
        if self.is_idle() && self.generation() < set.generation {
            self.request(set, gate);
        }
    }
}

/// The right to build for a slot. Given back when dropped, as when the runtime ends.
struct RunningWorker<S: BackendSelection>(Arc<Slot<S>>);

impl<S> RunningWorker<S>
where
    S: BackendSelection + Send + Sync + 'static,
    S::Config: 'static,
{
    async fn work(self, gate: Arc<SelectorRebuildGate>) {
        while self.0.more() {
            // The semaphore is never closed.
            let Ok(turn) = gate.turn.clone().acquire_owned().await else {
                return;
            };
            // What waits may have been replaced by something newer meanwhile.
            let Some(request) = self.0.queue().waiting.take() else {
                continue;
            };
            let slot = self.0.clone();
            let build = tokio::task::spawn_blocking(move || {
                slot.build(&request);
                // The gate opens when the build has ended, even if nobody waits for it any more.
                drop(turn);
            });
            if build.await.is_err() {
                // The runtime ends.
                return;
            }
        }
    }

    fn work_here(self) {
        while self.0.more() {
            let waiting = self.0.queue().waiting.take();
            if let Some(request) = waiting {
                self.0.build(&request);
            }
        }
    }
}

impl<S: BackendSelection> Drop for RunningWorker<S> {
    fn drop(&mut self) {
        self.0.queue().release_worker();
    }
}

impl Queue {
    fn release_worker(&mut self) {
        if matches!(self.worker, Worker::Running) {
            self.worker = Worker::Idle;
        }
    }
}
