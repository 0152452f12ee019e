//! Several certificates on one listener, chosen by name and reloaded; the ClientHello hook.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pingora::listeners::TlsAccept;
use pingora::listeners::tls::{CertificateSet, ClientHello, server_name, set_certificate};
use pingora::protocols::tls::TlsRef;
use pingora::server::configuration::ServerConf;
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use pingora_e2e::harness;

use super::*;

fn files(name: &str) -> (String, String) {
    (file(&format!("{name}.pem")), file(&format!("{name}.key")))
}

fn set() -> CertificateSet {
    let (cert, key) = files("a");
    let set = CertificateSet::new(&cert, &key).unwrap();
    for (names, name) in [(&["B.example"][..], "b"), (&["*.wild.example"], "wild")] {
        let (cert, key) = files(name);
        set.add(names, &cert, &key).unwrap();
    }
    set
}

/// Connects and returns the organization and the common name by which the server's certificate is
/// valid.
async fn organization(addr: SocketAddr, sni: &str) -> Result<String> {
    let peer = peer(addr, sni);
    let stream = within(
        "a connection",
        TransportConnector::new(None).new_stream(&peer),
    )
    .await?;
    Ok(stream
        .get_ssl_digest()
        .unwrap()
        .organization
        .clone()
        .unwrap())
}

#[test]
fn certificates_are_chosen_by_name() {
    harness::run(async {
        let server = serve(TlsSettings::with_certificates(set()).unwrap()).await;
        for name in ["a.example", "b.example", "B.EXAMPLE", "x.wild.example", ""] {
            organization(server.addr(), name).await.unwrap();
        }
        for name in ["x.y.wild.example", "wild.example", "c.example"] {
            // The default, which is not valid for them.
            let e = organization(server.addr(), name).await.unwrap_err();
            assert_eq!(e.etype(), &InvalidCert, "{name}: {e}");
        }
    });
}

#[test]
fn sessions_are_bound_to_the_name() {
    harness::run(async {
        let server = serve(TlsSettings::with_certificates(set()).unwrap()).await;
        let connector = TransportConnector::new(None);
        for (name, expected) in [
            ("a.example", " full "),
            ("b.example", " full "),
            ("a.example", " resumed "),
            ("b.example", " resumed "),
        ] {
            let body = get(&connector, &peer(server.addr(), name)).await.unwrap();
            assert!(body.contains(expected), "{name}: {body}");
        }
    });
}

fn replace(folder: &Path, name: &str) {
    for kind in ["pem", "key"] {
        let (from, to) = (
            file(&format!("{name}.{kind}")),
            folder.join(format!("live.{kind}")),
        );
        fs::write(&to, fs::read(from).unwrap()).unwrap();
        // The clock of the file system may be too coarse to tell two writes in a row apart.
        let later =
            std::time::SystemTime::now() + Duration::from_secs(u64::from(name == "a2") * 60);
        fs::File::options()
            .write(true)
            .open(&to)
            .unwrap()
            .set_modified(later)
            .unwrap();
    }
}

fn live(folder: &Path) -> CertificateSet {
    let path = |kind| folder.join(format!("live.{kind}")).display().to_string();
    CertificateSet::new(&path("pem"), &path("key")).unwrap()
}

