//! Several addresses of one server, of which the first to answer wins (RFC 8305, section 5).

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pingora_error::{Error, ErrorType, Result};

/// How long an attempt is waited for before the next begins beside it (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Returns the first connection that succeeds; the other attempts are dropped.
///
/// The next address is tried when an attempt fails or takes longer than 250 ms. When all fail,
/// the error is that of the first address. There is no timeout: the caller has one.
pub(super) async fn connect_first<T, F: Future<Output = Result<T>>>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T> {
    if let [only] = addresses {
        return connect(*only).await;
    }
    let mut remaining = addresses.iter().copied().enumerate();
    let mut attempts = FuturesUnordered::new();
    let mut error: Option<(usize, Box<Error>)> = None;
    loop {
        if let Some((index, address)) = remaining.next() {
            let attempt = connect(address);
            attempts.push(async move { (index, attempt.await) });
        }
        let outcome = if remaining.len() > 0 {
            match tokio::time::timeout(ATTEMPT_DELAY, attempts.next()).await {
                Ok(outcome) => outcome,
                Err(_) => continue,
            }
        } else {
            attempts.next().await
        };
        match outcome {
            Some((_, Ok(connection))) => return Ok(connection),
            Some((index, Err(e))) => {
                log::debug!("connection attempt failed: {e}");
                if error.as_ref().is_none_or(|(earlier, _)| index < *earlier) {
                    error = Some((index, e));
                }
            }
            None => return Err(error.map_or_else(no_address, |(_, e)| e)),
        }
    }
}

#[cold]
fn no_address() -> Box<Error> {
    Error::explain(ErrorType::ConnectNoRoute, "no address to connect to")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What connecting to the address with the port of its position does.
    #[derive(Clone, Copy)]
    enum Server {
        Answers,
        Refuses,
        Silent,
        AnswersAfter(u64),
    }

    /// Returns the position of the winner and how long that took.
    async fn race(servers: &[Server]) -> (Result<u16>, Duration) {
        let addresses: Vec<SocketAddr> = (0..servers.len())
            .map(|i| SocketAddr::from(([127, 0, 0, 1], i as u16)))
            .collect();
        let begin = tokio::time::Instant::now();
        let winner = connect_first(&addresses, |address| async move {
            match servers[address.port() as usize] {
                Server::Answers => {}
                Server::Refuses => {
                    let port = address.port().to_string();
                    return Error::e_explain(ErrorType::ConnectRefused, port);
                }
                Server::Silent => std::future::pending().await,
                Server::AnswersAfter(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            }
            Ok(address.port())
        })
        .await;
        (winner, begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn first_answer_wins() {
        use Server::*;
        let check = async |servers: &[Server], winner: u16, after_ms: u64| {
            let (result, elapsed) = race(servers).await;
            assert_eq!(result.unwrap(), winner);
            assert_eq!(elapsed.as_millis() as u64, after_ms);
        };
        check(&[Answers], 0, 0).await;
        check(&[Answers, Answers], 0, 0).await;
        check(&[Refuses, Answers], 1, 0).await;
        check(&[Silent, Answers], 1, 250).await;
        check(&[Silent, Refuses, Answers], 2, 250).await;
        check(&[Silent, Silent, Answers], 2, 500).await;
        check(&[AnswersAfter(300), AnswersAfter(100)], 0, 300).await;
        check(&[AnswersAfter(400), AnswersAfter(100)], 1, 350).await;
    }

    #[tokio::test(start_paused = true)]
    async fn error_is_that_of_the_first() {
        let (result, _) = race(&[Server::Refuses, Server::Refuses, Server::Refuses]).await;
        let e = result.unwrap_err();
        assert_eq!(e.context.as_ref().map(|c| c.as_str()), Some("0"));

        let (result, _) = race(&[]).await;
        assert_eq!(result.unwrap_err().etype(), &ErrorType::ConnectNoRoute);
    }
}
