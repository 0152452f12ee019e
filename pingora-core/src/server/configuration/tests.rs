use proptest::prelude::*;

use super::*;

fn message(text: &str) -> String {
    yaml::parse("conf.yaml", text).unwrap_err().to_string()
}

#[test]
fn defaults_stand_for_missing_keys() {
    for text in ["", "---\n", "# nothing\n", "---\nversion: 0\n", "{}", "~"] {
        let conf = ServerConf::from_yaml(text).unwrap();
        assert_eq!(conf, ServerConf::default(), "{text:?}");
    }
    assert_eq!(ServerConf::new().unwrap().version, 1);
    assert_eq!(
        ServerConf::default().grace_period(),
        Duration::from_secs(300)
    );
    let timeout = ServerConf::default().graceful_shutdown_timeout();
    assert_eq!(timeout, Duration::from_secs(5));
}

#[test]
fn wrong_values_name_place_key_expectation_and_value() {
    for (text, expected) in [
        (
            "---\nversion: 1\nthreads: many\n",
            "conf.yaml:3:10: threads: expected a number, found \"many\"",
        ),
        (
            "threads: -1",
            "conf.yaml:1:10: threads: expected a number, found -1",
        ),
        (
            "threads: 1.5",
            "conf.yaml:1:10: threads: expected a number, found 1.5",
        ),
        (
            "threads:",
            "conf.yaml:1:8: threads: expected a number, found nothing",
        ),
        (
            "threads: [1, 2]",
            "conf.yaml:1:10: threads: expected a number, found a list",
        ),
        (
            "daemon: maybe",
            "conf.yaml:1:9: daemon: expected true or false, found \"maybe\"",
        ),
        (
            "user: {name: x}",
            "conf.yaml:1:7: user: expected a string, found a mapping",
        ),
        (
            "threads: 007",
            "conf.yaml:1:10: threads: expected a number, found 007",
        ),
        (
            "daemon_ready_timeout_seconds: '0'",
            "conf.yaml:1:31: daemon_ready_timeout_seconds: \
             expected a number above 0, found \"0\"",
        ),
        (
            "a: &a many\nthreads: *a",
            "conf.yaml:2:10: threads: expected a number, found \"many\"",
        ),
        (
            "client_bind_to_ipv6:\n- '::1'\n- [::1]",
            "conf.yaml:3:3: client_bind_to_ipv6: \
             expected a list of addresses, found a list in it",
        ),
        (
            "client_bind_to_ipv4: 1.1.1.1",
            "conf.yaml:1:22: client_bind_to_ipv4: expected a list of addresses, found \"1.1.1.1\"",
        ),
        (
            "runtime_metrics_poll_time_histogram_scale: cubic",
            "conf.yaml:1:44: runtime_metrics_poll_time_histogram_scale: \
             expected linear or log, found \"cubic\"",
        ),
        (
            "daemon_ready_timeout_seconds: 0",
            "conf.yaml:1:31: daemon_ready_timeout_seconds: expected a number above 0, found 0",
        ),
    ] {
        assert_eq!(message(text), expected);
    }
}

#[test]
fn values_out_of_range_are_errors() {
    for (text, expected) in [
        (
            "threads: 0",
            "conf.yaml:1:10: threads: expected a number from 1 to 4096, found 0",
        ),
        (
            "threads: 5000",
            "conf.yaml:1:10: threads: expected a number from 1 to 4096, found 5000",
        ),
        (
            "listener_tasks_per_fd: 0",
            "conf.yaml:1:24: listener_tasks_per_fd: expected a number from 1 to 4096, found 0",
        ),
        (
            "max_blocking_threads: 0",
            "conf.yaml:1:23: max_blocking_threads: expected a number from 1 to 65536, found 0",
        ),
        (
            "runtime_metrics_poll_time_histogram_buckets: 1025",
            "conf.yaml:1:46: runtime_metrics_poll_time_histogram_buckets: \
             expected a number from 1 to 1024, found 1025",
        ),
        (
            "client_bind_to_ipv6: ['::1', '127.0.0.1']",
            "conf.yaml:1:22: client_bind_to_ipv6: \
             expected IPv6 addresses without port, found \"127.0.0.1\"",
        ),
        (
            "pid_file: ''",
            "conf.yaml:1:11: pid_file: expected a path, found \"\"",
        ),
    ] {
        assert_eq!(message(text), expected);
    }
    let conf = ServerConf {
        threads: 0,
        ..Default::default()
    };
    assert_eq!(
        conf.validate().unwrap_err().to_string(),
        "threads: expected a number from 1 to 4096, found 0",
    );
}

