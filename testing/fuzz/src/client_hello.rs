//! The first message of TLS: a message that is cut is never read as another one.

use pingora_core::protocols::tls::client_hello::ClientHello;

/// Takes `data` as the first bytes of a connection.
pub fn client_hello(data: &[u8]) {
    let whole = ClientHello::parse(data);
    let mut decided = false;
    for end in 0..data.len() {
        match ClientHello::parse(&data[..end]) {
            Ok(None) => assert!(!decided, "undecided again at {end}"),
            early => {
                decided = true;
                assert_eq!(early, whole, "cut at {end}");
            }
        }
    }
    if let Ok(Some(hello)) = whole {
        assert_eq!(
            hello.ja4().len(),
            "t13d1516h2_8daaf6152771_e5627efa2ab1".len()
        );
        if let Some(name) = hello.server_name {
            assert!(name.is_ascii() && !name.contains('\0') && name == name.to_lowercase());
        }
    }
}
