//! Calls of OpenSSL that the `openssl` crate does not wrap, most of them on one connection.
//!
//! `pingora-boringssl` has the same functions in the same order; what one of the libraries cannot
//! do is a function without effect there, and says so.

use std::os::raw::{c_int, c_uint, c_void};
use std::ptr;

use foreign_types::ForeignTypeRef;
use libc::size_t;
use openssl::error::ErrorStack;
use openssl::pkey::{HasPrivate, PKeyRef};
use openssl::ssl::{Error, Ssl, SslAcceptor, SslRef};
use openssl::x509::X509Ref;
use openssl::x509::store::X509StoreRef;
use openssl::x509::verify::X509VerifyParamRef;
use openssl_sys::{EVP_PKEY, SSL, SSL_ctrl, X509, X509_VERIFY_PARAM};

// Commands of `SSL_ctrl` behind macros of `openssl/ssl.h`; their numbers are part of its ABI.
const SSL_CTRL_CHAIN_CERT: c_int = 89;
const SSL_CTRL_SET_GROUPS_LIST: c_int = 92;
const SSL_CTRL_SET_VERIFY_CERT_STORE: c_int = 106;

/// For the argument that says whether the callee takes a reference of its own.
const ADD_REFERENCE: std::os::raw::c_long = 1;

unsafe extern "C" {
    /// Adds a name the certificate of the other side may be valid for; 0 for a failure.
    pub fn X509_VERIFY_PARAM_add1_host(
        param: *mut X509_VERIFY_PARAM,
        name: *const libc::c_char,
        namelen: size_t,
    ) -> libc::c_int;

    /// Uses `cert` on the connection `ssl`; 0 for a failure.
    pub fn SSL_use_certificate(ssl: *mut SSL, cert: *mut X509) -> libc::c_int;

    /// Uses `key` on the connection `ssl`; 0 for a failure.
    pub fn SSL_use_PrivateKey(ssl: *mut SSL, key: *mut EVP_PKEY) -> libc::c_int;

    /// Has `cb` called when a certificate is needed: 1 goes on, 0 fails, negative suspends.
    pub fn SSL_set_cert_cb(
        ssl: *mut SSL,
        cb: Option<unsafe extern "C" fn(ssl: *mut SSL, arg: *mut c_void) -> c_int>,
        arg: *mut c_void,
    );

    fn SSL_certs_clear(ssl: *mut SSL);

    fn SSL_set_session_id_context(ssl: *mut SSL, context: *const u8, length: c_uint) -> c_int;
}

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
        X509_VERIFY_PARAM_add1_host(verify_param.as_ptr(), host.as_ptr().cast(), host.len())
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
    cvt(unsafe {
        SSL_ctrl(
            ssl.as_ptr(),
            SSL_CTRL_SET_VERIFY_CERT_STORE,
            ADD_REFERENCE,
            cert_store.as_ptr().cast(),
        ) as c_int
    })
}

/// Presents `cert` on this connection.
///
/// # Errors
/// When the library refuses the certificate.
pub fn ssl_use_certificate(ssl: &mut SslRef, cert: &X509Ref) -> Result<(), ErrorStack> {
    // SAFETY: both are valid for the call, which takes a reference of its own to the certificate.
    cvt(unsafe { SSL_use_certificate(ssl.as_ptr(), cert.as_ptr()) })
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
    cvt(unsafe { SSL_use_PrivateKey(ssl.as_ptr(), key.as_ptr()) })
}

/// Adds `cert` to the chain sent after the certificate of this connection.
///
/// # Errors
/// When the library refuses the certificate.
pub fn ssl_add_chain_cert(ssl: &mut SslRef, cert: &X509Ref) -> Result<(), ErrorStack> {
    // SAFETY: both are valid for the call, which takes a reference of its own to the certificate.
    cvt(unsafe {
        SSL_ctrl(
            ssl.as_ptr(),
            SSL_CTRL_CHAIN_CERT,
            ADD_REFERENCE,
            cert.as_ptr().cast(),
        ) as c_int
    })
}

/// Lets the server renegotiate. Without effect: OpenSSL 3 has clients refuse unless told otherwise.
pub fn ssl_set_renegotiate_mode_freely(_ssl: &mut SslRef) {}

