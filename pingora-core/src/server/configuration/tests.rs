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
