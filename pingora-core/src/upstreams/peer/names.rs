//! The host names that peers were made from, by the number that stands for each in an address.
//!
//! A peer carries its name in its options, and programs replace those, or give one peer the options
//! of another. The number in its address stays; here is what it means. See `target.rs`.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;

use super::reuse::SeededHasher;

/// Names that are kept after they were used for the last time. Names may come from clients, so they
/// are not kept for ever; a peer is seldom older than a request.
const MAX_NAMES: usize = 4096;

static NAMES: LazyLock<RwLock<Names>> = LazyLock::new(RwLock::default);

/// Returns the number of a name, which is never 0: another one in each process, and not to be
/// computed outside of it.
pub(super) fn number_of(name: &str) -> u64 {
    let mut state = SeededHasher::new();
    name.hash(&mut state);
    state.finish().max(1)
}

/// Returns the number of a name, for which [`recall`] then returns the name.
pub(super) fn remember(name: &Arc<str>) -> u64 {
    let number = number_of(name);
    let known = NAMES.read().recent.contains_key(&number);
    if !known {
        NAMES.write().insert(number, name.clone());
    }
    number
}

/// Returns the name with this number, `None` if that was not used for long.
pub(super) fn recall(number: u64) -> Option<Arc<str>> {
    let name = NAMES.read().get(number)?;
    remember(&name);
    Some(name)
}

/// Names in the order of their last use, as far as that is needed to forget the old ones.
#[derive(Default)]
struct Names {
    recent: HashMap<u64, Arc<str>>,
    older: HashMap<u64, Arc<str>>,
}

impl Names {
    fn insert(&mut self, number: u64, name: Arc<str>) {
        if self.recent.len() >= MAX_NAMES {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(number, name);
    }

    fn get(&self, number: u64) -> Option<Arc<str>> {
        let known = self.recent.get(&number);
        known.or_else(|| self.older.get(&number)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_numbers() {
        let name: Arc<str> = "names.example".into();
        let number = remember(&name);
        assert_eq!(number, number_of("names.example"));
        assert_eq!(recall(number), Some(name));
        assert_eq!(recall(number_of("never.example")), None);
        assert_eq!(recall(0), None);
    }

    #[test]
    fn names_that_are_not_used_are_forgotten() {
        let mut names = Names::default();
        let name = |number: u64| -> Arc<str> { number.to_string().into() };
        for number in 0..=MAX_NAMES as u64 {
            names.insert(number, name(number));
        }
        assert_eq!(names.get(0), Some(name(0)), "one more than are kept");
        // Used again, as `recall` does.
        names.insert(0, name(0));
        for number in 0..MAX_NAMES as u64 {
            names.insert(1 << 32 | number, name(number));
        }
        assert_eq!(names.get(0), Some(name(0)));
        assert_eq!(names.get(1), None);
        assert!(names.recent.len() + names.older.len() <= 2 * MAX_NAMES);
    }
}
