use std::collections::VecDeque;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::*;
use crate::server::configuration::{Opt, ServerConf};
use crate::server::{ListenFds, ShutdownWatch, failure};
use crate::services::background::{BackgroundService, background_service};
use crate::services::{Service, ServiceReadyNotifier, ServiceWithDependents};

/// Signals in the order given, each once a service says so, or at once.
struct Scripted {
    signals: Mutex<VecDeque<ShutdownSignal>>,
    go: watch::Receiver<bool>,
}

fn script(signals: impl IntoIterator<Item = ShutdownSignal>) -> RunArgs {
    script_when(signals, watch::channel(true).1)
}

fn script_when(
    signals: impl IntoIterator<Item = ShutdownSignal>,
    go: watch::Receiver<bool>,
) -> RunArgs {
    RunArgs {
        shutdown_signal: Box::new(Scripted {
            signals: Mutex::new(signals.into_iter().collect()),
            go,
        }),
    }
}

#[async_trait]
impl ShutdownSignalWatch for Scripted {
    async fn recv(&self) -> ShutdownSignal {
        // The sender may be gone once it has sent.
        let _ = self.go.clone().wait_for(|go| *go).await;
        let signal = self.signals.lock().pop_front();
        match signal {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

fn server() -> Server {
    Server::new_with_opt_and_conf(
        None,
        ServerConf {
            upgrade_sock: "/no/such/directory/upgrade.sock".to_string(),
            upgrade_sock_connect_accept_max_retries: Some(0),
            ..Default::default()
        },
    )
}

fn phases(mut receiver: broadcast::Receiver<ExecutionPhase>) -> Vec<String> {
    let mut phases = Vec::new();
    while let Ok(phase) = receiver.try_recv() {
        phases.push(format!("{phase:?}"));
    }
    phases
}

const END: [&str; 2] = ["ShutdownRuntimes", "Terminated"];
const START: [&str; 3] = ["Bootstrap", "BootstrapComplete", "Running"];

#[test]
fn phases_follow_the_signal() {
    use ShutdownSignal::{FastShutdown, GracefulTerminate, GracefulUpgrade};
    let graceful = [
        "GracefulTerminate",
        "ShutdownStarted",
        "ShutdownGracePeriod",
    ];
    let failed_upgrade = ["GracefulUpgradeTransferringFds", "ShutdownStarted"];
    for (signals, expected) in [
        (vec![FastShutdown], &["ShutdownStarted"][..]),
        (vec![GracefulTerminate], &graceful),
        // Nobody takes over, so the server waits for another signal.
        (vec![GracefulUpgrade, FastShutdown], &failed_upgrade),
    ] {
        let mut server = server();
        let receiver = server.watch_execution_phase();
        server.bootstrap();
        server.run(script(signals));
        let expected = [&START[..], expected, &END[..]].concat();
        assert_eq!(phases(receiver), expected);
    }
}

/// Records what happens, in order.
type Record = Arc<Mutex<Vec<String>>>;

/// Becomes ready, then waits for shutdown.
struct Polite {
    name: &'static str,
    record: Record,
    started: watch::Sender<bool>,
}

impl Polite {
    fn new(name: &'static str, record: &Record) -> Self {
        Polite {
            name,
            record: record.clone(),
            started: watch::Sender::new(false),
        }
    }

    fn say(&self, what: &str) {
        self.record.lock().push(format!("{} {what}", self.name));
    }
}

#[async_trait]
impl ServiceWithDependents for Polite {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        assert!(fds.is_some() && listeners_per_fd == 1);
        self.say("starts");
        ready.notify_ready();
        self.started.send_replace(true);
        let _ = shutdown.wait_for(|down| *down).await;
        self.say("ends");
    }

    fn name(&self) -> &str {
        self.name
    }

    fn on_startup_delay(&self, _waited: Duration) {
        self.say("waited");
    }
}

#[test]
fn services_start_after_their_dependencies_and_end_at_once_when_idle() {
    let record = Record::default();
    let mut server = server();
    let last = Polite::new("c", &record);
    let go = last.started.subscribe();
    let c = server.add_service(last);
    let b = server.add_service(Polite::new("b", &record));
    let a = server.add_service(Polite::new("a", &record));
    c.add_dependencies([&a, &b]);
    b.add_dependency(&a);
    // The grace period is the default, 300 s: it must not be waited for.
    server
        .try_run(script_when([ShutdownSignal::GracefulTerminate], go))
        .unwrap();
    let mut record = record.lock().clone();
    let ends = record.split_off(5);
    assert_eq!(
        record,
        ["a starts", "b waited", "b starts", "c waited", "c starts"]
    );
    assert_eq!(ends.len(), 3);
    assert!(ends.iter().all(|line| line.ends_with("ends")), "{ends:?}");
}

/// Never ends.
struct Stubborn(watch::Sender<bool>);

#[async_trait]
impl BackgroundService for Stubborn {
    async fn start(&self, _shutdown: ShutdownWatch) {
        self.0.send_replace(true);
        std::future::pending().await
    }
}

#[test]
fn the_grace_period_limits_the_wait() {
    let mut server = server();
    Arc::get_mut(&mut server.configuration)
        .unwrap()
        .grace_period_seconds = Some(0);
    let service = Stubborn(watch::Sender::new(false));
    let go = service.0.subscribe();
    server.add_service(background_service("stubborn", service));
    server
        .try_run(script_when([ShutdownSignal::GracefulTerminate], go))
        .unwrap();
}

#[test]
fn a_fast_shutdown_waits_for_nobody() {
    let mut server = server();
    let service = Stubborn(watch::Sender::new(false));
    let go = service.0.subscribe();
    server.add_service(background_service("stubborn", service));
    server
        .try_run(script_when([ShutdownSignal::FastShutdown], go))
        .unwrap();
}

#[test]
fn circles_keep_the_server_from_starting() {
    let record = Record::default();
    let mut server = server();
    let a = server.add_service(Polite::new("a", &record));
    let b = server.add_service(Polite::new("b", &record));
    a.add_dependency(&b);
    b.add_dependency(&a);
    let error = server.try_run(script([])).unwrap_err();
    assert_eq!(
        report::describe(&error),
        "services wait for each other in a circle: a -> b -> a"
    );
    assert!(record.lock().is_empty());
}

/// Cannot start, in the way given.
struct Broken(fn());

#[async_trait]
impl Service for Broken {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        (self.0)();
    }

    fn name(&self) -> &str {
        "x"
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(vec!["127.0.0.1:80".to_string()])
    }
}

#[test]
fn a_service_that_cannot_start_ends_the_server() {
    let in_use = || {
        failure::report(Error::because(
            ErrorType::BindError,
            "cannot listen on 127.0.0.1:80",
            std::io::Error::from_raw_os_error(libc::EADDRINUSE),
        ));
    };
    for (broken, expected) in [
        (
            in_use as fn(),
            "cannot listen on 127.0.0.1:80: address already in use (set by service \"x\")",
        ),
        (
            || panic!("for the test"),
            "service panicked (set by service \"x\")",
        ),
    ] {
        let mut server = server();
        server.add_service(Broken(broken));
        let waiting = Stubborn(watch::Sender::new(false));
        server.add_service(background_service("other", waiting));
        let receiver = server.watch_execution_phase();
        let error = server.try_run(script([])).unwrap_err();
        assert_eq!(report::describe(&error), expected);
        let expected = ["Running", "ShutdownStarted", END[0], END[1]];
        assert_eq!(phases(receiver), expected);
    }
}

#[test]
fn values_out_of_range_keep_the_server_from_starting() {
    let conf = ServerConf {
        threads: 0,
        ..Default::default()
    };
    let server = Server::new_with_opt_and_conf(None, conf);
    let error = server.try_run(script([])).unwrap_err();
    assert!(error.to_string().starts_with("threads: "), "{error}");
}

/// Says that it listens on an address.
struct Listed(String);

impl Service for Listed {
    fn name(&self) -> &str {
        "listed"
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(vec![self.0.clone()])
    }
}

#[test]
fn test_option_tries_addresses_and_runs_nothing() {
    let opt = || Opt {
        test: true,
        upgrade: true,
        ..Default::default()
    };
    let mut server = Server::new(opt()).unwrap();
    server.bootstrap();
    let receiver = server.watch_execution_phase();
    server.add_service(Polite::new("a", &Record::default()));
    server.try_run(script([])).unwrap();
    assert!(phases(receiver).is_empty());

    let mut server = Server::new(opt()).unwrap();
    let nowhere = "/no/such/directory/x.sock".to_string();
    server.add_service(Listed(nowhere));
    let error = server.try_run(script([])).unwrap_err();
    assert_eq!(
        report::describe(&error),
        "cannot listen on /no/such/directory/x.sock: no such file or directory \
         (set by service \"listed\")"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_inside_a_runtime() {
    let run = || {
        let record = Record::default();
        let mut server = server();
        let service = Polite::new("a", &record);
        let go = service.started.subscribe();
        server.add_service(service);
        let receiver = server.watch_execution_phase();
        server.run(script_when([ShutdownSignal::GracefulUpgrade], go));
        // No second signal can be waited for: the server ends all the same.
        assert_eq!(
            phases(receiver).last().map(String::as_str),
            Some("Terminated")
        );
        assert_eq!(*record.lock(), ["a starts", "a ends"]);
    };
    run();
    tokio::task::spawn_blocking(run).await.unwrap();
    drop(server());
}

#[test]
fn a_new_server_takes_over_the_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let conf = || ServerConf {
        upgrade_sock: dir.path().join("sock").to_str().unwrap().to_string(),
        upgrade_sock_connect_accept_max_retries: Some(30),
        ..Default::default()
    };
    let opt = Opt {
        upgrade: true,
        ..Default::default()
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut old = Server::new_with_opt_and_conf(None, conf());
    old.add_service(Listed(address.clone()));
    let fd = std::os::fd::AsRawFd::as_raw_fd(&listener);
    old.inheritance.fds().lock().add(address.clone(), fd);
    let receiver = old.watch_execution_phase();
    let mut new = Server::new_with_opt_and_conf(opt, conf());
    let fds = new.inheritance.fds();
    new.bootstrap_as_a_service();

    thread::scope(|scope| {
        scope.spawn(|| old.run(script([ShutdownSignal::GracefulUpgrade])));
        let mut taken = new.watch_execution_phase();
        let (done, go) = watch::channel(false);
        scope.spawn(move || {
            while !matches!(taken.blocking_recv(), Ok(ExecutionPhase::BootstrapComplete)) {}
            done.send_replace(true);
        });
        new.try_run(script_when([ShutdownSignal::FastShutdown], go))
            .unwrap();
    });
    let upgrade = [
        "Running",
        "GracefulUpgradeTransferringFds",
        "GracefulUpgradeCloseTimeout",
        "ShutdownStarted",
        "ShutdownGracePeriod",
    ];
    assert_eq!(phases(receiver), [&upgrade[..], &END[..]].concat());
    // No service of the new server listens there, so the socket is closed again.
    assert!(fds.lock().get(&address).is_none());
}

#[test]
fn an_upgrade_without_a_server_to_take_over_from_is_an_error() {
    let conf = ServerConf {
        upgrade_sock: "/no/such/directory/upgrade.sock".to_string(),
        ..Default::default()
    };
    let opt = Opt {
        upgrade: true,
        ..Default::default()
    };
    let mut server = Server::new_with_opt_and_conf(opt, conf);
    server.bootstrap();
    let error = server.try_run(script([])).unwrap_err();
    assert_eq!(
        report::describe(&error),
        "cannot take over listening sockets at /no/such/directory/upgrade.sock (--upgrade): \
         no such file or directory"
    );
}
