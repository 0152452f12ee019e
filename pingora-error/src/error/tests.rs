//! What is printed, inherited and found again in a chain.

use std::io;

use super::*;

fn refused() -> io::Error {
    io::Error::from_raw_os_error(111)
}

#[test]
fn display() {
    use ErrorType::*;
    let os = Error::because(ConnectRefused, "Peer: 1.2.3.4:80", refused()).into_up();
    for (e, line) in [
        (Error::new(InternalError), "InternalError"),
        (Error::new_up(ReadTimedout), "Upstream ReadTimedout"),
        (Error::new_down(H2Error), "Downstream H2Error"),
        (Error::new_str("Mine"), "Internal Mine"),
        (Error::new_up(HTTPStatus(404)), "Upstream HTTPStatus: 404"),
        (Error::new(ErrorType::new_code("Mine", 7)), "Mine: 7"),
        (Error::explain(BindError, ""), "BindError"),
        (
            Error::explain(BindError, String::from("0.0.0.0:80")),
            "BindError context: 0.0.0.0:80",
        ),
        (
            os,
            "Upstream ConnectRefused context: Peer: 1.2.3.4:80 \
             cause: Connection refused (os error 111)",
        ),
        (
            Error::because(
                HTTPStatus(502),
                "outer",
                Error::because(InternalError, "inner", "text"),
            ),
            "HTTPStatus: 502 context: outer cause: InternalError context: inner cause: text",
        ),
        (
            Error::explain(ReadError, "inner")
                .into_up()
                .more_context("middle")
                .more_context("outer"),
            "Upstream ReadError context: outer context: middle context: inner",
        ),
        (
            Error::explain(ReadError, "inner")
                .more_context("outer")
                .into_up(),
            "Upstream ReadError context: outer cause: ReadError context: inner",
        ),
    ] {
        assert_eq!(e.to_string(), line);
    }
}

#[test]
fn retry_is_inherited_from_errors_only() {
    let mut inner = Error::new_up(ErrorType::ConnectionClosed);
    inner.retry = RetryType::ReusedOnly;
    let outer = Error::because(ErrorType::ReadError, "", inner);
    assert_eq!(outer.retry, RetryType::ReusedOnly);
    assert!(!outer.retry());
    let mut outer = outer.more_context("more");
    assert_eq!(outer.retry, RetryType::ReusedOnly);
    outer.retry.decide_reuse(true);
    assert!(outer.retry());
    outer.set_retry(false);
    assert!(!outer.retry());
    let io = Error::because(ErrorType::ReadError, "", refused());
    assert_eq!(io.retry, RetryType::Decided(false));
}

#[test]
fn sources() {
    let e = Error::new(ErrorType::H1Error);
    assert_eq!((e.esource(), e.source_str()), (&ErrorSource::Unset, ""));
    let e = e.into_up();
    assert_eq!(
        (e.esource(), e.source_str()),
        (&ErrorSource::Upstream, "Upstream")
    );
    let e = e.into_down();
    assert_eq!(e.esource(), &ErrorSource::Downstream);
    let e = e.into_in().more_context("kept");
    assert_eq!(e.esource(), &ErrorSource::Internal);
    for (result, source) in [
        (Error::err::<()>(ErrorType::H1Error), ErrorSource::Unset),
        (Error::err_up(ErrorType::H1Error), ErrorSource::Upstream),
        (Error::err_down(ErrorType::H1Error), ErrorSource::Downstream),
        (Error::err_in(ErrorType::H1Error), ErrorSource::Internal),
        (
            Error::e_explain(ErrorType::H1Error, "x"),
            ErrorSource::Unset,
        ),
        (
            Error::e_because(ErrorType::H1Error, "x", "y"),
            ErrorSource::Unset,
        ),
        (
            Error::new_up(ErrorType::H1Error).into_err(),
            ErrorSource::Upstream,
        ),
    ] {
        let e = result.unwrap_err();
        assert_eq!((e.etype(), e.esource()), (&ErrorType::H1Error, &source));
    }
}

#[test]
fn roots() {
    let lone = Error::new(ErrorType::WriteError);
    assert_eq!(lone.root_etype(), &ErrorType::WriteError);
    assert!(lone.root_cause().is::<Error>());

    let mut e = Error::new(ErrorType::ConnectRefused);
    e.set_cause(refused());
    e.set_context("replaced");
    e.set_context("inner");
    // a plain `Error` and a boxed one are both followed
    let e = Error::create(ErrorType::ConnectError, ErrorSource::Unset, None, Some(e));
    let e = Error::because(ErrorType::HTTPStatus(502), "outer", e);
    assert_eq!(e.reason_str(), "HTTPStatus");
    assert_eq!(e.root_etype(), &ErrorType::ConnectRefused);
    let root = e.root_cause().downcast_ref::<io::Error>().unwrap();
    assert_eq!(root.raw_os_error(), Some(111));
    assert_eq!(
        e.to_string(),
        "HTTPStatus: 502 context: outer cause: ConnectError \
         cause: ConnectRefused context: inner cause: Connection refused (os error 111)",
    );
}
