//! Clients of others: curl, `openssl s_client`, and the `ssl` module of Python. The project's test
//! command installs all three.

use std::process::Stdio;

use pingora::listeners::tls::ClientAuth;
use pingora_e2e::harness;
use tokio::process::Command;

use super::*;

/// Starts a server of everything these clients try: HTTP/2, a staple, optional client certificates.
async fn server(auth: Option<ClientAuth>) -> Running {
    let mut tls = settings("a");
    tls.enable_h2();
    tls.set_ocsp_response(&file("a.ocsp")).unwrap();
    if let Some(auth) = auth {
        tls.set_client_auth(&file("ca.pem"), auth).unwrap();
    }
    serve(tls).await
}

/// Runs a program that is given `input`, and returns what it prints; `None` when it reports failure.
async fn run(program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{program} is needed for this test: {e}"));
    let mut stdin = child.stdin.take().unwrap();
    // It may end without reading.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = within(program, child.wait_with_output()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        eprintln!("{program} {arguments:?}: {}\n{why}", output.status);
    }
    output.status.success().then_some(text)
}

async fn curl(server: &Running, arguments: &[&str]) -> Option<String> {
    let port = server.addr().port();
    let (url, ca) = (format!("https://a.example:{port}/"), file("ca.pem"));
    let resolve = format!("a.example:{port}:127.0.0.1");
    let fixed = [
        "-sS",
        "--max-time",
        "9",
        "--noproxy",
        "*",
        "--cacert",
        &ca,
        "--resolve",
        &resolve,
    ];
    run("curl", &[&fixed, arguments, &[&url]].concat(), "").await
}

#[test]
fn curl_is_served() {
    harness::run(async {
        let server = server(None).await;
        let tls12 = ["--tlsv1.2", "--tls-max", "1.2"];
        for (arguments, expected) in [
            (&["--http2"][..], "TLSv1.3 a.example H2 full - -"),
            (&["--http1.1"], "TLSv1.3 a.example H1 full - -"),
            (&["--no-alpn"], "TLSv1.3 a.example - full - -"),
            (&tls12, "TLSv1.2 a.example H2 full - -"),
            // The staple, checked.
            (&["--cert-status"], "TLSv1.3 a.example H2 full - -"),
            (
                &[&tls12[..], &["--cert-status"]].concat(),
                "TLSv1.2 a.example H2 full - -",
            ),
        ] {
            let body = curl(&server, arguments).await;
            assert_eq!(body.as_deref(), Some(expected), "{arguments:?}");
        }
        // Neither without the authority, nor without any common version.
        assert_eq!(
            curl(&server, &["--cacert", &file("other-ca.pem")]).await,
            None
        );
        assert_eq!(curl(&server, &["--tls-max", "1.1"]).await, None);
    });
}

