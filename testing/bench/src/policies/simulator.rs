//! Caches of keys alone, one lookup at a time.

use std::collections::{HashMap, VecDeque};

/// How it is decided who stays.
#[derive(Clone, Copy)]
pub(super) enum Policy {
    /// Always in the same way.
    Fixed(Way),
    /// In the way that finds more on a sample of the keys.
    Duel,
}

/// One way to decide.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// Who has more uses than another takes its place. Uses count to [`MOST_USES`] and include those
    /// before the key last left.
    Frequent {
        /// The part of the cache for newcomers.
        newcomers: f64,
        /// Cachefuls of lookups after which all uses are halved.
        halved_every: Option<usize>,
    },
    /// S3-FIFO: who was used while it waited among a tenth, or left less than a cacheful ago, stays
    /// until a hand has found it three times unused at most.
    Recent,
}

const FREQUENT: Way = Way::Frequent {
    newcomers: 0.01,
    halved_every: Some(50),
};
const MOST_USES: u8 = 15;
const MOST_RECENT: u8 = 3;

/// Entries looked at for the least used.
const SAMPLE: usize = 16;

/// A duel sees one key in so many, looks at the score every so many sampled lookups, and wants a lead
/// of one hit in so many.
const SAMPLED: u64 = 8;
const ROUND: usize = 512;
const LEAD: usize = 32;

/// A cache without values.
pub(super) struct Simulator {
    way: Way,
    size: usize,
    entries: HashMap<u64, Entry>,
    /// Keys of the main part, in no order for [`Way::Frequent`].
    main: Vec<u64>,
    hand: usize,
    small: VecDeque<u64>,
    uses: HashMap<u64, u8>,
    /// Keys that left, and when, counted in keys that left.
    left: HashMap<u64, usize>,
    departures: usize,
    lookups: usize,
    duel: Option<Box<Duel>>,
}

struct Entry {
    recent: u8,
    /// Where in `main`, if it is there.
    place: Option<usize>,
}

struct Duel {
    sides: [Simulator; 2],
    hits: [usize; 2],
    lookups: usize,
}

impl Simulator {
    pub(super) fn new(policy: Policy, size: usize) -> Self {
        let (way, duel) = match policy {
            Policy::Fixed(way) => (way, None),
            Policy::Duel => {
                let side = |way| Self::new(Policy::Fixed(way), size / SAMPLED as usize);
                let sides = [side(FREQUENT), side(Way::Recent)];
                let duel = Duel {
                    sides,
                    hits: [0; 2],
                    lookups: 0,
                };
                (FREQUENT, Some(Box::new(duel)))
            }
        };
        Self {
            way,
            size,
            entries: HashMap::new(),
            main: Vec::new(),
            hand: 0,
            small: VecDeque::new(),
            uses: HashMap::new(),
            left: HashMap::new(),
            departures: 0,
            lookups: 0,
            duel,
        }
    }