/// Sets the key exchange groups to offer or accept, separated by colons, the preferred one first.
///
/// # Errors
/// When the library does not know one of them.
pub fn ssl_set_groups_list(ssl: &mut SslRef, groups: &str) -> Result<(), ErrorStack> {
    let groups = std::ffi::CString::new(groups).map_err(|_| ErrorStack::get())?;
    // SAFETY: the connection is valid for the call and the text ends with NUL; it is copied.
    cvt(unsafe {
        SSL_ctrl(
            ssl.as_ptr(),
            SSL_CTRL_SET_GROUPS_LIST,
            0,
            groups.as_ptr().cast_mut().cast(),
        ) as c_int
    })
}

/// Sends a second key share. Without effect: OpenSSL decides by the groups that were set.
pub fn ssl_use_second_key_share(_ssl: &mut SslRef, _enabled: bool) {}

/// Forgets errors of earlier calls on this thread, which would be taken for those of the next.
pub fn clear_error_stack() {
    // SAFETY: touches nothing but the library's queue of this thread.
    unsafe { openssl_sys::ERR_clear_error() }
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
    unsafe { SSL_set_cert_cb(ssl.as_ptr(), Some(suspend), ptr::null_mut()) }
}

/// Lets a handshake that stopped for want of a certificate go on with what is set now.
pub fn unblock_ssl_cert(ssl: &mut SslRef) {
    // SAFETY: the connection is valid; no callback is a valid one.
    unsafe { SSL_set_cert_cb(ssl.as_ptr(), None, ptr::null_mut()) }
}

/// Returns whether a handshake stopped for want of a certificate.
pub fn is_suspended_for_cert(error: &Error) -> bool {
    error.code().as_raw() == openssl_sys::SSL_ERROR_WANT_X509_LOOKUP
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
    unsafe { SSL_certs_clear(ssl.as_ptr()) }
}

/// Lets only sessions with the same `context` be resumed on this connection; at most 32 bytes.
///
/// # Errors
/// When the context is longer.
pub fn ssl_set_session_id_context(ssl: &mut SslRef, context: &[u8]) -> Result<(), ErrorStack> {
    let length = c_uint::try_from(context.len()).unwrap_or(c_uint::MAX);
    // SAFETY: the connection and `length` bytes are valid for the call, which copies them; it
    // refuses more than 32 before it reads.
    cvt(unsafe { SSL_set_session_id_context(ssl.as_ptr(), context.as_ptr(), length) })
}

/// Returns the body of an extension of the ClientHello that is being looked at, by its number.
///
/// Only inside a callback set with `set_client_hello_callback`, `None` elsewhere.
pub fn ssl_client_hello_extension(ssl: &SslRef, number: u16) -> Option<&[u8]> {
    let (mut body, mut length) = (ptr::null(), 0);
    // SAFETY: the connection is valid and both places are written by the call, which returns 0
    // when there is no such extension or no ClientHello at hand.
    let found = unsafe {
        openssl_sys::SSL_client_hello_get0_ext(ssl.as_ptr(), number.into(), &mut body, &mut length)
    };
    if found == 0 || body.is_null() {
        return None;
    }
    // SAFETY: `length` bytes at `body` belong to the message, which the library keeps for as long
    // as the callback runs, and that outlives the reference given to it.
    Some(unsafe { std::slice::from_raw_parts(body, length) })
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
    use super::*;
    use openssl::ssl::{SslContext, SslMethod};
    use openssl::x509::store::X509StoreBuilder;
    use openssl::x509::verify::X509VerifyParam;

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
        assert!(ssl_client_hello_extension(&ssl, 0).is_none());
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

    #[test]
    fn a_key_must_belong_to_its_certificate() {
        use openssl::asn1::Asn1Time;
        use openssl::hash::MessageDigest;
        use openssl::{ec, nid::Nid, pkey::PKey, x509::X509};

        let group = ec::EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = || PKey::from_ec_key(ec::EcKey::generate(&group).unwrap()).unwrap();
        let own = key();
        let mut cert = X509::builder().unwrap();
        cert.set_pubkey(&own).unwrap();
        cert.set_not_after(&Asn1Time::days_from_now(1).unwrap())
            .unwrap();
        cert.sign(&own, MessageDigest::sha256()).unwrap();
        let cert = cert.build();

        let mut ssl = connection();
        ssl_use_certificate(&mut ssl, &cert).unwrap();
        ssl_add_chain_cert(&mut ssl, &cert).unwrap();
        assert!(ssl_use_private_key(&mut ssl, &key()).is_err());
        ssl_use_private_key(&mut ssl, &own).unwrap();
        assert!(ssl.certificate().is_some());
        ssl_certs_clear(&mut ssl);
        assert!(ssl.certificate().is_none());
    }
}
