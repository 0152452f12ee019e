//! Load balancing in a server: health checks keep dead backends out and let them in again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::lb::discovery::Static;
use pingora::lb::health_check::HttpHealthCheck;
use pingora::lb::selection::consistent::KetamaHashing;
use pingora::lb::selection::{BackendIter, BackendSelection, FNVHash, Random};
use pingora::lb::{Backend, Backends, LoadBalancer};
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;
use pingora_e2e::harness::{self, Running};
use pingora_test_support::client::{self, Client};
use pingora_test_support::origin::{Origin, Reply};
use pingora_test_support::{raw, within};

/// Sends each request where the balancer says.
struct Balanced(Arc<LoadBalancer<RoundRobin>>);

#[async_trait]
impl ProxyHttp for Balanced {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        let backend = self
            .0
            .select(b"", 256)
            .or_err(HTTPStatus(503), "no backend")?;
        Ok(Box::new(HttpPeer::new(backend, false, String::new())))
    }
}

/// Starts a server that balances over these, checks included.
async fn balance(
    addresses: &[SocketAddr],
    check: Box<dyn pingora::lb::health_check::HealthCheck + Send + Sync>,
) -> (Running, Arc<LoadBalancer<RoundRobin>>) {
    let mut balancer = LoadBalancer::try_from_iter(addresses).unwrap();
    balancer.set_health_check(check);
    balancer.health_check_frequency = Some(Duration::from_millis(50));
    let checks = background_service("checks", balancer);
    let balancer = checks.task();
    let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
    server.add_service(checks);
    let service = http_proxy_service(&server.configuration, Balanced(balancer.clone()));
    (harness::start(server, service).await, balancer)
}

/// Returns once the checks have found what is true.
async fn settled(balancer: &LoadBalancer<RoundRobin>, addr: SocketAddr, healthy: bool) {
    let backend = Backend::new(&addr.to_string()).unwrap();
    let found = async {
        while balancer.backends().ready(&backend) != healthy {
            tokio::task::yield_now().await;
        }
    };
    within("the health check", found).await;
}

async fn named(name: &'static str) -> Origin {
    Origin::start(move |_| Reply::ok(name)).await
}

/// The main job: requests go round the live backends, and none to the dead one.
#[test]
fn a_dead_backend_is_kept_out() {
    harness::run(async {
        let (one, two, dead) = (
            named("one").await,
            named("two").await,
            raw::refused_addr().await,
        );
        let (proxy, balancer) =
            balance(&[one.addr(), dead, two.addr()], TcpHealthCheck::new()).await;
        settled(&balancer, dead, false).await;
        let mut client = Client::connect(proxy.addr()).await;
        let mut answers = vec![];
        for _ in 0..20 {
            let response = client.get("/").await;
            assert_eq!(response.status, 200);
            answers.push(response.text().to_string());
        }
        assert!(
            answers.windows(2).all(|pair| pair[0] != pair[1]),
            "{answers:?}"
        );
    });
}

/// A backend that says it is not well is left alone until it is again.
#[test]
fn a_backend_comes_back() {
    harness::run(async {
        let well = Arc::new(AtomicBool::new(false));
        let ill = Origin::start({
            let well = well.clone();
            move |request| match (&*request.target, well.load(Ordering::Relaxed)) {
                ("/health", false) => Reply::status(503, ""),
                _ => Reply::ok("two"),
            }
        })
        .await;
        let one = named("one").await;
        let mut check = HttpHealthCheck::new("health.example", false);
        check.req.set_uri("/health".parse().unwrap());
        let (proxy, balancer) = balance(&[one.addr(), ill.addr()], Box::new(check)).await;
        settled(&balancer, ill.addr(), false).await;
        for _ in 0..6 {
            assert_eq!(client::get(proxy.addr(), "/").await.text(), "one");
        }
        well.store(true, Ordering::Relaxed);
        settled(&balancer, ill.addr(), true).await;
        let mut answers = BTreeSet::new();
        for _ in 0..4 {
            answers.insert(client::get(proxy.addr(), "/").await.text().to_string());
        }
        assert_eq!(
            answers,
            BTreeSet::from(["one".to_string(), "two".to_string()])
        );
        let checks = ill.requests();
        let check = checks
            .iter()
            .find(|request| request.target == "/health")
            .unwrap();
        assert_eq!(check.header("host"), Some("health.example"));
    });
}

/// Nobody left: an answer, not a panic.
#[test]
fn all_dead() {
    harness::run(async {
        let dead = raw::refused_addr().await;
        let (proxy, balancer) = balance(&[dead], TcpHealthCheck::new()).await;
        settled(&balancer, dead, false).await;
        assert_eq!(client::get(proxy.addr(), "/").await.status, 503);
    });
}

fn weighted(weights: &[usize]) -> Backends {
    let backend = |(index, weight): (usize, &usize)| {
        Backend::new_with_weight(&format!("127.0.0.1:{}", index + 1), *weight).unwrap()
    };
    Backends::new(Static::new(
        weights.iter().enumerate().map(backend).collect(),
    ))
}

async fn zero_weights<S>()
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    for (weights, selectable) in [
        (vec![0, 1], vec![2]),
        (vec![1, 0, 0], vec![1]),
        (vec![0, 3, 0, 1], vec![2, 4]),
        (vec![0, 0], vec![]),
        (vec![0], vec![]),
        (vec![], vec![]),
    ] {
        let balancer = LoadBalancer::<S>::from_backends(weighted(&weights));
        for _ in 0..2 {
            // What the background task does; it must survive.
            balancer.update().await.unwrap();
            let mut ports = BTreeSet::new();
            for key in 0_u32..300 {
                let backend = balancer.select(&key.to_be_bytes(), 64);
                ports.extend(backend.and_then(|b| b.addr.as_inet().map(|addr| addr.port())));
            }
            assert_eq!(
                ports.into_iter().collect::<Vec<u16>>(),
                selectable,
                "{weights:?}"
            );
        }
    }
}

/// A backend of weight zero is never chosen, and harms nobody.
#[test]
fn a_weight_of_zero() {
    harness::run(async {
        zero_weights::<RoundRobin>().await;
        zero_weights::<Random>().await;
        zero_weights::<FNVHash>().await;
        zero_weights::<KetamaHashing>().await;
    });
}

/// The task of the balancer ends with its server.
#[test]
fn the_checks_end_with_the_server() {
    harness::run(async {
        let one = named("one").await;
        let (proxy, _) = balance(&[one.addr()], TcpHealthCheck::new()).await;
        assert_eq!(client::get(proxy.addr(), "/").await.text(), "one");
        proxy.terminate();
        proxy.ended().await;
    });
}
