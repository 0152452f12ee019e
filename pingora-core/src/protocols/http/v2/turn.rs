//! [`Turn`]: the task of a connection runs after those of its streams, so that what all of them have
//! to send leaves in one write.

use std::task::{Context, Poll};

/// Makes the task of a connection wait for the others that are ready when it is woken.
///
/// Streams of a connection have something to send at about the same time: what they asked for was
/// read in one piece, or was answered so. The first of them wakes the task of the connection.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// The task was woken since it had nothing to do, and has waited.
    has_waited: bool,
}

impl Turn {
    /// Polls for the end of the turn in which the task was woken: pending on the first of two polls.
    pub(crate) fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.has_waited = !self.has_waited;
        if self.has_waited {
            // To the end of the queue: that is where a task goes that wakes itself.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio_test::{assert_pending, assert_ready};

    use super::*;

    #[test]
    fn work_waits_a_turn() {
        let mut turn = Turn::default();
        let mut work = tokio_test::task::spawn(poll_fn(|cx| turn.poll_wait(cx)));
        for _ in 0..3 {
            assert_pending!(work.poll());
            assert!(work.is_woken());
            assert_ready!(work.poll());
        }
    }
}
