//! A byte for each slot of a shard: which queue it is in and how often it was used. They lie together,
//! apart from the entries, so that looking for who has to leave reads one cache line, not sixteen.
//!
//! ```text
//! 7 6  5 4 3 2  1 0
//! └┬┘  └──┬──┘  └┬┘
//! queue  uses   recent uses
//! ```
//!
//! Of two marks the lesser is that of the entry worth less: an entry of the main queue before those
//! that are not to be taken, few uses before many.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::history::MAX_USES;

/// Slots looked at in each search for the least used. Searches go on where the last one ended, and most
/// find no use for their result, which the next then improves on: few are enough.
const STEP: usize = 4;

const RECENT: u8 = 0b11;
const USES: u8 = 0b1111 << USES_SHIFT;
const USES_SHIFT: u8 = 2;
const ONE_USE: u8 = 1 << USES_SHIFT;
const QUEUE: u8 = 0b11 << 6;

/// Marks in the main queue with a use or more.
const USED_IN_MAIN: Range<u8> = ONE_USE..Queue::Small as u8;

/// Which queue an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Queue {
    /// Those that stay.
    Main = 0,
    /// The newcomers.
    Small = 0b01 << 6,
    /// None: the slot is free, or will be when it comes out of the small queue.
    Free = 0b11 << 6,
}

/// How far a search for the least used entry is.
#[derive(Default)]
pub(crate) struct Search {
    next: usize,
    least: usize,
}

/// The marks of all slots.
#[derive(Default)]
pub(crate) struct Marks {
    bytes: Vec<AtomicU8>,
}

impl Marks {
    pub(crate) fn reserve(&mut self, slots: usize) {
        self.bytes.reserve(slots);
    }

    /// Adds a slot.
    pub(crate) fn push(&mut self, queue: Queue, uses: u8) {
        self.bytes.push(AtomicU8::new(0));
        self.reset(self.bytes.len() - 1, queue, uses);
    }

    /// Marks `slot` as new in `queue`, without recent uses.
    #[inline]
    pub(crate) fn reset(&mut self, slot: usize, queue: Queue, uses: u8) {
        debug_assert!(uses <= MAX_USES);
        *self.bytes[slot].get_mut() = queue as u8 | uses << USES_SHIFT;
    }

    /// Counts a use of `slot`. Returns whether its uses could still grow.
    ///
    /// Readers do this under a shared lock and may lose each other's counts. Relaxed: the counts are
    /// hints, and the lock orders them with those who decide on them.
    #[inline]
    pub(crate) fn touch(&self, slot: usize) -> bool {
        let byte = &self.bytes[slot];
        let old = byte.load(Ordering::Relaxed);
        let grows = old & USES != USES;
        let new = old + ONE_USE * u8::from(grows) + u8::from(old & RECENT != RECENT);
        if new != old {
            byte.store(new, Ordering::Relaxed);
        }
        grows
    }

    #[inline]
    pub(crate) fn is_in(&self, slot: usize, queue: Queue) -> bool {
        self.get(slot) & QUEUE == queue as u8
    }

    /// Returns the uses of `slot`, halved from time to time.
    #[inline]
    pub(crate) fn uses(&self, slot: usize) -> u8 {
        (self.get(slot) & USES) >> USES_SHIFT
    }

    /// Returns the uses of `slot` that no hand took away yet.
    #[inline]
    pub(crate) fn recent(&self, slot: usize) -> u8 {
        self.get(slot) & RECENT
    }

    /// Counts one recent use, but no use, of an entry that had no recent ones.
    #[inline]
    pub(crate) fn touch_recent(&mut self, slot: usize) {
        debug_assert_eq!(self.recent(slot), 0);
        *self.bytes[slot].get_mut() += 1;
    }

    /// Takes one recent use away; there must be one.
    #[inline]
    pub(crate) fn tire(&mut self, slot: usize) {
        *self.bytes[slot].get_mut() -= 1;
    }