#[test]
fn certificates_are_reloaded_on_a_call() {
    harness::run(async {
        let folder = pingora_e2e::harness::temporary_folder("reload");
        replace(&folder, "a");
        let set = live(&folder);
        let server = serve(TlsSettings::with_certificates(set.clone()).unwrap()).await;
        let connector = TransportConnector::new(None);
        let mut before = connector
            .new_stream(&peer(server.addr(), "a.example"))
            .await
            .unwrap();
        assert_eq!(
            organization(server.addr(), "a.example").await.unwrap(),
            "Server"
        );

        replace(&folder, "a2");
        assert_eq!(
            organization(server.addr(), "a.example").await.unwrap(),
            "Server"
        );
        set.reload().unwrap();
        assert_eq!(
            organization(server.addr(), "a.example").await.unwrap(),
            "Renewed"
        );
        // Connections go on.
        get_on(&mut before).await;

        fs::write(folder.join("live.key"), "no key").unwrap();
        let e = set.reload().unwrap_err();
        assert!(e.to_string().contains("live.key"), "{e}");
        assert_eq!(
            organization(server.addr(), "a.example").await.unwrap(),
            "Renewed"
        );
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn certificates_are_reloaded_when_their_files_change() {
    harness::run(async {
        let folder = pingora_e2e::harness::temporary_folder("watch");
        replace(&folder, "a");
        let mut set = live(&folder);
        set.set_interval(Duration::from_millis(5));
        let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
        server.add_service(background_service("certificates", set.clone()));
        let mut service = Service::new("tls".to_string(), HttpServer::new_app(Facts));
        let settings = TlsSettings::with_certificates(set).unwrap();
        service.add_tls_with_settings("127.0.0.1:0", None, settings);
        let server = harness::run_with(server, service).await;
        assert_eq!(
            organization(server.addr(), "a.example").await.unwrap(),
            "Server"
        );
        replace(&folder, "a2");
        let renewed = async {
            while organization(server.addr(), "a.example").await.unwrap() != "Renewed" {
                tokio::task::yield_now().await;
            }
        };
        within("the new certificate is there", renewed).await;
        fs::remove_dir_all(folder).unwrap();
    });
}

#[test]
fn sets_that_cannot_be() {
    let set = set();
    let (cert, key) = files("a");
    for name in ["", "*", "*.", "a.*.example", "*a.example"] {
        let e = set.add(&[name], &cert, &key).unwrap_err();
        assert!(e.to_string().contains("no server name"), "{name}: {e}");
    }
    let e = set.add(&["c.example"], &cert, &files("b").1).unwrap_err();
    assert!(e.to_string().contains("b.key"), "{e}");
}

#[test]
fn a_hook_looks_at_the_client_hello() {
    harness::run(async {
        let mut tls = settings("a");
        let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
        tls.set_client_hello_hook(Arc::new(move |hello: &ClientHello| {
            seen.send(hello.clone()).unwrap();
            match hello.server_name.as_deref() {
                Some("localhost") => Error::e_explain(TLSHandshakeFailure, "not by this name"),
                _ => Ok(()),
            }
        }));
        let server = serve(tls).await;
        let mut peer = peer(server.addr(), "a.example");
        peer.options.alpn = ALPN::H2H1;
        let body = get_once(&peer).await.unwrap();
        assert!(body.starts_with("TLSv1.3 a.example"), "{body}");
        let hello = told.recv().await.unwrap();
        assert_eq!(hello.server_name.as_deref(), Some("a.example"));
        assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert!(hello.versions.contains(&0x0304));
        let ja4 = hello.ja4();
        assert!(
            ja4.starts_with("t13d") && ja4[8..].starts_with("h2_"),
            "{ja4}"
        );
        assert!(hello.cipher_suites.contains(&0x1301) && !hello.groups.is_empty());

        peer.sni = "localhost".to_string();
        assert!(get_once(&peer).await.is_err());
    });
}

/// Chooses by name, after a while; nothing for `localhost`, so that the certificate of the settings
/// stays.
struct ByName([CertKey; 2]);

#[async_trait]
impl TlsAccept for ByName {
    async fn certificate_callback(&self, ssl: &mut TlsRef) {
        tokio::task::yield_now().await;
        let chosen = match server_name(ssl) {
            Some("localhost") => return,
            Some(name) if name.ends_with(".wild.example") => &self.0[1],
            _ => &self.0[0],
        };
        set_certificate(ssl, chosen).unwrap();
    }
}

#[test]
fn a_callback_chooses_the_certificate() {
    harness::run(async {
        let callbacks = || {
            let own = |name| CertKey::from_files(&files(name).0, &files(name).1).unwrap();
            Box::new(ByName([own("b"), own("wild")]))
        };
        let mut with_default = settings("a");
        with_default.set_callbacks(callbacks());
        let without = TlsSettings::with_callbacks(callbacks()).unwrap();
        for (tls, has_default) in [(with_default, true), (without, false)] {
            let server = serve(tls).await;
            let connector = TransportConnector::new(None);
            for (name, is_served) in [
                ("b.example", true),
                ("x.wild.example", true),
                ("localhost", has_default),
                ("a.example", false),
            ] {
                // Twice: a session may be resumed, whoever chose its certificate.
                for _ in 0..2 {
                    let served = get(&connector, &peer(server.addr(), name)).await;
                    assert_eq!(served.is_ok(), is_served, "{name}: {served:?}");
                }
            }
        }
    });
}
