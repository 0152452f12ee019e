//! Small sends of one turn of the event loop leave together, at its end.
//!
//! A send wakes whoever waits for it. If the work for another request lies between two sends, the
//! other side has gone back to sleep by the second one and is woken again, which costs both sides
//! more than the send itself. So a small send on a thread of ours is queued, and a task that runs
//! after those that are ready now makes all of them in a row.
//!
//! ```text
//! Stream ── hand_over ──> queue of the thread ── turn ends ──> send ──┬──> gone
//!    │                       │                                        ├──> blocked: tried again
//!    └── settle, poll_rest ──┘ sends at once: before a larger send,   └──> failed: told to the
//!                              the end of the stream and its drop          next send
//! ```
//!
//! What was handed over counts as sent, as if it were in the buffer of the socket. A descriptor is
//! queued no longer than its stream lives: [`Departing`] is dropped before the socket is.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::sys;

/// Sends up to this size are queued: a head, a small message, a piece of an event stream.
const MAX_PARCEL: usize = 4 * 1024;

/// Sends that wait for the end of a turn; the next one makes all of them.
const MAX_WAITING: usize = 24;

/// Sends made without releasing the lock in between: others may wait for it.
const SENT_AT_ONCE: usize = 8;

/// How long after a socket had no room it is tried again, unless its stream sends something...
const RETRY: Duration = Duration::from_millis(10);

/// ...and how many sockets are tried at a time: clients that do not read must not cost much.
const RETRIED_AT_ONCE: usize = 32;

/// Turns in a row with a single send after which sends are no longer queued...
const LONE_TURNS: u8 = 32;

/// ...for so many of them: then one is, to see whether there are others by now.
const NOT_QUEUED: u8 = 32;

thread_local! {
    static OF_THREAD: OfThread = const { OfThread(OnceCell::new()) };
}

/// The queue of a thread, which ends with it.
struct OfThread(OnceCell<Arc<Departures>>);

/// What the streams served by a thread have handed over.
#[derive(Debug, Default)]
struct Departures {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// In the order they were handed over; those that were sent before their turn are empty.
    waiting: VecDeque<Parcel>,
    /// The number of the first of them.
    first: u64,
    /// Those whose socket had no room.
    blocked: BTreeMap<u64, Parcel>,
    /// The number of the first of them to try again.
    retry_from: u64,
    /// Those that could not be sent.
    failed: HashMap<u64, io::Error>,
    /// Buffers for the next ones.
    spare: Vec<Vec<u8>>,
    task: Option<Waker>,
    /// The task is about to run.
    is_awake: bool,
    /// The thread or its runtime ends: nothing is queued any more.
    is_closed: bool,
    /// Turns in a row with one send.
    lone_turns: u8,
    /// Sends since then that were not queued.
    not_queued: u8,
}

#[derive(Debug)]
struct Parcel {
    socket: RawFd,
    bytes: Vec<u8>,
}

/// The bytes a stream has handed over last, as far as it knows.
#[derive(Debug, Default)]
pub(super) struct Departing(Option<(Arc<Departures>, u64)>);

impl Departing {
    /// Queues `bytes` for the end of the turn, behind what was handed over before. Returns `false`,
    /// and does nothing, if they are to be sent at once, after [`poll_rest`](Self::poll_rest).
    pub(super) fn hand_over(&mut self, socket: RawFd, bytes: &[u8]) -> bool {
        let is_parcel = (1..=MAX_PARCEL).contains(&bytes.len());
        if !is_parcel || !pingora_runtime::is_runtime_thread() {
            return false;
        }
        if let Some((departures, number)) = &self.0 {
            match departures.lock().state(*number) {
                State::Waiting(parcel) => return parcel.append(bytes),
                State::Gone => {}
                State::Stuck => return false,
            }
        }
        // While the thread ends there is none.
        let queued = OF_THREAD.try_with(|of_thread| {
            let departures = of_thread.departures()?;
            let number = departures.lock().push(socket, bytes)?;
            match &mut self.0 {
                Some((known, last)) if Arc::ptr_eq(known, departures) => *last = number,
                other => *other = Some((departures.clone(), number)),
            }
            Some(())
        });
        matches!(queued, Ok(Some(())))
    }