    /// Halves all uses.
    pub(crate) fn halve(&mut self) {
        for byte in &mut self.bytes {
            let old = *byte.get_mut();
            let uses = (old & USES) >> 1 & USES;
            *byte.get_mut() = old & !USES | uses;
        }
    }

    /// Returns the entry of the main queue with the fewest uses found so far, if these are fewer than
    /// `uses`. There must be an entry in the main queue.
    #[inline]
    pub(crate) fn rival(&self, search: &mut Search, uses: u8) -> Option<usize> {
        // Who was used once cannot do better than a rival known to be used, and is not worth a search.
        if uses == 1 && USED_IN_MAIN.contains(&self.known_least(search)) {
            return None;
        }
        let rival = self.least_used(search);
        (uses > self.uses(rival)).then_some(rival)
    }

    /// Looks on from `search` for the entry of the main queue with the fewest uses. There must be one.
    ///
    /// The least of those looked at in earlier calls counts too, as long as it is in the main queue.
    #[inline]
    pub(crate) fn least_used(&self, search: &mut Search) -> usize {
        let mut least = self.known_least(search);
        loop {
            if search.next >= self.bytes.len() {
                search.next = 0;
            }
            let mut start = search.next;
            let mut look_at = |byte: &AtomicU8| {
                let byte = byte.load(Ordering::Relaxed);
                if byte < least {
                    (least, search.least) = (byte, start);
                }
                start += 1;
            };
            let rest = &self.bytes[search.next..];
            // A loop of known length takes half as long.
            match rest.first_chunk::<STEP>() {
                Some(bytes) => bytes.iter().for_each(&mut look_at),
                None => rest.iter().for_each(&mut look_at),
            }
            search.next = start;
            if least & QUEUE == Queue::Main as u8 {
                return search.least;
            }
        }
    }

    /// Returns the mark of the least found so far, the greatest of all marks if there is none.
    #[inline]
    fn known_least(&self, search: &Search) -> u8 {
        let byte = self.bytes.get(search.least);
        byte.map_or(u8::MAX, |byte| byte.load(Ordering::Relaxed))
    }

    #[inline]
    fn get(&self, slot: usize) -> u8 {
        self.bytes[slot].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::{Marks, Queue, Search};

    #[test]
    fn counts_are_bounded_and_do_not_mix() {
        for queue in [Queue::Main, Queue::Small] {
            let mut marks = Marks::default();
            marks.push(queue, 1);
            for touches in 2..40_u8 {
                assert_eq!(marks.touch(0), touches <= 15);
                assert_eq!(
                    (marks.uses(0), marks.recent(0)),
                    (touches.min(15), (touches - 1).min(3))
                );
                assert!(marks.is_in(0, queue));
            }
            marks.tire(0);
            marks.halve();
            assert_eq!((marks.uses(0), marks.recent(0)), (7, 2));
            assert!(marks.is_in(0, queue));
            marks.reset(0, Queue::Main, 9);
            assert_eq!((marks.uses(0), marks.recent(0)), (9, 0));
            assert!(marks.is_in(0, Queue::Main));
        }
    }

    #[test]
    fn the_least_used_of_a_sample_is_found() {
        let mut marks = Marks::default();
        for slot in 0..40_u8 {
            let queue = [Queue::Main, Queue::Small, Queue::Free][usize::from(slot % 3)];
            // The uses fall from 15 to 0, twice and a half.
            marks.push(queue, 15 - slot % 16);
        }
        let mut search = Search::default();
        let found: Vec<usize> = (0..6).map(|_| marks.least_used(&mut search)).collect();
        assert_eq!(found, [3, 6, 9, 15, 15, 15]);
        // It is taken: the least of those the search comes by next.
        marks.reset(15, Queue::Free, 0);
        search.next = 24;
        assert_eq!(marks.least_used(&mut search), 27);
    }
}
