//! Reporting to Sentry: panics of any thread, and why a server did not start or ended by itself.

use pingora_error::{BError, Result};
use sentry::{ClientInitGuard, ClientOptions};

/// Starts reporting; ends, and sends what is left, when the guard is dropped.
///
/// Only release builds report: what fails on a developer's machine is no incident.
pub(super) fn start(options: Option<&ClientOptions>) -> Option<ClientInitGuard> {
    let options = options.filter(|_| !cfg!(debug_assertions))?;
    Some(sentry::init(options.clone()))
}

/// Reports the error `result` holds, if there is one.
pub(super) fn report(result: &Result<()>) {
    if let Err(e) = result {
        capture(e);
    }
}

fn capture(e: &BError) {
    sentry::capture_error(&**e);
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use pingora_error::{Error, ErrorType::BindError};
    use sentry::{Envelope, Hub, Transport};

    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<String>>);

    impl Transport for Recorder {
        fn send_envelope(&self, envelope: Envelope) {
            let event = envelope
                .event()
                .and_then(|event| event.exception.first().cloned());
            let value = event.and_then(|exception| exception.value);
            self.0.lock().unwrap().push(value.unwrap_or_default());
        }
    }

    fn options(recorder: &Arc<Recorder>) -> ClientOptions {
        let recorder = recorder.clone();
        ClientOptions {
            dsn: "https://key@sentry.invalid/1".parse().ok(),
            transport: Some(Arc::new(move |_: &ClientOptions| {
                recorder.clone() as Arc<dyn Transport>
            })),
            ..Default::default()
        }
    }

    #[test]
    fn errors_are_reported_once() {
        let recorder = Arc::new(Recorder::default());
        let client = Arc::new(sentry::Client::from(options(&recorder)));
        Hub::run(Arc::new(Hub::new(Some(client), Arc::default())), || {
            report(&Ok(()));
            report(&Error::e_explain(BindError, "cannot listen on 80x"));
        });
        let reported = recorder.0.lock().unwrap();
        assert_eq!(reported.len(), 1);
        assert!(reported[0].contains("cannot listen on 80x"), "{reported:?}");
    }

    #[test]
    fn only_release_builds_report() {
        let recorder = Arc::new(Recorder::default());
        assert!(start(None).is_none());
        let started = start(Some(&options(&recorder)));
        assert_eq!(started.is_some(), !cfg!(debug_assertions));
    }
}
