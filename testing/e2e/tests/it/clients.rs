//! Programs that are not ours: curl as the client, nginx as the origin. A test whose program is
//! not installed says so and does nothing; the project's test command installs both.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use pingora_e2e::harness;
use pingora_test_support::client::{self, Client};
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::within;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// Runs curl with `arguments`, giving it `input`; `None` if it is not installed.
async fn curl(arguments: &[&str], input: &[u8]) -> Option<String> {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "9",
        "--noproxy",
        "*",
    ]);
    command.args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = match command.kill_on_drop(true).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("not tested, curl does not start: {error}");
            return None;
        }
    };
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    // It may end without reading.
    let feed = tokio::spawn(async move { stdin.write_all(&input).await });
    let output = within("curl ends", child.wait_with_output())
        .await
        .expect("curl runs");
    let _ = feed.await.expect("no panic");
    assert!(
        output.status.success(),
        "curl {arguments:?}: {:?}",
        output.status
    );
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn curl_gets() {
    harness::run(async {
        let origin = Origin::start(|request| match &*request.target {
            "/chunked" => Reply::chunked(["hel", "lo"]),
            "/close" => Reply::raw("HTTP/1.0 200 OK\r\n\r\nhello").close(),
            "/hints" => Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
            _ => Reply::ok("hello"),
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        for path in ["/", "/chunked", "/close", "/hints"] {
            let url = format!("http://{}{path}", proxy.addr());
            for version in ["--http1.1", "--http1.0"] {
                let Some(text) = curl(&[version, &url], b"").await else {
                    return;
                };
                assert_eq!(text, "hello", "{path} {version}");
            }
            let Some(text) = curl(&["--head", &url], b"").await else {
                return;
            };
            assert!(text.starts_with("HTTP/1.1 "), "{text}");
        }
        // Several requests, one connection.
        let url = format!("http://{}/", proxy.addr());
        let arguments = ["--write-out", " %{num_connects}\n", &url, &url, &url];
        let text = curl(&arguments, b"").await.expect("it ran before");
        assert_eq!(text, "hello 1\nhello 0\nhello 0\n");
    });
}

#[test]
fn curl_posts() {
    harness::run(async {
        let origin = Origin::start(|request| {
            let sum: u64 = request.body.iter().map(|byte| u64::from(*byte)).sum();
            Reply::ok(format!("{} {} {sum}", request.method, request.body.len()))
        })
        .await;
        let proxy = harness::forward(origin.addr()).await;
        let url = format!("http://{}/", proxy.addr());
        let body: Vec<u8> = (0..3_000_000).map(|at| (at % 251) as u8).collect();
        let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
        // From 1 MB on, curl waits for 100 (Continue) before it sends.
        let posted = curl(&["--data-binary", "@-", &url], &body).await;
        let Some(posted) = posted else { return };
        assert_eq!(posted, format!("POST 3000000 {sum}"));
        let chunked = ["--upload-file", "-", &url];
        assert_eq!(
            curl(&chunked, &body).await.unwrap(),
            format!("PUT 3000000 {sum}")
        );
        let chunked = [
            "--header",
            "Transfer-Encoding: chunked",
            "--data-binary",
            "@-",
            &url,
        ];
        assert_eq!(
            curl(&chunked, &body[..1000])
                .await
                .unwrap()
                .split(' ')
                .nth(1),
            Some("1000")
        );
        assert_eq!(origin.errors(), Vec::<String>::new());
    });
}

/// An nginx that serves files and little answers on a Unix socket (it cannot choose a port).
struct Nginx {
    folder: PathBuf,
    _process: Child,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // What is left over only takes room.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const NGINX: &str = "
daemon off; master_process off; worker_processes 1; error_log stderr crit; pid DIR/pid;
events { worker_connections 256; }
http {
  access_log off; root DIR/files; client_max_body_size 1m; keepalive_requests 100000;
  client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c;
  uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
  server {
    listen unix:DIR/sock;
    location = /connection { return 200 $connection; }
    location = /empty { return 204; }
    location = /close { keepalive_timeout 0; return 200 bye; }
    location = /gzip.txt { gzip on; gzip_min_length 1; gzip_types text/plain; }
  }
}
";

impl Nginx {
    async fn start(name: &str) -> Option<Self> {
        let name = format!("{name}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(folder.join("files")).unwrap();
        let text = "0123456789".repeat(1000);
        for file in ["file.txt", "gzip.txt"] {
            std::fs::write(folder.join("files").join(file), &text).unwrap();
        }
        let conf = NGINX.replace("DIR", folder.to_str().unwrap());
        std::fs::write(folder.join("conf"), conf).unwrap();
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(folder.join("conf"));
        let process = match command.kill_on_drop(true).spawn() {
            Ok(process) => process,
            Err(error) => {
                eprintln!("not tested, nginx does not start: {error}");
                return None;
            }
        };
        let socket = folder.join("sock");
        let listens = async {
            while tokio::net::UnixStream::connect(&socket).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        within("nginx listens", listens).await;
        let _process = process;
        Some(Self { folder, _process })
    }

    fn socket(&self) -> String {
        self.folder.join("sock").to_str().unwrap().to_string()
    }
}

#[test]
fn nginx_serves() {
    harness::run(async {
        let Some(nginx) = Nginx::start("nginx_serves").await else {
            return;
        };
        let socket = nginx.socket();
        let proxy = harness::proxy(harness::ForwardUds(socket)).await;
        let mut client = Client::connect(proxy.addr()).await;
        let file = client.get("/file.txt").await;
        assert_eq!((file.status, file.body.len()), (200, 10_000));
        let etag = file.header("etag").expect("nginx sends one").to_string();
        let same = client
            .request("GET", "/file.txt", &[("If-None-Match", &etag)], "")
            .await;
        assert_eq!((same.status, same.body.len()), (304, 0));
        let part = client
            .request("GET", "/file.txt", &[("Range", "bytes=5-9")], "")
            .await;
        assert_eq!((part.status, part.text()), (206, "56789"));
        let head = client.request("HEAD", "/file.txt", &[], "").await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some("10000"))
        );
        let zipped = client
            .request("GET", "/gzip.txt", &[("Accept-Encoding", "gzip")], "")
            .await;
        assert_eq!(zipped.header("content-encoding"), Some("gzip"));
        assert_eq!(zipped.body[..2], [0x1f, 0x8b]);
        assert_eq!(client.get("/empty").await.status, 204);
        assert_eq!(client.get("/none").await.status, 404);
        // All that over one connection, which nginx numbers.
        let number = client.get("/connection").await.text().to_string();
        assert_eq!(
            client::get(proxy.addr(), "/connection").await.text(),
            number
        );
        assert_eq!(client.get("/close").await.text(), "bye");
        assert_ne!(client.get("/connection").await.text(), number);
    });
}

/// nginx answers 413 without reading the body.
#[test]
fn nginx_refuses_a_large_body() {
    harness::run(async {
        let Some(nginx) = Nginx::start("nginx_refuses").await else {
            return;
        };
        let socket = nginx.socket();
        let proxy = harness::proxy(harness::ForwardUds(socket)).await;
        let body = vec![b'x'; 10 << 20];
        let head = format!(
            "POST /file.txt HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let bytes = [head.as_bytes(), &body].concat();
        let answer = harness::ask(proxy.addr(), &bytes, usize::MAX).await;
        assert_eq!(answer.status(), Some(413), "{answer:?}");
        assert_eq!(client::get(proxy.addr(), "/file.txt").await.status, 200);
    });
}

/// Real clients of HTTP/2, and HTTP/1 on the same port.
#[test]
fn clients_of_http2() {
    harness::run(async {
        let origin = Origin::start(|request| match &*request.target {
            "/chunked" => Reply::chunked(["hel", "lo"]),
            "/large" => Reply::ok(vec![b'x'; 300_000]),
            _ if request.method == "POST" => Reply::ok(&request.body),
            _ => Reply::ok("hello"),
        })
        .await;
        let proxy = harness::forward_h2c(origin.addr()).await;
        let url = |path| format!("http://{}{path}", proxy.addr());
        for version in ["--http2-prior-knowledge", "--http1.1"] {
            for path in ["/", "/chunked"] {
                let Some(text) = curl(&[version, &url(path)], b"").await else {
                    return;
                };
                assert_eq!(text, "hello", "{version} {path}");
            }
            let large = curl(&[version, &url("/large")], b"").await.expect("it ran");
            assert_eq!(large.len(), 300_000);
            // With the length known, and from a pipe; curl expects 100 Continue above 1 MB.
            let body = vec![b'y'; 1_500_000];
            for fields in [&[][..], &["--header", "Transfer-Encoding: chunked"]] {
                if !fields.is_empty() && version != "--http1.1" {
                    continue;
                }
                let mut arguments = vec![version, "--data-binary", "@-"];
                arguments.extend(fields);
                let posted = url("/");
                arguments.push(&posted);
                let text = curl(&arguments, &body).await.expect("it ran before");
                assert!(
                    text.as_bytes() == body,
                    "{version} {fields:?}: {}",
                    text.len()
                );
            }
        }
        let output = Command::new("nghttp")
            .arg("-v")
            .arg(url("/"))
            .output()
            .await;
        match output {
            Err(error) => eprintln!("not tested, nghttp does not start: {error}"),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(
                    text.contains(":status: 200") && text.contains("hello"),
                    "{text}"
                );
            }
        }
    });
}
