//! Calls of BoringSSL that the `boring` crate does not wrap, most of them on one connection.
//!
//! `pingora-openssl` has the same functions in the same order; what one of the libraries cannot do
//! is a function without effect there, and says so.

use std::ffi::CString;
use std::os::raw::{c_int, c_void};
use std::ptr;

use boring::error::ErrorStack;
use boring::pkey::{HasPrivate, PKeyRef};
use boring::ssl::{Error, ErrorCode, Ssl, SslAcceptor, SslRef};
use boring::x509::X509Ref;
use boring::x509::store::X509StoreRef;
use boring::x509::verify::X509VerifyParamRef;
use boring_sys as ffi;
use boring_sys::SSL;
use foreign_types_shared::ForeignTypeRef;

/// Every key exchange group of BoringSSL, by its number in TLS.
const GROUPS: [u16; 6] = [
    ffi::SSL_GROUP_SECP256R1 as u16,
    ffi::SSL_GROUP_SECP384R1 as u16,
    ffi::SSL_GROUP_SECP521R1 as u16,
    ffi::SSL_GROUP_X25519 as u16,
    ffi::SSL_GROUP_X25519_MLKEM768 as u16,
    ffi::SSL_GROUP_MLKEM1024 as u16,
];

/// Adds `host` to the names the certificate of the other side may be valid for.
///
/// # Errors
/// When the library refuses the name.
pub fn add_host(verify_param: &mut X509VerifyParamRef, host: &str) -> Result<(), ErrorStack> {
    // An empty name would switch the check off.
    if host.is_empty() {
        return Ok(());
    }
    // SAFETY: the parameter is valid for the call, and so are `host.len()` bytes of the name,
    // which is copied.
    cvt(unsafe {
        ffi::X509_VERIFY_PARAM_add1_host(verify_param.as_ptr(), host.as_ptr().cast(), host.len())
    })
}

/// Trusts the certificates of `cert_store`, on this connection, instead of those of its context.
///
/// # Errors
/// When the library refuses.
pub fn ssl_set_verify_cert_store(
    ssl: &mut SslRef,
    cert_store: &X509StoreRef,
) -> Result<(), ErrorStack> {
    // SAFETY: both are valid for the call, which takes a reference of its own to the store.
    cvt(unsafe { ffi::SSL_set1_verify_cert_store(ssl.as_ptr(), cert_store.as_ptr()) })
}

/// Presents `cert` on this connection.
///
/// # Errors
/// When the library refuses the certificate.
pub fn ssl_use_certificate(ssl: &mut SslRef, cert: &X509Ref) -> Result<(), ErrorStack> {
    // SAFETY: both are valid for the call, which takes a reference of its own to the certificate.
    cvt(unsafe { ffi::SSL_use_certificate(ssl.as_ptr(), cert.as_ptr()) })
}

/// Uses `key` with the certificate of this connection.
///
/// # Errors
/// When the key does not belong to the certificate.
pub fn ssl_use_private_key<T>(ssl: &mut SslRef, key: &PKeyRef<T>) -> Result<(), ErrorStack>
where
    T: HasPrivate,
{
    // SAFETY: both are valid for the call, which takes a reference of its own to the key.
    cvt(unsafe { ffi::SSL_use_PrivateKey(ssl.as_ptr(), key.as_ptr()) })
}

/// Adds `cert` to the chain sent after the certificate of this connection.
///
/// # Errors
/// When the library refuses the certificate.
pub fn ssl_add_chain_cert(ssl: &mut SslRef, cert: &X509Ref) -> Result<(), ErrorStack> {
    // SAFETY: both are valid for the call, which takes a reference of its own to the certificate.
    cvt(unsafe { ffi::SSL_add1_chain_cert(ssl.as_ptr(), cert.as_ptr()) })
}

/// Lets the server renegotiate, which BoringSSL has clients refuse otherwise.
pub fn ssl_set_renegotiate_mode_freely(ssl: &mut SslRef) {
    // SAFETY: the connection is valid and the mode is one of the library.
    unsafe {
        ffi::SSL_set_renegotiate_mode(
            ssl.as_ptr(),
            ffi::ssl_renegotiate_mode_t::ssl_renegotiate_freely,
        );
    }
}

