//! Limits per client: the example `rate_limiter` as it stands.

use std::time::Duration;

use pingora_e2e::harness;
use pingora_test_support::client::{Client, Response};
use pingora_test_support::origin::{Origin, Reply};

#[allow(dead_code, reason = "the test starts a server of its own")]
#[path = "../../../../pingora-proxy/examples/rate_limiter.rs"]
mod example;

const LIMIT: isize = 3;
/// No test lasts so long that the limit is lifted meanwhile.
const INTERVAL: Duration = Duration::from_secs(1_000);

async fn ask(client: &mut Client, app: Option<&str>) -> Response {
    let fields: Vec<(&str, &str)> = app.map(|id| ("appid", id)).into_iter().collect();
    client.request("GET", "/", &fields, "").await
}

#[test]
fn each_client_has_its_limit() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("hello")).await;
        let limiter = example::RateLimiter::new(origin.addr(), LIMIT, INTERVAL);
        let proxy = harness::proxy(limiter).await;
        let mut client = Client::connect(proxy.addr()).await;
        for app in [Some("1"), Some("2"), None] {
            for number in 1..=LIMIT {
                let response = ask(&mut client, app).await;
                assert_eq!(response.status, 200, "{app:?}");
                assert_eq!(response.header("X-Rate-Limit-Limit"), Some("3"));
                let remaining = (LIMIT - number).to_string();
                assert_eq!(response.header("X-Rate-Limit-Remaining"), Some(&*remaining));
            }
        }
        let allowed = origin.requests().len();
        // On a new connection: it is the client that counts.
        let mut client = Client::connect(proxy.addr()).await;
        for app in [Some("1"), Some("2"), None, Some("1")] {
            let response = ask(&mut client, app).await;
            assert_eq!(response.status, 429, "{app:?}");
            assert_eq!(response.text(), "too many requests\n");
            assert_eq!(response.header("X-Rate-Limit-Limit"), Some("3"));
            assert_eq!(response.header("X-Rate-Limit-Remaining"), Some("0"));
            let wait = response.header("Retry-After").expect("when to come back");
            assert_eq!(response.header("X-Rate-Limit-Reset"), Some(wait));
            let seconds: u64 = wait.parse().expect("a number");
            assert!((1..=INTERVAL.as_secs()).contains(&seconds), "{seconds}");
        }
        assert_eq!(origin.requests().len(), allowed, "none was passed on");
        assert_eq!(ask(&mut client, Some("3")).await.status, 200);
    });
}

#[test]
fn the_limit_is_lifted_with_the_next_interval() {
    harness::run(async {
        let origin = Origin::start(|_| Reply::ok("hello")).await;
        let interval = Duration::from_millis(50);
        let limiter = example::RateLimiter::new(origin.addr(), 0, interval);
        let proxy = harness::proxy(limiter).await;
        let refused = ask(&mut Client::connect(proxy.addr()).await, None).await;
        assert_eq!(refused.status, 429, "nothing is allowed at all");
        assert_eq!(refused.header("Retry-After"), Some("1"));

        let limiter = example::RateLimiter::new(origin.addr(), 1, interval);
        let proxy = harness::proxy(limiter).await;
        let mut client = Client::connect(proxy.addr()).await;
        let mut allowed = 0;
        while allowed < 3 {
            let response = ask(&mut client, None).await;
            assert!(matches!(response.status, 200 | 429));
            allowed += usize::from(response.status == 200);
        }
    });
}
