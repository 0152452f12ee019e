//! The configuration file: any text is read or refused, and what is read can be written.

use pingora_core::server::configuration::fuzzing;

/// Takes `data` as a configuration file.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match fuzzing::read(text) {
        Ok(conf) => assert_eq!(fuzzing::read(&conf.to_yaml()), Ok(conf)),
        Err(error) => {
            let mut parts = error.splitn(3, ':');
            let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
            let place = (number(), number());
            assert!(matches!(place, (Some(1..), Some(1..))), "{error:?}");
            assert!(!error.contains(['\n', '\r']), "{error:?}");
        }
    }
}
