use super::*;

fn file(name: &str) -> String {
    format!(
        "{}/../testing/fixtures/certs/{name}",
        env!("CARGO_MANIFEST_DIR")
    )
}

#[test]
fn certificates_and_keys() {
    for name in ["a", "b", "client"] {
        let (cert, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        let (certs, private) = load_certs_and_key_files(&cert, &key).unwrap().unwrap();
        assert_eq!(certs.len(), 2, "{name}");
        assert_eq!(load_pem_file_ca(&cert).unwrap(), certs[0].to_vec());
        assert_eq!(
            load_pem_file_private_key(&key).unwrap(),
            private.secret_der()
        );
        assert!(load_certs_and_key_files(&key, &key).unwrap().is_none());
        assert!(load_certs_and_key_files(&cert, &cert).unwrap().is_none());
    }
}

#[test]
fn errors_name_the_file() {
    let missing = file("missing.pem");
    let a = file("a.pem");
    let errors = [
        load_certs_and_key_files(&missing, &a).unwrap_err(),
        load_certs_and_key_files(&a, &missing).unwrap_err(),
        load_pem_file_ca(&missing).unwrap_err(),
        load_pem_file_private_key(&missing).unwrap_err(),
        load_ca_file_into_store(&missing, &mut RootCertStore::empty()).unwrap_err(),
        load_ca_file_into_store(file("a.key"), &mut RootCertStore::empty()).unwrap_err(),
    ];
    for e in &errors[..5] {
        assert!(e.to_string().contains("missing.pem"), "{e}");
    }
    assert!(errors[5].to_string().contains("a.key"), "{}", errors[5]);
}

#[test]
fn authorities() {
    let mut store = RootCertStore::empty();
    load_ca_file_into_store(file("ca.pem"), &mut store).unwrap();
    assert_eq!(store.len(), 1);
}

#[test]
fn digests_are_sha256() {
    let digest = hash_certificate(&CertificateDer::from(&b"abc"[..]));
    assert_eq!(digest[..4], [0xba, 0x78, 0x16, 0xbf]);
    assert_eq!(digest.len(), 32);
}

#[test]
fn the_default_provider_may_be_installed_twice() {
    install_default_crypto_provider();
    install_default_crypto_provider();
    assert!(!crypto_provider().kx_groups.is_empty());
    assert!(ticketer().unwrap().enabled());
}
