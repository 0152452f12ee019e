//! How far both sides of an exchange are: pure, events in, questions answered.
//!
//! ```text
//! request:   Streaming ──last piece──> Sent          Streaming ──upstream refuses──> Abandoned
//! response:  Head ──final head──> Body ──last piece──> Ended
//! a tunnel:  request and response go back to streaming (a 101, or a 2xx to CONNECT)
//! ```

/// The state of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    request: Request,
    response: Response,
    tunnel: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// Pieces of the body, or its end, are still to be sent.
    Streaming,
    /// The end was sent.
    Sent,
    /// The upstream takes no more; what it answers still counts.
    Abandoned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Response {
    Head,
    Body,
    Ended,
}

impl Progress {
    pub(super) fn new() -> Self {
        Progress {
            request: Request::Streaming,
            response: Response::Head,
            tunnel: false,
        }
    }

    /// The last piece of the request was queued.
    pub(super) fn request_ended(&mut self) {
        if self.request == Request::Streaming {
            self.request = Request::Sent;
        }
    }

    /// Sending the request failed.
    pub(super) fn request_failed(&mut self) {
        if self.request == Request::Streaming || self.response != Response::Ended {
            self.request = Request::Abandoned;
        }
    }

    /// The final response head was passed on.
    pub(super) fn head_passed(&mut self) {
        self.response = Response::Body;
    }

    /// The head that makes a tunnel was passed on: bytes flow both ways until one side ends.
    pub(super) fn upgraded(&mut self) {
        *self = Progress {
            request: Request::Streaming,
            response: Response::Body,
            tunnel: true,
        };
    }

    /// The last piece of the response was queued.
    pub(super) fn response_ended(&mut self) {
        self.response = Response::Ended;
    }

    /// Is the next piece of the request wanted?
    pub(super) fn wants_request(&self) -> bool {
        self.request == Request::Streaming && self.response != Response::Ended
    }

    /// Can the upstream still be sent what is queued for it?
    pub(super) fn can_send(&self) -> bool {
        self.request != Request::Abandoned && self.response != Response::Ended
    }

    /// Is the next piece of the response wanted?
    pub(super) fn wants_response(&self) -> bool {
        self.response != Response::Ended
    }

    /// Is there nothing to expect from the client but that it goes away?
    pub(super) fn awaits_response_only(&self) -> bool {
        !self.wants_request() && self.wants_response() && !self.tunnel
    }

    /// Has the response ended?
    pub(super) fn is_response_ended(&self) -> bool {
        self.response == Response::Ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Event = fn(&mut Progress);

    /// Every order of events up to a length: the answers never contradict each other.
    #[test]
    fn answers_are_consistent_after_any_events() {
        let events: [(&str, Event); 6] = [
            ("request_ended", Progress::request_ended),
            ("request_failed", Progress::request_failed),
            ("head_passed", Progress::head_passed),
            ("upgraded", Progress::upgraded),
            ("response_ended", Progress::response_ended),
            ("nothing", |_| ()),
        ];
        for code in 0..6usize.pow(5) {
            let mut progress = Progress::new();
            let mut names = Vec::new();
            let mut rest = code;
            for _ in 0..5 {
                let (name, event) = events[rest % 6];
                rest /= 6;
                names.push(name);
                event(&mut progress);
                let p = &progress;
                assert!(!p.wants_request() || p.can_send(), "{names:?}");
                assert!(!(p.is_response_ended() && p.wants_response()), "{names:?}");
                assert!(!(p.is_response_ended() && p.wants_request()), "{names:?}");
                assert!(
                    !(p.awaits_response_only() && p.wants_request()),
                    "{names:?}"
                );
            }
        }
    }

    #[test]
    fn a_get_is_asked_then_answered() {
        let mut progress = Progress::new();
        assert!(progress.wants_request() && progress.wants_response());
        progress.request_ended();
        assert!(progress.awaits_response_only());
        progress.head_passed();
        progress.response_ended();
        assert!(progress.is_response_ended() && !progress.can_send());
    }

    #[test]
    fn a_101_opens_the_request_again() {
        let mut progress = Progress::new();
        progress.request_ended();
        progress.upgraded();
        assert!(progress.wants_request() && progress.can_send());
        progress.request_ended();
        assert!(!progress.awaits_response_only() && progress.wants_response());
    }

    #[test]
    fn a_refused_body_does_not_end_the_response() {
        let mut progress = Progress::new();
        progress.request_failed();
        assert!(!progress.wants_request() && !progress.can_send() && progress.wants_response());
    }
}
