//! A program against the whole public API: every trait a user implements, with signatures written
//! as users write them, through the paths of the facade.
//!
//! That this compiles is most of the test. The rest runs each implementation once, so that a hook
//! nobody calls is noticed. `paths.rs` names what has no trait; read `proxying.rs` first.

mod balancing;
mod custom;
mod listening;
mod literals;
mod modules;
mod paths;
mod proxying;
mod services;
mod upstream;

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// How often something was called.
#[derive(Debug, Default)]
struct Calls(AtomicUsize);

impl Calls {
    const fn new() -> Self {
        Calls(AtomicUsize::new(0))
    }

    fn count(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn seen(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Sends `request`, closes, and returns everything that comes back.
async fn ask(mut client: DuplexStream, request: &str) -> String {
    client
        .write_all(request.as_bytes())
        .await
        .expect("the server reads");
    let mut response = String::new();
    client
        .read_to_string(&mut response)
        .await
        .expect("the server answers in text");
    response
}
