use super::*;

#[test]
fn lengths_are_digits_only() {
    let table: &[(&str, Option<u64>)] = &[
        ("0", Some(0)),
        ("5", Some(5)),
        ("007", None),
        ("00", None),
        ("9999999999999999999", Some(9_999_999_999_999_999_999)),
        ("", None),
        (" 5", None),
        ("5 ", None),
        ("+5", None),
        ("-5", None),
        ("5,5", None),
        ("0x5", None),
        ("10000000000000000000", None),
    ];
    for (value, expected) in table {
        assert_eq!(parse_length(value.as_bytes()), *expected, "{value:?}");
    }
}

#[test]
fn connection_options_add_up_over_fields() {
    let mut req = RequestHeader::build("GET", b"/", None).unwrap();
    req.append_header("Connection", "Keep-Alive , x").unwrap();
    req.append_header("Connection", "UPGRADE").unwrap();
    let options = connection_options(req.fields());
    assert_eq!(
        options,
        ConnectionOptions {
            close: false,
            keep_alive: true,
            upgrade: true
        }
    );
    req.append_header("connection", "close").unwrap();
    assert!(connection_options(req.fields()).close);
}