    /// Sends what still waits, and returns whether everything has left.
    pub(super) fn settle(&self) -> bool {
        let Some((departures, number)) = &self.0 else {
            return true;
        };
        let mut queue = departures.lock();
        queue.send_now(*number);
        matches!(queue.state(*number), State::Gone)
    }

    /// Sends what was handed over and has not left, by `write` as far as the socket has no room.
    pub(super) fn poll_rest(
        &mut self,
        mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        let Some((departures, number)) = &self.0 else {
            return Poll::Ready(Ok(()));
        };
        // Ends: each round sends something, or returns.
        loop {
            let rest = departures.lock().take(*number);
            let Ok(Some(mut parcel)) = rest else {
                self.0 = None;
                return Poll::Ready(rest.map(|_| ()));
            };
            // Without the lock: what `write` does is not known here.
            let sent = match write(&parcel.bytes) {
                Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(sent) => sent,
                Poll::Pending => {
                    departures.lock().put_back(*number, parcel);
                    return Poll::Pending;
                }
            };
            parcel.bytes.drain(..sent?);
            departures.lock().put_back(*number, parcel);
        }
    }
}

impl Drop for Departing {
    /// Sends what still waits, as far as the socket has room.
    fn drop(&mut self) {
        if let Some((departures, number)) = &self.0 {
            // Nobody is left to be told what could not be sent.
            let _ = departures.lock().take(*number);
        }
    }
}

impl OfThread {
    /// Returns the queue, when it is first asked for with a task that empties it; `None` outside of
    /// a runtime.
    fn departures(&self) -> Option<&Arc<Departures>> {
        if let Some(departures) = self.0.get() {
            return Some(departures);
        }
        let runtime = Handle::try_current().ok()?;
        let departures = self.0.get_or_init(Arc::default);
        departures.lock().is_awake = true;
        runtime.spawn(Dispatch {
            departures: departures.clone(),
            has_waited: false,
            retry: None,
        });
        Some(departures)
    }
}

impl Departures {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OfThread {
    fn drop(&mut self) {
        if let Some(departures) = self.0.get() {
            departures.lock().close();
        }
    }
}

/// Where a parcel is.
enum State<'a> {
    Waiting(&'a mut Parcel),
    Gone,
    Stuck,
}

impl Queue {
    /// Queues a send and returns its number, or `None` if it should be made at once.
    fn push(&mut self, socket: RawFd, bytes: &[u8]) -> Option<u64> {
        if self.is_closed {
            return None;
        }
        if self.lone_turns >= LONE_TURNS {
            if self.not_queued < NOT_QUEUED {
                self.not_queued += 1;
                return None;
            }
            self.not_queued = 0;
        }
        if self.waiting.len() >= MAX_WAITING {
            while self.send_some() {}
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.extend_from_slice(bytes);
        self.waiting.push_back(Parcel {
            socket,
            bytes: buffer,
        });
        self.wake();
        Some(self.first + self.waiting.len() as u64 - 1)
    }

    /// Has the task run at the end of the turn.
    fn wake(&mut self) {
        if !std::mem::replace(&mut self.is_awake, true)
            && let Some(task) = &self.task
        {
            task.wake_by_ref();
        }
    }

    /// Queues nothing any more. The task ends when nothing is left.
    fn close(&mut self) {
        self.is_closed = true;
        self.wake();
    }

    fn state(&mut self, number: u64) -> State<'_> {
        if self.blocked.contains_key(&number) || self.failed.contains_key(&number) {
            return State::Stuck;
        }
        let waiting = number.checked_sub(self.first);
        match waiting.and_then(|at| self.waiting.get_mut(at as usize)) {
            Some(parcel) if !parcel.bytes.is_empty() => State::Waiting(parcel),
            _ => State::Gone,
        }
    }

    /// Sends a parcel if it waits, and returns it if its socket had no room, now or before.
    fn take(&mut self, number: u64) -> io::Result<Option<Parcel>> {
        self.send_now(number);
        match self.failed.remove(&number) {
            Some(e) => Err(e),
            None => Ok(self.blocked.remove(&number)),
        }
    }