/// Sets the key exchange groups to offer or accept, separated by colons, the preferred one first.
///
/// # Errors
/// When the library does not know one of them.
pub fn ssl_set_groups_list(ssl: &mut SslRef, groups: &str) -> Result<(), ErrorStack> {
    let groups = CString::new(groups).map_err(|_| ErrorStack::get())?;
    // SAFETY: the connection is valid for the call and the text ends with NUL; it is copied.
    cvt(unsafe { ffi::SSL_set1_groups_list(ssl.as_ptr(), groups.as_ptr()) })
}

/// Sends a second key share, as BoringSSL does unless it is told otherwise: one for the preferred
/// group, and one for a group of the other kind, post-quantum or classical.
pub fn ssl_use_second_key_share(ssl: &mut SslRef, enabled: bool) {
    // One share is sent, for the group preferred among those the server is said to have.
    let hint: &[u16] = if enabled { &[] } else { &GROUPS };
    // SAFETY: the connection and the list are valid for the call, which copies the list. It fails
    // for want of memory only; then two are sent.
    unsafe {
        ffi::SSL_set1_server_supported_groups_hint(ssl.as_ptr(), hint.as_ptr(), hint.len());
    }
}

/// Forgets errors of earlier calls on this thread, which would be taken for those of the next.
pub fn clear_error_stack() {
    // SAFETY: touches nothing but the library's queue of this thread.
    unsafe { ffi::ERR_clear_error() }
}

/// Returns a connection to be accepted with the settings of `acceptor`.
///
/// # Errors
/// When the library has no memory for it.
pub fn ssl_from_acceptor(acceptor: &SslAcceptor) -> Result<Ssl, ErrorStack> {
    Ssl::new(acceptor.context())
}

/// Has the handshake stop when it needs a certificate, until [`unblock_ssl_cert`].
pub fn suspend_when_need_ssl_cert(ssl: &mut SslRef) {
    // SAFETY: the connection is valid and the callback is a function of this crate that uses
    // neither argument.
    unsafe { ffi::SSL_set_cert_cb(ssl.as_ptr(), Some(suspend), ptr::null_mut()) }
}

/// Lets a handshake that stopped for want of a certificate go on with what is set now.
pub fn unblock_ssl_cert(ssl: &mut SslRef) {
    // SAFETY: the connection is valid; no callback is a valid one.
    unsafe { ffi::SSL_set_cert_cb(ssl.as_ptr(), None, ptr::null_mut()) }
}

/// Returns whether a handshake stopped for want of a certificate.
pub fn is_suspended_for_cert(error: &Error) -> bool {
    error.code() == ErrorCode::WANT_X509_LOOKUP
}

/// Returns the same connection for changing.
///
/// # Safety
/// Nothing else may use the connection as long as the result lives: no other reference made by
/// this function, no read, write or handshake on the stream that owns it.
#[allow(clippy::mut_from_ref)]
pub unsafe fn ssl_mut(ssl: &SslRef) -> &mut SslRef {
    // SAFETY: the pointer is that of a valid connection; the caller has it alone.
    unsafe { SslRef::from_ptr_mut(ssl.as_ptr()) }
}

/// Fills `out` with key material that both sides of the connection can derive (RFC 5705).
///
/// # Errors
/// When the handshake is not complete or the protocol version cannot do it.
pub fn ssl_export_keying_material(
    ssl: &SslRef,
    out: &mut [u8],
    label: &str,
    context: Option<&[u8]>,
) -> Result<(), ErrorStack> {
    ssl.export_keying_material(out, label, context)
}

/// Forgets the certificates of this connection, their keys and chains, those of its context too.
///
/// The library keeps one of each kind of key and chooses by what the other side can: a certificate that
/// is set without this may not be the one that is presented.
pub fn ssl_certs_clear(ssl: &mut SslRef) {
    // SAFETY: the connection is valid for the call, and has certificates of its own, which are copies
    // of references.
    unsafe { ffi::SSL_certs_clear(ssl.as_ptr()) }
}

/// Lets only sessions with the same `context` be resumed on this connection; at most 32 bytes.
///
/// # Errors
/// When the context is longer.
pub fn ssl_set_session_id_context(ssl: &mut SslRef, context: &[u8]) -> Result<(), ErrorStack> {
    // SAFETY: the connection and the bytes are valid for the call, which copies them; it refuses
    // more than 32 before it reads.
    cvt(unsafe { ffi::SSL_set_session_id_context(ssl.as_ptr(), context.as_ptr(), context.len()) })
}

