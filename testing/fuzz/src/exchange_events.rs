//! The state of an exchange against its history: what it answers follows from what has happened.

use arbitrary::Arbitrary;
use pingora_proxy::fuzzing::{Answers, Event, Progress};

/// The most events; an exchange has a handful.
const MAX_EVENTS: usize = 64;

/// What happens, in order.
#[derive(Arbitrary, Debug)]
pub struct Events(Vec<Happens>);

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Happens {
    RequestEnded,
    RequestFailed,
    HeadPassed,
    Upgraded,
    ResponseEnded,
}

/// Checks every answer after every event that may happen at that point.
pub fn exchange_events(input: &Events) {
    let mut progress = Progress::new();
    let mut history = History::default();
    assert_eq!(progress.answers(), history.answers());
    for happens in input.0.iter().take(MAX_EVENTS) {
        let Some(event) = history.add(*happens) else {
            continue;
        };
        progress.apply(event);
        assert_eq!(progress.answers(), history.answers(), "{history:?}");
    }
}

/// What has happened, without conclusions.
#[derive(Debug, Default)]
struct History {
    /// Since the last upgrade.
    request_ended: bool,
    request_failed: bool,
    head_passed: bool,
    response_ended: bool,
    upgraded: bool,
}

impl History {
    /// Returns the event if it can happen now: there is one final head, and nothing after its end.
    fn add(&mut self, happens: Happens) -> Option<Event> {
        if self.response_ended {
            return None;
        }
        match happens {
            Happens::RequestEnded => {
                self.request_ended |= !self.request_failed;
                Some(Event::RequestEnded)
            }
            Happens::RequestFailed => {
                self.request_failed = true;
                Some(Event::RequestFailed)
            }
            Happens::HeadPassed if !self.head_passed => {
                self.head_passed = true;
                Some(Event::HeadPassed)
            }
            Happens::Upgraded if !self.head_passed => {
                *self = History {
                    head_passed: true,
                    upgraded: true,
                    ..History::default()
                };
                Some(Event::Upgraded)
            }
            Happens::ResponseEnded => {
                self.response_ended = true;
                Some(Event::ResponseEnded)
            }
            Happens::HeadPassed | Happens::Upgraded => None,
        }
    }

    fn answers(&self) -> Answers {
        let response_open = !self.response_ended;
        let wants_request = response_open && !self.request_ended && !self.request_failed;
        Answers {
            wants_request,
            can_send: response_open && !self.request_failed,
            wants_response: response_open,
            awaits_response_only: response_open && !wants_request && !self.upgraded,
            is_response_ended: self.response_ended,
        }
    }
}