#[test]
fn structure_is_checked() {
    for (text, expected) in [
        (
            "threads: 1\nthreads: 2",
            "2:1: threads: the key is given twice",
        ),
        (
            "x: {\"a\\nb\": 1, ? \"a\\nb\"}",
            "1:18: a\\nb: the key is given twice",
        ),
        ("just text", "1:1: expected lines of the form `key: value`"),
        ("- a", "1:1: expected lines of the form `key: value`"),
        ("~: 1", "1:1: expected a key, found nothing"),
        ("? [a]\n: 1", "1:3: expected a key, found a list"),
        (
            "a: 1\n---\nb: 1",
            "2:1: expected one YAML document, found a second",
        ),
        ("a: *b\nb: &b 1", "1:4: the alias stands for nothing above"),
        (
            "a: &a [*a]",
            "1:8: the alias stands within what it stands for",
        ),
        (
            "<<: 1",
            "1:5: <<: expected a mapping or a list of mappings, found 1",
        ),
        (
            "<<: [{}, a]",
            "1:10: <<: expected a mapping or a list of mappings, found \"a\"",
        ),
        (
            "threads: !!int a",
            "1:16: the tag `!!int` is unknown or does not fit",
        ),
        (
            "user: !!binary YQ==",
            "1:16: the tag `!!binary` is unknown or does not fit",
        ),
        (
            "user: !!seq a",
            "1:13: the tag `!!seq` is unknown or does not fit",
        ),
        (
            "user: !!str {}",
            "1:13: the tag `!!str` is unknown or does not fit",
        ),
    ] {
        assert_eq!(message(text), format!("conf.yaml:{expected}"), "{text}");
    }
}

#[test]
fn aliases_merges_and_tags_are_understood() {
    for (text, threads, user) in [
        ("a: &a 3\nthreads: *a", 3, None),
        ("&a user: *a", 1, Some("user")),
        ("base: &b {threads: 3, user: a}\n<<: *b", 3, Some("a")),
        (
            "base: &b {threads: 3, user: a}\nuser: b\n<<: *b",
            3,
            Some("b"),
        ),
        ("<<: [{threads: 3}, {threads: 4, user: a}]", 3, Some("a")),
        ("<<: {threads: 3}\n<<: {user: a}", 3, Some("a")),
        ("<<: {<<: {threads: 3}}", 3, None),
        ("<<:\n'<<': {threads: 3}", 1, None),
        ("user: !!str null\nthreads: !!int '3'", 3, Some("null")),
        ("user: ! 12\nthreads: !mine 3", 3, Some("12")),
        ("user: !!null x\nthreads: '3'", 3, None),
        ("user: 0x1F\nthreads: 0x3", 3, Some("0x1F")),
        ("{\"user\": \"\\u0061\", \"threads\": 3}", 3, Some("a")),
        (
            "\u{feff}%YAML 1.2\n---\nuser: |-\n a\n b\n...\n",
            1,
            Some("a\nb"),
        ),
    ] {
        let conf = ServerConf::from_yaml(text).unwrap();
        assert_eq!(
            (conf.threads, conf.user.as_deref()),
            (threads, user),
            "{text}"
        );
    }
}

/// Returns a text of lines which each use the one before.
fn chain(lines: usize, line: impl Fn(usize, usize) -> String) -> String {
    let first = "a0: &a0 {k: v}\n".to_string();
    (1..lines).fold(first, |text, i| text + &line(i, i - 1) + "\n")
}