unsafe extern "C" fn suspend(_ssl: *mut SSL, _arg: *mut c_void) -> c_int {
    -1
}

/// Turns a result that is 1 for success into an error with what the library says.
fn cvt(result: c_int) -> Result<(), ErrorStack> {
    if result > 0 {
        Ok(())
    } else {
        Err(ErrorStack::get())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};

    use boring::ssl::{HandshakeError, SslContext, SslMethod};
    use boring::x509::store::X509StoreBuilder;
    use boring::x509::verify::X509VerifyParam;

    use super::*;

    fn connection() -> Ssl {
        Ssl::new(&SslContext::builder(SslMethod::tls()).unwrap().build()).unwrap()
    }

    #[test]
    fn settings_of_a_connection() {
        let mut ssl = connection();
        ssl_set_groups_list(&mut ssl, "X25519:P-256").unwrap();
        assert!(ssl_set_groups_list(&mut ssl, "no-such-group").is_err());
        assert!(ssl_set_groups_list(&mut ssl, "P-256\0").is_err());
        ssl_set_verify_cert_store(&mut ssl, &X509StoreBuilder::new().unwrap().build()).unwrap();
        ssl_set_session_id_context(&mut ssl, &[7; 32]).unwrap();
        assert!(ssl_set_session_id_context(&mut ssl, &[7; 33]).is_err());
        ssl_set_renegotiate_mode_freely(&mut ssl);
        assert!(ssl_export_keying_material(&ssl, &mut [0; 8], "label", None).is_err());
        clear_error_stack();
        assert!(ErrorStack::get().errors().is_empty());
    }

    #[test]
    fn names_to_verify() {
        let mut param = X509VerifyParam::new().unwrap();
        add_host(&mut param, "example.com").unwrap();
        add_host(&mut param, "").unwrap();
        assert!(add_host(&mut param, "a\0b").is_err());
    }

    /// Keeps what is sent and answers nothing.
    struct Sink(Vec<u8>);

    impl Read for Sink {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    impl Write for Sink {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn key_shares() {
        // Number, length and key: 32 bytes for X25519, 1,216 with ML-KEM-768 (FIPS 203).
        let length = |groups: &str, second| {
            let mut ssl = connection();
            ssl_set_groups_list(&mut ssl, groups).unwrap();
            ssl_use_second_key_share(&mut ssl, second);
            let Err(HandshakeError::WouldBlock(waiting)) = ssl.connect(Sink(vec![])) else {
                panic!("a handshake without a server");
            };
            waiting.get_ref().0.len()
        };
        let both = "X25519MLKEM768:X25519";
        assert_eq!(length(both, true), length(both, false) + 4 + 32);
        let both = "X25519:X25519MLKEM768";
        assert_eq!(length(both, true), length(both, false) + 4 + 1216);
        let classical = "X25519:P-256";
        assert_eq!(length(classical, true), length(classical, false));
    }

    #[test]
    fn a_key_must_belong_to_its_certificate() {
        use boring::asn1::Asn1Time;
        use boring::hash::MessageDigest;
        use boring::{ec, nid::Nid, pkey::PKey, x509::X509};

        let group = ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = || PKey::from_ec_key(ec::EcKey::generate(&group).unwrap()).unwrap();
        let own = key();
        let mut cert = X509::builder().unwrap();
        cert.set_pubkey(&own).unwrap();
        let [today, tomorrow] = [0, 1].map(|days| Asn1Time::days_from_now(days).unwrap());
        cert.set_not_before(&today).unwrap();
        cert.set_not_after(&tomorrow).unwrap();
        cert.sign(&own, MessageDigest::sha256()).unwrap();
        let cert = cert.build();

        let mut ssl = connection();
        ssl_use_certificate(&mut ssl, &cert).unwrap();
        ssl_add_chain_cert(&mut ssl, &cert).unwrap();
        assert!(ssl_use_private_key(&mut ssl, &key()).is_err());
        ssl_use_private_key(&mut ssl, &own).unwrap();
    }
}
