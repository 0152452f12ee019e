//! The list against a deque of items and their indices.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{LinkedList, LinkedListU64};

#[derive(Clone, Debug)]
enum Op {
    PushHead(u64),
    PushTail(u64),
    PopTail,
    /// Of these, the n-th item from the head, modulo their number.
    Remove(usize),
    Promote(usize),
    Change(usize, u64),
    ExistNearHead(u64, usize),
    Reserve(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let value = 0..20_u64;
    prop_oneof![
        value.clone().prop_map(Op::PushHead),
        value.clone().prop_map(Op::PushTail),
        Just(Op::PopTail),
        any::<usize>().prop_map(Op::Remove),
        any::<usize>().prop_map(Op::Promote),
        (any::<usize>(), value.clone()).prop_map(|(at, value)| Op::Change(at, value)),
        (value, 0..12_usize).prop_map(|(value, limit)| Op::ExistNearHead(value, limit)),
        (0..40_usize).prop_map(Op::Reserve),
    ]
}

fn apply(op: Op, list: &mut LinkedListU64, twin: &mut VecDeque<(usize, u64)>) {
    let nth = |at: usize, twin: &VecDeque<(usize, u64)>| at.checked_rem(twin.len());
    match op {
        Op::PushHead(value) => twin.push_front((list.push_head(value), value)),
        Op::PushTail(value) => twin.push_back((list.push_tail(value), value)),
        Op::PopTail => assert_eq!(list.pop_tail(), twin.pop_back().map(|(_, value)| value)),
        Op::Remove(at) => {
            if let Some((index, value)) = nth(at, twin).and_then(|at| twin.remove(at)) {
                assert_eq!(list.remove(index), value);
                assert_eq!(list.peek(index), None);
                assert_eq!(list.peek_mut(index), None);
            }
        }
        Op::Promote(at) => {
            if let Some(item) = nth(at, twin).and_then(|at| twin.remove(at)) {
                list.promote(item.0);
                twin.push_front(item);
            }
        }
        Op::Change(at, value) => {
            if let Some(at) = nth(at, twin) {
                twin[at].1 = value;
                *list.peek_mut(twin[at].0).expect("there is an item") = value;
            }
        }
        Op::ExistNearHead(value, limit) => {
            let expected = twin.iter().take(limit).any(|(_, item)| *item == value);
            assert_eq!(list.exist_near_head(&value, limit), expected);
        }
        Op::Reserve(additional) => list.reserve(additional),
    }
}

fn compare(list: &LinkedListU64, twin: &VecDeque<(usize, u64)>) {
    assert_eq!((list.len(), list.is_empty()), (twin.len(), twin.is_empty()));
    assert!(list.iter().eq(twin.iter().map(|(_, value)| value)));
    assert!(
        list.iter()
            .rev()
            .eq(twin.iter().rev().map(|(_, value)| value))
    );
    assert_eq!(list.head(), twin.front().map(|(index, _)| *index));
    assert_eq!(list.tail(), twin.back().map(|(index, _)| *index));
    for (at, (index, value)) in twin.iter().enumerate() {
        assert_eq!(list.peek(*index), Some(value));
        let neighbour = |at: Option<usize>| at.and_then(|at| twin.get(at)).map(|(index, _)| *index);
        match neighbour(at.checked_sub(1)) {
            Some(before) => assert_eq!(list.prev_index(*index), before),
            None => assert_eq!(list.peek(list.prev_index(*index)), None),
        }
        match neighbour(Some(at + 1)) {
            Some(after) => assert_eq!(list.next_index(*index), after),
            None => assert_eq!(list.peek(list.next_index(*index)), None),
        }
    }
}

proptest! {
    #[test]
    fn does_what_a_deque_does(ops in prop::collection::vec(op(), 0..80)) {
        let mut list = LinkedListU64::with_capacity(4);
        let mut twin = VecDeque::new();
        for op in ops {
            apply(op, &mut list, &mut twin);
            compare(&list, &twin);
        }
    }
}

#[test]
fn an_iterator_ends_where_its_ends_meet() {
    let mut list = LinkedListU64::with_capacity(0);
    (1..=4).for_each(|item| {
        list.push_tail(item);
    });
    let mut items = list.iter();
    assert_eq!(items.size_hint(), (4, Some(4)));
    assert_eq!((items.next(), items.next_back()), (Some(&1), Some(&4)));
    assert_eq!(items.len(), 2);
    assert_eq!((items.next(), items.next_back()), (Some(&2), Some(&3)));
    assert_eq!((items.next(), items.next_back()), (None, None));
    assert_eq!(items.next(), None);
    assert_eq!((&list).into_iter().count(), 4);
}

#[test]
fn removed_memory_is_used_again_and_holds_nothing() {
    let item = std::rc::Rc::new(());
    let mut list = LinkedList::with_capacity(2);
    let index = list.push_head(Some(std::rc::Rc::clone(&item)));
    drop(list.remove(index));
    assert_eq!(std::rc::Rc::strong_count(&item), 1);
    assert_eq!(list.push_tail(None), index);
}

#[test]
fn indices_without_an_item_are_nothing_or_a_panic() {
    let mut list = LinkedListU64::with_capacity(2);
    let removed = list.push_head(1);
    list.push_head(2);
    list.remove(removed);
    for index in [0, removed, 3, u32::MAX as usize, usize::MAX] {
        assert_eq!(list.peek(index), None, "{index}");
        assert_eq!(list.peek_mut(index), None, "{index}");
        assert_eq!(list.peek(list.next_index(index)), None, "{index}");
        assert_eq!(list.peek(list.prev_index(index)), None, "{index}");
        for use_it in [
            |list: &mut LinkedListU64, index| _ = list.remove(index),
            |list: &mut LinkedListU64, index| list.promote(index),
        ] {
            let use_it = std::panic::AssertUnwindSafe(|| use_it(&mut list, index));
            assert!(std::panic::catch_unwind(use_it).is_err(), "{index}");
        }
    }
    assert!(list.iter().eq(&[2]));
}