#[test]
fn bombs_are_refused_or_small() {
    let ten_of = |i, before| format!("a{i}: &a{i} [{}]", format!("*a{before},").repeat(10));
    let (conf, _) = yaml::read(&chain(40, ten_of)).unwrap();
    assert_eq!(conf, ServerConf::default());

    let merged = |i, before| format!("a{i}: &a{i} {{<<: *a{before}, k{i}: v}}");
    let deep = |i, before| format!("a{i}: &a{i} [*a{before}]");
    let nested = |open: &str| format!("x: {}", open.repeat(100_000));
    for (text, expected) in [
        (chain(1000, merged), "more than 65536 values"),
        (chain(1000, deep), "nested deeper than 64 levels"),
        (nested("["), "nested deeper than 64 levels"),
        (nested("{a: "), "nested deeper than 64 levels"),
        (
            format!("x:\n{}a", "- ".repeat(1000)),
            "nested deeper than 64 levels",
        ),
        (
            format!("x: [{}]", "a,".repeat(1 << 16)),
            "more than 65536 values",
        ),
        ("#".repeat((16 << 20) + 1), "longer than 16777216 bytes"),
    ] {
        let message = yaml::read(&text).err().unwrap();
        assert!(message.ends_with(expected), "{message}");
    }
}

#[test]
fn broken_yaml_is_one_line_with_a_place() {
    for text in [
        "threads: : 1",
        "threads: 1\nthreads: 2",
        "a: [1, 2",
        "just text",
        "- a\n- b",
        "threads: 1\n---\nthreads: 2",
        "threads: *nowhere",
        "\"",
        "? {a: b}\n: c",
        "%",
        "\u{0}",
    ] {
        let message = message(text);
        assert!(message.starts_with("conf.yaml:"), "{text:?} {message:?}");
        let mut parts = message.splitn(4, ':').skip(1);
        for _ in 0..2 {
            let number = parts.next().and_then(|n| n.parse::<u64>().ok());
            assert!(number.is_some(), "{text:?} {message:?}");
        }
        assert!(!message.contains('\n'), "{text:?} {message:?}");
    }
}

#[test]
fn unknown_keys_are_named_with_the_nearest() {
    let text = "---\nversion: 1\nthread: 2\nsomething_else: [a]\nthreads: 1\n";
    assert_eq!(
        yaml::warnings("conf.yaml", text),
        [
            "conf.yaml:3:1: unknown key `thread`, did you mean `threads`?",
            "conf.yaml:4:1: unknown key `something_else`, ignored",
        ]
    );
    assert!(ServerConf::from_yaml(text).is_ok());
}

#[test]
fn yaml_round_trips() {
    let conf = ServerConf {
        version: 1,
        user: Some("12".to_string()),
        error_log: Some("/tmp/a: b # c".to_string()),
        client_bind_to_ipv4: vec!["127.0.0.1".to_string()],
        client_bind_to_ipv6: vec!["::1".to_string()],
        working_directory: Some(PathBuf::from("/srv")),
        fast_timeout_to_tokio_threshold_seconds: None,
        runtime_metrics_poll_time_histogram_scale: Some(RuntimeMetricsPollTimeHistogramScale::Log),
        daemon_ready_timeout_seconds: NonZeroU64::new(3),
        ..Default::default()
    };
    for conf in [conf, ServerConf::default()] {
        assert_eq!(ServerConf::from_yaml(&conf.to_yaml()).unwrap(), conf);
    }
}

