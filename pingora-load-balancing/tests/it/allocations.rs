//! A selection is on the path of every request: it must not allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::{
    BackendIter, BackendSelection, Consistent, FNVHash, Random, RoundRobin,
};

/// Counts the allocations of each thread.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator with the arguments it was made with; the counter is a `const`
// initialised thread local without a destructor, so that using it neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and `alloc` got `at` from the system.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Selects with every key and with half of the servers off, and returns the allocations.
fn allocations<S: BackendSelection + 'static>() -> usize
where
    S::Iter: BackendIter,
{
    let addrs: Vec<_> = (0..12).map(|i| format!("10.0.0.{i}:80")).collect();
    let balancer = LoadBalancer::<S>::try_from_iter(addrs).expect("addresses resolve");
    for backend in balancer.backends().get_backend().iter().step_by(2) {
        balancer.backends().set_enable(backend, false);
    }
    // Threads set up what they need for reading snapshots once.
    let _ = balancer.select(b"first", 256);
    let before = ALLOCATIONS.get();
    for key in 0..500u32 {
        assert!(balancer.select(&key.to_le_bytes(), 256).is_some());
        assert!(
            balancer
                .select_with(&key.to_le_bytes(), 64, |_, _| false)
                .is_none()
        );
    }
    ALLOCATIONS.get() - before
}

#[test]
fn selecting_does_not_allocate() {
    assert_eq!(allocations::<RoundRobin>(), 0);
    assert_eq!(allocations::<Random>(), 0);
    assert_eq!(allocations::<FNVHash>(), 0);
    assert_eq!(allocations::<Consistent>(), 0);
}