    /// Looks a key up and takes it in if it is absent; returns whether it was found.
    pub(super) fn ask(&mut self, key: u64) -> bool {
        if let Some(duel) = &mut self.duel
            && mixed(key).is_multiple_of(SAMPLED)
            && let Some(way) = duel.ask(key)
        {
            self.way = way;
        }
        self.pass_time();
        let uses = self.uses.entry(key).or_default();
        *uses = (*uses + 1).min(MOST_USES);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.recent = (entry.recent + 1).min(MOST_RECENT);
            return true;
        }
        let is_known = self.left.get(&key);
        let is_recent = is_known.is_some_and(|left| self.departures - left <= self.size);
        while self.entries.len() >= self.size {
            self.evict();
        }
        let entry = Entry {
            recent: 0,
            place: None,
        };
        self.entries.insert(key, entry);
        match self.way {
            Way::Recent if is_recent => self.promote(key),
            _ => self.small.push_back(key),
        }
        false
    }

    fn pass_time(&mut self) {
        self.lookups += 1;
        if let Way::Frequent {
            halved_every: Some(cachefuls),
            ..
        } = self.way
            && self.lookups.is_multiple_of(cachefuls * self.size)
        {
            self.uses.values_mut().for_each(|uses| *uses /= 2);
            self.uses.retain(|_, uses| *uses > 0);
        }
    }

    fn evict(&mut self) {
        let part = match self.way {
            Way::Frequent { newcomers, .. } => newcomers,
            Way::Recent => 0.1,
        };
        let part = (self.size as f64 * part) as usize;
        // With the newcomer there will be one more.
        while self.small.len() >= part || self.main.is_empty() {
            let Some(key) = self.small.pop_front() else {
                break;
            };
            match self.way {
                Way::Recent if self.entries[&key].recent == 0 => return self.drop(key),
                Way::Recent => self.promote(key),
                Way::Frequent { .. } if self.main.len() + part < self.size => self.promote(key),
                Way::Frequent { .. } => {
                    let rival = self.least_used();
                    if self.uses_of(key) <= self.uses_of(rival) {
                        return self.drop(key);
                    }
                    self.drop(rival);
                    return self.promote(key);
                }
            }
        }
        let loser = match self.way {
            Way::Recent => self.first_tired(),
            Way::Frequent { .. } => self.least_used(),
        };
        self.drop(loser);
    }

    fn uses_of(&self, key: u64) -> u8 {
        self.uses.get(&key).copied().unwrap_or(0)
    }

    fn promote(&mut self, key: u64) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.place = Some(self.main.len());
            entry.recent = 0;
            self.main.push(key);
            // New ones come in behind the hand, which goes down.
            let hand = self.hand.min(self.main.len() - 1);
            self.swap(hand, self.main.len() - 1);
            self.hand = hand + 1;
        }
    }

    fn drop(&mut self, key: u64) {
        if let Some(place) = self.entries.remove(&key).and_then(|entry| entry.place) {
            self.swap(place, self.main.len() - 1);
            self.main.pop();
        }
        self.departures += 1;
        self.left.insert(key, self.departures);
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.main.swap(one, other);
        for place in [one, other] {
            if let Some(entry) = self.entries.get_mut(&self.main[place]) {
                entry.place = Some(place);
            }
        }
    }

    fn least_used(&mut self) -> u64 {
        self.hand = (self.hand + SAMPLE) % self.main.len();
        let sample = (self.hand..self.hand + SAMPLE).map(|at| self.main[at % self.main.len()]);
        let least = sample.min_by_key(|key| self.uses_of(*key));
        least.unwrap_or(self.main[0])
    }

    fn first_tired(&mut self) -> u64 {
        loop {
            if self.hand >= self.main.len() {
                self.hand = 0;
            }
            let key = self.main[self.hand];
            match self.entries.get_mut(&key) {
                Some(entry) if entry.recent > 0 => entry.recent -= 1,
                _ => return key,
            }
            self.hand += 1;
        }
    }
}

impl Duel {
    /// Lets both sides see a lookup. Returns the way of the leader now and then.
    fn ask(&mut self, key: u64) -> Option<Way> {
        for (side, hits) in self.sides.iter_mut().zip(&mut self.hits) {
            *hits += usize::from(side.ask(key));
        }
        self.lookups += 1;
        if !self
            .lookups
            .is_multiple_of(ROUND.max(4 * self.sides[0].size))
        {
            return None;
        }
        let [frequent, recent] = self.hits;
        self.hits = [frequent / 2, recent / 2];
        if recent > frequent + frequent / LEAD {
            return Some(Way::Recent);
        }
        (frequent > recent + recent / LEAD).then_some(FREQUENT)
    }
}

/// SplitMix64's mixer.
fn mixed(key: u64) -> u64 {
    let key = (key ^ (key >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let key = (key ^ (key >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    key ^ (key >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Policy, Simulator, Way};

    /// A loop over more than fits is won by staying; FIFO finds nothing.
    #[test]
    fn a_loop_is_won_by_use() {
        let hits = |policy| {
            let mut simulator = Simulator::new(policy, 100);
            let hits = (0..20_000).filter(|at| simulator.ask(at % 120)).count();
            assert_eq!(simulator.entries.len(), 100);
            hits
        };
        let frequent = hits(Policy::Fixed(super::FREQUENT));
        assert!(frequent > 12_000, "{frequent}");
        assert!(frequent > hits(Policy::Fixed(Way::Recent)));
        assert!(hits(Policy::Duel) > 10_000);
    }
}