    /// Has what is left of a parcel tried again.
    fn put_back(&mut self, number: u64, parcel: Parcel) {
        if !parcel.bytes.is_empty() {
            self.blocked.insert(number, parcel);
            self.wake();
        }
    }

    /// Sends a parcel before its turn.
    fn send_now(&mut self, number: u64) {
        if let State::Waiting(parcel) = self.state(number) {
            let parcel = Parcel {
                socket: parcel.socket,
                bytes: std::mem::take(&mut parcel.bytes),
            };
            self.send(number, parcel);
        }
    }

    /// Sends some of those that wait; returns whether there are more.
    fn send_some(&mut self) -> bool {
        for _ in 0..SENT_AT_ONCE {
            let Some(parcel) = self.waiting.pop_front() else {
                return false;
            };
            self.first += 1;
            if !parcel.bytes.is_empty() {
                self.send(self.first - 1, parcel);
            }
        }
        !self.waiting.is_empty()
    }

    fn send(&mut self, number: u64, mut parcel: Parcel) {
        match sys::send(parcel.socket, &parcel.bytes) {
            Ok(sent) if sent == parcel.bytes.len() => {
                parcel.bytes.clear();
                if self.spare.len() < MAX_WAITING {
                    self.spare.push(parcel.bytes);
                }
            }
            Ok(sent) => {
                parcel.bytes.drain(..sent);
                self.put_back(number, parcel);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.put_back(number, parcel),
            Err(e) => {
                self.failed.insert(number, e);
            }
        }
    }

    /// Tries some of those again whose socket had no room, at the next call others.
    fn send_blocked(&mut self) {
        let next = self.blocked.range(self.retry_from..);
        let next: Vec<u64> = next.take(RETRIED_AT_ONCE).map(|(of, _)| *of).collect();
        self.retry_from = match next.last() {
            Some(last) if next.len() == RETRIED_AT_ONCE => last + 1,
            _ => 0,
        };
        for number in next {
            if let Some(parcel) = self.blocked.remove(&number) {
                self.send(number, parcel);
            }
        }
    }
}

impl Parcel {
    /// Adds bytes behind those that wait, if there is room.
    fn append(&mut self, bytes: &[u8]) -> bool {
        let fits = self.bytes.len() + bytes.len() <= MAX_PARCEL;
        if fits {
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }
}

/// The task that makes the sends of a thread.
struct Dispatch {
    departures: Arc<Departures>,
    /// The tasks that were ready when this one was woken have run.
    has_waited: bool,
    retry: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Dispatch {
    /// Sends what waits, in portions; returns how much that was.
    fn send(&self) -> usize {
        let count = self.departures.lock().waiting.len();
        while self.departures.lock().send_some() {}
        count
    }

    /// Tries again while there are sockets without room.
    fn poll_retry(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(retry) = &mut self.retry {
                ready!(retry.as_mut().poll(cx));
                self.retry = None;
                self.departures.lock().send_blocked();
            }
            if self.departures.lock().blocked.is_empty() {
                return Poll::Ready(());
            }
            self.retry = Some(Box::pin(tokio::time::sleep(RETRY)));
        }
    }
}

impl Future for Dispatch {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.has_waited {
            self.has_waited = true;
            // To the end of the queue: that is where a task goes that wakes itself.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.has_waited = false;
        let sent = self.send();
        // Nothing to do if there are none, or when they are tried again.
        let _ = self.poll_retry(cx);
        let mut queue = self.departures.lock();
        queue.lone_turns = match sent {
            0 => queue.lone_turns,
            1 => queue.lone_turns.saturating_add(1),
            _ => 0,
        };
        if !queue
            .task
            .as_ref()
            .is_some_and(|task| task.will_wake(cx.waker()))
        {
            queue.task = Some(cx.waker().clone());
        }
        queue.is_awake = !queue.waiting.is_empty();
        if queue.is_awake {
            cx.waker().wake_by_ref();
        }
        match queue.is_closed && queue.waiting.is_empty() && queue.blocked.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Dispatch {
    /// The runtime ends, and its tasks with it: what waits is sent now, and nothing is queued any more.
    fn drop(&mut self) {
        self.departures.lock().close();
        self.send();
    }
}

#[cfg(test)]
mod tests;