#[test]
fn curl_shows_a_certificate() {
    harness::run(async {
        let server = server(Some(ClientAuth::Required)).await;
        let own = |name: &str| [file(&format!("{name}.pem")), file(&format!("{name}.key"))];
        for (name, expected) in [("client", Some("Client")), ("stranger", None)] {
            let [cert, key] = own(name);
            let body = curl(&server, &["--http1.1", "--cert", &cert, "--key", &key]).await;
            let organization = body.as_deref().and_then(|body| body.split(' ').nth(4));
            assert_eq!(organization, expected, "{name}");
        }
        assert_eq!(curl(&server, &[]).await, None);
    });
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

async fn s_client(server: &Running, arguments: &[&str]) -> Option<String> {
    let (addr, ca) = (server.addr().to_string(), file("ca.pem"));
    let fixed = [
        "s_client",
        "-connect",
        &addr,
        "-CAfile",
        &ca,
        "-verify_return_error",
        "-ign_eof",
    ];
    run("openssl", &[&fixed, arguments].concat(), GET).await
}

#[test]
fn openssl_s_client_is_served() {
    harness::run(async {
        let server = server(None).await;
        let named = ["-servername", "a.example", "-verify_hostname", "a.example"];
        for (arguments, version) in [(["-tls1_3"], "TLSv1.3"), (["-tls1_2"], "TLSv1.2")] {
            let arguments = [&named[..], &["-status"], &arguments].concat();
            let text = s_client(&server, &arguments).await.expect("it is served");
            for expected in [
                "OCSP Response Status: successful",
                "Cert Status: good",
                "Verify return code: 0 (ok)",
                &format!("{version} a.example - full - -"),
            ] {
                assert!(text.contains(expected), "{expected}: {text}");
            }
        }
        for refused in [&["-tls1_1"][..], &["-cipher", "AES128-SHA", "-tls1_2"]] {
            // It is content with a connection that is closed without an alert.
            let text = s_client(&server, refused).await;
            let is_refused = |text: &String| text.contains("Cipher is (NONE)");
            assert!(
                text.as_ref().is_none_or(is_refused),
                "{refused:?}: {text:?}"
            );
        }
    });
}

#[test]
fn openssl_s_client_resumes_sessions() {
    harness::run(async {
        let server = server(None).await;
        let folder = harness::temporary_folder("sessions");
        for version in ["-tls1_3", "-tls1_2"] {
            let session = folder.join(version).display().to_string();
            let first = [version, "-servername", "a.example", "-sess_out", &session];
            let text = s_client(&server, &first).await.expect("it is served");
            assert!(text.contains(" full "), "{version}: {text}");
            let again = [version, "-servername", "a.example", "-sess_in", &session];
            let text = s_client(&server, &again).await.expect("it is served");
            assert!(text.contains(" resumed "), "{version}: {text}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    });
}

/// Prints the answer to a GET; its arguments are port, authorities, version, ALPN, certificate and key.
const PYTHON: &str = r#"
import socket, ssl, sys
port, ca, version, alpn, cert, key = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
if alpn:
    context.set_alpn_protocols([alpn])
if cert:
    context.load_cert_chain(cert, key)
session, get = None, sys.stdin.buffer.read()
for _ in range(2 if version == "TLSv1_2" else 1):
    tcp = socket.create_connection(("127.0.0.1", int(port)), timeout=9)
    tls = context.wrap_socket(tcp, server_hostname="a.example", session=session)
    tls.sendall(get)
    received = b""
    while piece := tls.recv(4096):
        received += piece
    assert tls.selected_alpn_protocol() == (alpn or None)
    print(received.decode().split("\r\n\r\n")[1])
    session = tls.session
    # The end of TLS is said, not only that of the connection.
    tls.unwrap().close()
"#;

async fn python(server: &Running, version: &str, alpn: &str, cert: Option<&str>) -> Option<String> {
    let port = server.addr().port().to_string();
    let own = |kind| {
        cert.map(|name| file(&format!("{name}.{kind}")))
            .unwrap_or_default()
    };
    let (ca, cert, key) = (file("ca.pem"), own("pem"), own("key"));
    let arguments = ["-c", PYTHON, &port, &ca, version, alpn, &cert, &key];
    run("python3", &arguments, GET).await
}

#[test]
fn python_is_served() {
    harness::run(async {
        let server = server(Some(ClientAuth::Optional)).await;
        for (version, alpn, cert, expected) in [
            ("TLSv1_3", "", None, "TLSv1.3 a.example - full - -\n"),
            (
                "TLSv1_3",
                "http/1.1",
                None,
                "TLSv1.3 a.example H1 full - -\n",
            ),
            (
                "TLSv1_3",
                "",
                Some("client"),
                "TLSv1.3 a.example - full Client -\n",
            ),
        ] {
            let text = python(&server, version, alpn, cert).await;
            assert_eq!(text.as_deref(), Some(expected), "{version} {alpn} {cert:?}");
        }
        assert_eq!(python(&server, "TLSv1_3", "", Some("stranger")).await, None);

        let server = self::server(None).await;
        let text = python(&server, "TLSv1_2", "", None).await;
        let both = "TLSv1.2 a.example - full - -\nTLSv1.2 a.example - resumed - -\n";
        assert_eq!(text.as_deref(), Some(both));
    });
}
