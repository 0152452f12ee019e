//! Calls that `pingora-openssl` and `pingora-boringssl` have in a module of this name.

use s2n_tls::connection::Connection;
use s2n_tls::error::Error;

/// Fills `out` with key material that both sides of the connection can derive (RFC 5705).
///
/// In TLS 1.3 no context and an empty one are the same (RFC 8446, section 7.5).
///
/// # Errors
/// When the handshake is not complete, or was one of TLS 1.2, where the library cannot do it.
pub fn ssl_export_keying_material(
    conn: &Connection,
    out: &mut [u8],
    label: &str,
    context: Option<&[u8]>,
) -> Result<(), Error> {
    conn.tls_exporter(label.as_bytes(), context.unwrap_or_default(), out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_exported_before_the_handshake() {
        let conn = Connection::new_client();
        assert!(ssl_export_keying_material(&conn, &mut [0; 8], "label", None).is_err());
    }
}
