//! Which setting suits what is asked for now: two shadows without values see a sample of the keys,
//! one with each setting, and the cache takes that of the shadow that finds more. "Set dueling"
//! ("Adaptive Insertion Policies for High Performance Caching", Qureshi et al., 2007) with caches
//! scaled down by sampling ("Cache Modeling and Optimization using Miniature Simulations", Waldspurger
//! et al., 2017).

use crate::setting::Setting;
use crate::shard::{NO_HINT, Shard};

/// Entries a shadow has about, unless that makes the sample too small or too large a part of the keys.
const SHADOW_ENTRIES: usize = 128;

/// One key in this many, at least and at most, as powers of two.
const MIN_SAMPLE_BITS: u32 = 3;
const MAX_SAMPLE_BITS: u32 = 6;

/// Caches of fewer entries do not duel: their sample would be a few keys.
const MIN_ENTRIES: usize = 64;

/// Uses of sampled keys between two looks at the score, per entry of a shadow.
const ROUND: usize = 4;

/// One hit in this many is by how much the leader has to be behind: less may be chance, and to change
/// costs more than it brings.
const LEAD: usize = 32;

/// Two shadows and their scores.
pub(crate) struct Duel {
    shadows: [Shadow; 2],
    /// Uses until the next look at the score.
    left: usize,
    round: usize,
    leader: Setting,
}

struct Shadow {
    setting: Setting,
    shard: Shard<()>,
    hits: usize,
}

/// Returns how many bits of a hash decide whether it is sampled, in a cache of `entries`; none if
/// there is no duel.
pub(crate) fn sample_bits(entries: usize) -> Option<u32> {
    let bits = (entries / SHADOW_ENTRIES).max(1).ilog2();
    (entries >= MIN_ENTRIES).then(|| bits.clamp(MIN_SAMPLE_BITS, MAX_SAMPLE_BITS))
}

impl Duel {
    /// Returns a duel over `1 / 2^bits` of a cache of `weight` and `entries`, and who leads at first.
    pub(crate) fn new(weight: usize, entries: usize, bits: u32) -> Self {
        let shadow = |setting| Shadow {
            setting,
            shard: Shard::new(weight >> bits, entries >> bits, false, setting),
            hits: 0,
        };
        let round = (entries >> bits)
            .max(SHADOW_ENTRIES / 2)
            .saturating_mul(ROUND);
        Self {
            shadows: [shadow(Setting::Frequent), shadow(Setting::Recent)],
            left: round,
            round,
            leader: Setting::Frequent,
        }
    }

    /// Counts a use of a sampled key. Returns the setting to take from now on if it changes.
    pub(crate) fn observe(&mut self, hash: u64, weight: u16) -> Option<Setting> {
        for shadow in &mut self.shadows {
            shadow.observe(hash, weight);
        }
        self.left -= 1;
        if self.left > 0 {
            return None;
        }
        self.left = self.round;
        let [frequent, recent] = &mut self.shadows;
        let leader = if recent.hits > frequent.hits + frequent.hits / LEAD {
            recent.setting
        } else if frequent.hits > recent.hits + recent.hits / LEAD {
            frequent.setting
        } else {
            self.leader
        };
        // What was is worth half of what is.
        frequent.hits /= 2;
        recent.hits /= 2;
        let changes = leader != self.leader;
        self.leader = leader;
        changes.then_some(leader)
    }
}

impl Shadow {
    fn observe(&mut self, hash: u64, weight: u16) {
        if self.shard.get(hash, NO_HINT).is_some() {
            self.hits += 1;
        } else if usize::from(weight) <= self.shard.budget() {
            self.shard.put(hash, (), weight, &mut Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Duel, sample_bits};
    use crate::setting::Setting;

    #[test]
    fn sizes_of_samples() {
        let cases = [
            (0, None),
            (63, None),
            (64, Some(3)),
            (1024, Some(3)),
            (5000, Some(5)),
            (1 << 30, Some(6)),
        ];
        for (entries, expected) in cases {
            assert_eq!(sample_bits(entries), expected, "{entries}");
        }
    }

    fn hash(key: u64) -> u64 {
        key.wrapping_mul(0xD6E8_FEB8_6659_FD93)
    }

    /// A loop over more than fits is won by staying, keys used twice and never again by moving on.
    #[test]
    fn the_better_setting_leads() {
        let mut duel = Duel::new(1024, 1024, 3);
        let mut now = Setting::Frequent;
        let mut step = |key: u64, now: &mut Setting| {
            if let Some(setting) = duel.observe(hash(key), 1) {
                *now = setting;
            }
        };
        for use_ in 0..20_000 {
            step(1_000_000 + use_ / 2 - use_ % 2 * 5, &mut now);
        }
        assert_eq!(now, Setting::Recent);
        for use_ in 0..20_000 {
            step(use_ % 200, &mut now);
        }
        assert_eq!(now, Setting::Frequent);
    }
}
