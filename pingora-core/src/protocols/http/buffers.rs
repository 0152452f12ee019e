//! Read buffers that are used again: one set per thread, the hottest first.
//!
//! A buffer is taken to read, and given back at once when there is nothing to read: waiting costs
//! no memory. What was received is handed on as slices of the buffer, without a copy; the handle
//! they were split off is kept in the meantime and serves again when the last of them is gone.
//! Memory that goes back to the allocator instead would be returned to the system and faulted in
//! anew with every large message. Read next: `wire.rs`, the only user.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::BytesMut;

/// Room for a head and 64 KiB of body, a size many senders cut their messages to.
pub(super) const BULK_SIZE: usize = 68 * 1024;

/// What is read at once of a message that is longer than that.
pub(super) const HUGE_SIZE: usize = 256 * 1024;

/// Small messages are copied into buffers of this size: while they are held, little is.
pub(super) const SMALL_SIZE: usize = 4 * 1024;

/// Buffers a thread keeps: as many as are being filled and drained at a time, not one for each
/// connection. 1.8 MiB in all.
const KEPT_SMALL: usize = 64;
const KEPT_BULK: usize = 8;
const KEPT_HUGE: usize = 4;

/// Which buffers these are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Class {
    /// Of any size, not from here.
    #[default]
    Foreign,
    Small,
    Bulk,
    Huge,
}

impl Class {
    #[inline]
    fn size(self) -> usize {
        match self {
            Class::Foreign => 0,
            Class::Small => SMALL_SIZE,
            Class::Bulk => BULK_SIZE,
            Class::Huge => HUGE_SIZE,
        }
    }

    #[inline]
    fn kept(self) -> usize {
        match self {
            Class::Foreign => 0,
            Class::Small => KEPT_SMALL,
            Class::Bulk => KEPT_BULK,
            Class::Huge => KEPT_HUGE,
        }
    }
}

thread_local! {
    static KEPT: RefCell<Kept> = const {
        RefCell::new(Kept {
            small: VecDeque::new(),
            bulk: VecDeque::new(),
            huge: VecDeque::new(),
        })
    };
}

/// The buffers of a thread, those used last at the end.
struct Kept {
    small: VecDeque<BytesMut>,
    bulk: VecDeque<BytesMut>,
    huge: VecDeque<BytesMut>,
}

impl Kept {
    #[inline]
    fn of(&mut self, class: Class) -> &mut VecDeque<BytesMut> {
        match class {
            Class::Small | Class::Foreign => &mut self.small,
            Class::Bulk => &mut self.bulk,
            Class::Huge => &mut self.huge,
        }
    }

    /// Returns one that nobody uses any more: the one used last, or if what it held is still on its
    /// way, the one that has waited longest.
    #[inline]
    fn take(&mut self, class: Class) -> Option<BytesMut> {
        let list = self.of(class);
        // Changed in its place: it is not read while it is written.
        let is_free = |buf: &mut BytesMut| {
            buf.clear();
            buf.try_reclaim(class.size())
        };
        if is_free(list.back_mut()?) {
            return list.pop_back();
        }
        match is_free(list.front_mut()?) {
            true => list.pop_front(),
            false => None,
        }
    }
}

/// Returns an empty buffer with room for as much as its class says.
#[inline]
pub(super) fn take(class: Class) -> BytesMut {
    // While the thread ends there is none.
    let kept = KEPT.try_with(|kept| kept.borrow_mut().take(class));
    kept.ok().flatten().unwrap_or_else(|| new(class))
}

/// Gives back a buffer, or a handle to what is left of it; slices of it may still be in use.
#[inline(always)]
pub(super) fn give_back(class: Class, buf: BytesMut) {
    // One without capacity is none.
    if class != Class::Foreign && buf.capacity() > 0 {
        keep(class, buf);
    }
}

fn keep(class: Class, buf: BytesMut) {
    // While the thread ends there is nothing to give it to.
    let _ = KEPT.try_with(|kept| {
        let mut kept = kept.borrow_mut();
        let list = kept.of(class);
        if list.len() < class.kept() {
            list.push_back(buf);
        } else if let Some(oldest) = list.front_mut()
            && !oldest.try_reclaim(class.size())
        {
            // In use for longer than all others: it may be for long, and lives on without us.
            list.pop_front();
            list.push_back(buf);
        }
    });
}

#[cold]
fn new(class: Class) -> BytesMut {
    let mut buf = BytesMut::with_capacity(class.size());
    // A handle that was split once shares its memory from then on, and slices cost nothing more.
    drop(buf.split());
    buf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_serves_again_when_its_slices_are_gone() {
        for class in [Class::Small, Class::Bulk, Class::Huge] {
            let mut buf = take(class);
            let at = buf.as_ptr();
            buf.extend_from_slice(&[b'a'; 100]);
            let head = buf.split_to(60).freeze();
            let body = buf.split().freeze();
            give_back(class, buf);
            drop((head, body));
            let again = take(class);
            assert_eq!(again.as_ptr(), at);
            assert!(again.is_empty() && again.capacity() >= class.size());
            give_back(class, again);
        }
    }

    #[test]
    fn a_buffer_in_use_is_left_alone() {
        let mut buf = take(Class::Bulk);
        buf.resize(BULK_SIZE, b'a');
        let slice = buf.split().freeze();
        give_back(Class::Bulk, buf);
        let mut other = take(Class::Bulk);
        other.resize(BULK_SIZE, b'b');
        assert!(slice.iter().all(|&byte| byte == b'a'));
        give_back(Class::Bulk, other);
    }

    #[test]
    fn what_is_kept_is_limited() {
        let many: Vec<_> = (0..KEPT_BULK + 3).map(|_| take(Class::Bulk)).collect();
        for buf in many {
            give_back(Class::Bulk, buf);
        }
        give_back(Class::Foreign, BytesMut::new());
        KEPT.with_borrow(|kept| {
            assert_eq!(kept.bulk.len(), KEPT_BULK);
            assert!(kept.small.is_empty());
        });
    }
}
