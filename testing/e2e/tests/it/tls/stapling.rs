//! OCSP responses stapled to certificates.

use std::fs;

use pingora::listeners::TlsAccept;
use pingora::listeners::tls::{CertificateSet, server_name, set_certificate};
use pingora::protocols::tls::TlsRef;
use pingora_e2e::harness;

use super::raw::{self, hello, records};
use super::*;

fn response(name: &str) -> Vec<u8> {
    fs::read(file(&format!("{name}.ocsp"))).unwrap()
}

/// Returns what is stapled for a client that asks for it under this name.
async fn staple(server: &Running, name: &str) -> Option<Vec<u8>> {
    let flight = raw::ask(server.addr(), &records(&hello(name, true), 999), 999).await;
    assert!(flight.is_whole());
    flight.staple().map(<[u8]>::to_vec)
}

#[test]
fn responses_are_stapled_for_clients_that_ask() {
    harness::run(async {
        let mut tls = settings("a");
        tls.set_ocsp_response(&file("a.ocsp")).unwrap();
        let server = serve(tls).await;
        assert_eq!(staple(&server, "a.example").await, Some(response("a")));
        let silent = records(&hello("a.example", false), 999);
        assert_eq!(raw::ask(server.addr(), &silent, 999).await.staple(), None);
        get_once(&peer(server.addr(), "a.example")).await.unwrap();

        let without = serve(settings("a")).await;
        assert_eq!(staple(&without, "a.example").await, None);
    });
}

#[test]
fn each_certificate_of_a_set_has_its_own() {
    harness::run(async {
        let path = |kind| file(&format!("b.{kind}"));
        let set = CertificateSet::new(&file("a.pem"), &file("a.key")).unwrap();
        set.add(&["b.example"], &path("pem"), &path("key")).unwrap();
        set.add(&["wild.example"], &file("wild.pem"), &file("wild.key"))
            .unwrap();
        let mut tls = TlsSettings::with_certificates(set.clone()).unwrap();
        let server = {
            // Those of the default by either way.
            tls.set_ocsp_response(&file("a.ocsp")).unwrap();
            serve(tls).await
        };
        assert_eq!(staple(&server, "b.example").await, None);
        set.set_ocsp_response(&path("pem"), &path("ocsp")).unwrap();
        for (name, expected) in [
            ("a.example", Some("a")),
            ("b.example", Some("b")),
            ("wild.example", None),
            ("unknown.example", Some("a")),
        ] {
            let stapled = staple(&server, name).await;
            assert_eq!(stapled, expected.map(response), "{name}");
        }
    });
}

/// Presents the certificate `b` to those who ask for it, whatever the settings have.
struct Chooser(CertKey);

#[async_trait]
impl TlsAccept for Chooser {
    async fn certificate_callback(&self, ssl: &mut TlsRef) {
        if server_name(ssl) == Some("b.example") {
            set_certificate(ssl, &self.0).unwrap();
        }
    }
}

#[test]
fn a_response_goes_with_its_certificate_only() {
    harness::run(async {
        let set = CertificateSet::new(&file("a.pem"), &file("a.key")).unwrap();
        for mut tls in [settings("a"), TlsSettings::with_certificates(set).unwrap()] {
            tls.set_ocsp_response(&file("a.ocsp")).unwrap();
            let own = CertKey::from_files(&file("b.pem"), &file("b.key")).unwrap();
            tls.set_callbacks(Box::new(Chooser(own)));
            let server = serve(tls).await;
            assert_eq!(staple(&server, "a.example").await, Some(response("a")));
            assert_eq!(staple(&server, "b.example").await, None);
        }
    });
}

#[test]
fn responses_are_read_again() {
    harness::run(async {
        let folder = harness::temporary_folder("stapling");
        let path = |kind: &str| folder.join(format!("live.{kind}")).display().to_string();
        let replace = |name: &str| {
            for kind in ["pem", "key", "ocsp"] {
                fs::write(
                    path(kind),
                    fs::read(file(&format!("{name}.{kind}"))).unwrap(),
                )
                .unwrap();
            }
        };
        replace("a");
        let set = CertificateSet::new(&path("pem"), &path("key")).unwrap();
        set.set_ocsp_response(&path("pem"), &path("ocsp")).unwrap();
        let server = serve(TlsSettings::with_certificates(set.clone()).unwrap()).await;
        assert_eq!(staple(&server, "a.example").await, Some(response("a")));
        replace("a2");
        set.reload().unwrap();
        assert_eq!(staple(&server, "a.example").await, Some(response("a2")));
        fs::write(path("ocsp"), "garbage").unwrap();
        let e = set.reload().unwrap_err();
        assert!(e.to_string().contains("live.ocsp"), "{e}");
        assert_eq!(staple(&server, "a.example").await, Some(response("a2")));
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn files_without_a_response() {
    for (name, what) in [
        ("missing.ocsp", "cannot read OCSP response file"),
        ("a.pem", "cannot use OCSP response file"),
    ] {
        let path = file(name);
        let set = CertificateSet::new(&file("a.pem"), &file("a.key")).unwrap();
        for e in [
            settings("a").set_ocsp_response(&path).unwrap_err(),
            set.set_ocsp_response(&file("a.pem"), &path).unwrap_err(),
        ] {
            let text = e.to_string();
            assert!(text.contains(what) && text.contains(name), "{text}");
            assert!(!text.contains('\n'), "{text}");
            assert_eq!(e.etype().as_str(), "TLSConfigError");
        }
        let e = set.set_ocsp_response(&file("b.pem"), &file("b.ocsp"));
        let text = e.unwrap_err().to_string();
        assert!(text.contains("b.pem"), "{text}");
    }
}
