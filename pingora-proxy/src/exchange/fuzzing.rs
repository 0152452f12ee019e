//! The state of an exchange, reachable for fuzzing; compiled with `--cfg fuzzing` only.
//! Read next: `state.rs`.

use super::state;

/// What can happen in an exchange.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// The last piece of the request was queued.
    RequestEnded,
    /// Sending the request failed.
    RequestFailed,
    /// The final response head was passed on.
    HeadPassed,
    /// A 101 was passed on.
    Upgraded,
    /// The last piece of the response was queued.
    ResponseEnded,
}

/// What the state answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The next piece of the request is wanted.
    pub wants_request: bool,
    /// The upstream can still be sent what is queued for it.
    pub can_send: bool,
    /// The next piece of the response is wanted.
    pub wants_response: bool,
    /// Nothing is expected from the client but that it goes away.
    pub awaits_response_only: bool,
    /// The response has ended.
    pub is_response_ended: bool,
}

/// The state of an exchange.
#[derive(Debug)]
pub struct Progress(state::Progress);

impl Progress {
    /// Returns the state at the start.
    #[allow(clippy::new_without_default, reason = "as the state it wraps")]
    pub fn new() -> Self {
        Progress(state::Progress::new())
    }

    /// Changes the state by what happened.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::RequestEnded => self.0.request_ended(),
            Event::RequestFailed => self.0.request_failed(),
            Event::HeadPassed => self.0.head_passed(),
            Event::Upgraded => self.0.upgraded(),
            Event::ResponseEnded => self.0.response_ended(),
        }
    }

    /// Returns every answer of the state.
    pub fn answers(&self) -> Answers {
        Answers {
            wants_request: self.0.wants_request(),
            can_send: self.0.can_send(),
            wants_response: self.0.wants_response(),
            awaits_response_only: self.0.awaits_response_only(),
            is_response_ended: self.0.is_response_ended(),
        }
    }
}
