//! Certificates and keys from PEM files, in the form the library takes them: as they are.

use pingora_error::{Error, ErrorType, Result};

/// Returns the content of a certificate file and of a key file.
///
/// # Errors
/// `InvalidCert` naming the file that cannot be read.
pub fn load_certs_and_key_files(cert_file: &str, key_file: &str) -> Result<(Vec<u8>, Vec<u8>)> {
    Ok((load_pem_file(cert_file)?, load_pem_file(key_file)?))
}

/// Returns the content of a PEM file.
///
/// # Errors
/// `InvalidCert` naming the file that cannot be read.
pub fn load_pem_file(file: &str) -> Result<Vec<u8>> {
    std::fs::read(file)
        .map_err(|e| Error::because(ErrorType::InvalidCert, format!("cannot read {file}"), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_whole_or_named() {
        let certs = concat!(env!("CARGO_MANIFEST_DIR"), "/../testing/fixtures/certs");
        let (cert, key) = (format!("{certs}/a.pem"), format!("{certs}/a.key"));
        let (cert, key) = load_certs_and_key_files(&cert, &key).unwrap();
        assert!(cert.starts_with(b"-----BEGIN CERT") && key.starts_with(b"-----BEGIN"));
        let e = load_certs_and_key_files("missing.pem", "a.key").unwrap_err();
        assert!(e.to_string().contains("missing.pem"), "{e}");
    }
}