fn any_conf() -> impl Strategy<Value = ServerConf> {
    let text = || any::<Option<String>>();
    let count = || proptest::option::of(0..4096usize);
    let seconds = || proptest::option::of(0..=1_000_000u64);
    let positive =
        || proptest::option::of((1..=1_000_000u64).prop_map(|n| NonZeroU64::new(n).unwrap()));
    let texts = (text(), ".+", ".+", text(), text(), text(), text());
    let numbers = (
        any::<usize>(),
        1..4096usize,
        count(),
        count(),
        seconds(),
        seconds(),
    );
    let addresses = (
        any::<Vec<std::net::Ipv4Addr>>(),
        any::<Vec<std::net::Ipv6Addr>>(),
    );
    let scale = proptest::option::of(proptest::sample::select(vec![
        RuntimeMetricsPollTimeHistogramScale::Linear,
        RuntimeMetricsPollTimeHistogramScale::Log,
    ]));
    let bools = any::<[bool; 3]>();
    (texts, numbers, addresses, scale, bools, positive()).prop_map(
        |(texts, numbers, addresses, scale, bools, wait)| ServerConf {
            error_log: texts.0,
            pid_file: texts.1,
            upgrade_sock: texts.2,
            user: texts.3,
            group: texts.4,
            ca_file: texts.5,
            working_directory: texts.6.map(PathBuf::from),
            version: numbers.0,
            threads: numbers.1,
            upstream_connect_offload_threadpools: numbers.2,
            upgrade_sock_connect_accept_max_retries: numbers.3,
            grace_period_seconds: numbers.4,
            fast_timeout_to_tokio_threshold_seconds: numbers.5,
            client_bind_to_ipv4: addresses.0.iter().map(ToString::to_string).collect(),
            client_bind_to_ipv6: addresses.1.iter().map(ToString::to_string).collect(),
            runtime_metrics_poll_time_histogram_scale: scale,
            daemon: bools[0],
            work_stealing: bools[1],
            upstream_debug_ssl_keylog: bools[2],
            daemon_ready_timeout_seconds: wait,
            ..Default::default()
        },
    )
}

proptest! {
    #[test]
    fn any_configuration_round_trips(conf in any_conf()) {
        let (read, _) = yaml::read(&conf.to_yaml()).unwrap();
        prop_assert_eq!(read, conf);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "([ -~\n]|threads|: |- |<<|[&*]a|!!|---\n)*") {
        if let Err(error) = yaml::read(&text) {
            let mut parts = error.splitn(3, ':');
            let mut number = || parts.next().is_some_and(|part| part.parse::<usize>().is_ok());
            prop_assert!(number() && number() && !error.contains('\n'), "{error:?}");
        }
    }
}

#[test]
fn the_table_of_keys_is_complete() {
    let text = ServerConf::default().to_yaml();
    let written: Vec<&str> = text
        .lines()
        .filter_map(|l| l.split_once(':'))
        .map(|l| l.0)
        .collect();
    let table: Vec<&str> = keys::KEYS.iter().map(|k| k.0).collect();
    assert_eq!(written, table);
}

#[test]
fn files_are_named_in_errors() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "threads: x").unwrap();
    let path = file.path().to_str().unwrap().to_string();
    let opt = Opt {
        conf: Some(path.clone()),
        daemon: true,
        ..Default::default()
    };
    assert_eq!(
        ServerConf::load_yaml_with_opt_override(&opt)
            .unwrap_err()
            .to_string(),
        format!("{path}:1:10: threads: expected a number, found \"x\""),
    );
    std::fs::write(file.path(), "threads: 3").unwrap();
    let conf = ServerConf::load_yaml_with_opt_override(&opt).unwrap();
    assert_eq!((conf.threads, conf.daemon), (3, true));
    assert_eq!(
        ServerConf::load_from_yaml("no/such/file")
            .unwrap_err()
            .to_string(),
        "no/such/file: cannot read the file: no such file or directory",
    );
}

#[test]
fn offload_needs_both_numbers() {
    for (pools, threads, expected) in [
        (None, None, None),
        (Some(1), None, None),
        (None, Some(1), None),
        (Some(0), Some(1), None),
        (Some(1), Some(0), None),
        (Some(2), Some(3), Some((2, 3))),
    ] {
        let conf = ServerConf {
            upstream_connect_offload_threadpools: pools,
            upstream_connect_offload_thread_per_pool: threads,
            downstream_tls_offload_threadpools: pools,
            downstream_tls_offload_thread_per_pool: threads,
            ..Default::default()
        };
        assert_eq!(conf.upstream_connect_offload_threadpool(), expected);
        assert_eq!(conf.downstream_tls_offload_threadpool(), expected);
    }
}
