//! All interleavings of a look and a change. Run with `RUSTFLAGS="--cfg loom"`.

use loom::thread;

use super::{FEW, LANES, Table};

/// All of one row, with another fingerprint each.
fn hash_of(slot: u32) -> u64 {
    u64::from(slot) + 1
}

/// Runs `change` on a table with so many entries, given the place of the last but one, beside looks for
/// the first and the last, which stay, and for one that never is there.
fn check(entries: u32, change: fn(&mut Table, u32)) {
    loom::model(move || {
        let mut table = Table::with_capacity(FEW);
        let places: Vec<u32> = (0..entries)
            .map(|slot| table.insert(hash_of(slot), slot))
            .collect();
        let (index, place) = (table.index(), places[places.len() - 2]);
        // Changes run first in the model, which then has each load return all it might.
        let looks = thread::spawn(move || {
            assert_eq!(index.look(hash_of(entries - 1)), Some(entries - 1));
            assert_eq!(index.look(hash_of(0)), Some(0));
            assert_eq!(index.look(hash_of(100)), None);
        });
        change(&mut table, place);
        looks.join().expect("the looks find what they should");
        assert_eq!(table.index().look(hash_of(0)), Some(0));
    });
}

/// One more than a row takes.
const RUN_OVER: u32 = LANES as u32 + 1;

#[test]
fn who_went_past_a_full_row_is_found() {
    check(RUN_OVER, |table, place| table.remove(hash_of(7), place));
    check(RUN_OVER, |table, _| {
        table.insert(hash_of(20), 20);
    });
}

#[test]
fn others_that_go_past_and_leave_hide_nobody() {
    check(RUN_OVER, |table, _| {
        let place = table.insert(hash_of(20), 20);
        table.remove(hash_of(20), place);
    });
}

#[test]
fn a_new_table_has_all_of_the_old() {
    check(3, |table, _| {
        table.widen();
        for slot in 0..3 {
            table.insert(hash_of(slot), slot);
        }
        table.publish();
        table.insert(hash_of(20), 20);
    });
}
