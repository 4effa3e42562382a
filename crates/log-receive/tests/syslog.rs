//! Syslog senders over real sockets.

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use log_receive::{ForwardConfig, SourceState, SyslogConfig, SyslogListener};
use net::{Pem, Secret, Sockets, Transport, server::ServerTls};
use support::{Line, Store, texts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};
use tokio_util::sync::CancellationToken;

struct Running {
    address: SocketAddr,
    state: SourceState,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn start(store: &Store, change: impl FnOnce(&mut SyslogConfig)) -> Running {
    let mut forwarding = ForwardConfig::new("syslog");
    let rule = relabel::RuleSource {
        regex: "__syslog_(.+)".into(),
        replacement: "$1".into(),
        action: relabel::Action::LabelMap,
        ..relabel::RuleSource::default()
    };
    forwarding.relabel = vec![relabel::Rule::new(rule).unwrap()];
    let mut config = SyslogConfig::new("127.0.0.1:0");
    change(&mut config);
    let forward = store.forward("syslog", forwarding);
    let state = forward.state();
    let listening = SyslogListener::listen(&config, &Sockets::default()).unwrap();
    let listener = SyslogListener::new(config, &listening, forward).unwrap();
    let (address, stop) = (listener.address(), CancellationToken::new());
    let until = stop.clone();
    let task = tokio::spawn(async move { listener.run(until).await.unwrap() });
    Running { address, state, stop, task }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

const ONE: &str = "<165>1 2003-10-11T22:14:15.003Z host app 7 ID1 [a@1 k=\"v\"] one";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_senders_are_read_with_both_framings() {
    let mut store = Store::open();
    let running = start(&store, |config| {
        config.labels = [("job", "net")].into_iter().collect();
        config.use_incoming_timestamp = true;
        config.label_structured_data = true;
    })
    .await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(format!("{} {ONE}<13>Nov 14 22:14:15 h2 app2: two\n", ONE.len()).as_bytes()).await.unwrap();
    let (lines, _) = store.lines(2).await;
    assert_eq!(texts(&lines), ["one", "two"]);
    let first: &Line = &lines[0];
    assert_eq!(first.timestamp_ns, 1_065_910_455_003_000_000);
    for (name, value) in [
        ("job", "net"),
        ("connection_ip_address", "127.0.0.1"),
        ("message_severity", "notice"),
        ("message_facility", "local4"),
        ("message_hostname", "host"),
        ("message_app_name", "app"),
        ("message_proc_id", "7"),
        ("message_msg_id", "ID1"),
        ("message_sd_a_1_k", "v"),
    ] {
        assert_eq!(first.label(name), value, "{name}");
    }
    assert_eq!(lines[1].label("message_app_name"), "app2");
    assert_eq!(running.state.status().lines, 2);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_and_silent_connections_are_closed_and_others_go_on() {
    let mut store = Store::open();
    let running = start(&store, |config| {
        config.idle_timeout = Duration::from_millis(200);
        config.max_message_length = 64;
        config.use_whole_message = true;
    })
    .await;
    let mut broken = TcpStream::connect(running.address).await.unwrap();
    broken.write_all(b"12x<1>").await.unwrap();
    assert_eq!(broken.read(&mut [0; 9]).await.unwrap_or(0), 0);
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(silent.read(&mut [0; 9]).await.unwrap_or(0), 0);
    let mut good = TcpStream::connect(running.address).await.unwrap();
    let long = format!("<13>{}\n<13>short\n", "x".repeat(100_000));
    good.write_all(long.as_bytes()).await.unwrap();
    let (lines, _) = store.lines(2).await;
    assert_eq!(lines[0].text.len(), 64);
    assert_eq!(lines[1].text, "<13>short");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_in_connections_when_the_listener_ends_is_handed_over() {
    let mut store = Store::open();
    let running = start(&store, |_| {}).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(format!("{ONE}\n").as_bytes()).await.unwrap();
        streams.push(stream);
    }
    // All of them are accepted.
    store.lines(20).await;
    for stream in &mut streams {
        stream.write_all(b"<13>the last word\n").await.unwrap();
    }
    running.end().await;
    assert_eq!(texts(&store.lines(20).await.0), ["the last word"; 20]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_are_messages() {
    let mut store = Store::open();
    let running = start(&store, |config| config.transport = Transport::Udp).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(format!("{ONE}\n").as_bytes(), running.address).await.unwrap();
    socket.send_to(b"<13>no time\x00", running.address).await.unwrap();
    let (lines, _) = store.lines(2).await;
    assert_eq!(texts(&lines), ["one", "no time"]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_over_tls_are_read_and_others_there_are_not() {
    net::install_crypto_provider();
    let mut store = Store::open();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = ServerTls {
        cert: Pem::Inline(Secret::new(made.cert.pem())),
        key: Pem::Inline(Secret::new(made.signing_key.serialize_pem())),
        client_ca: None,
        require_client_cert: false,
        versions: net::TlsVersions::default(),
    };
    let running = start(&store, |config| config.tls = Some(tls)).await;
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain.write_all(b"<13>not wanted here\n<13>nor this\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest).await;
    let mut roots = tokio_rustls::rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = tokio_rustls::rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(running.address).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(ONE.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(texts(&store.lines(1).await.0), ["one"]);
    running.end().await;
}

#[tokio::test]
async fn a_taken_port_and_an_impossible_configuration_are_told() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = SyslogConfig::new(&taken.local_addr().unwrap().to_string());
    let refused = |config| SyslogListener::listen(&config, &Sockets::default());
    let error = refused(config.clone()).err().unwrap();
    assert!(error.to_string().contains("another process"), "{error}");
    let error = refused(SyslogConfig { max_message_length: 0, ..config }).err().unwrap();
    assert!(error.to_string().contains("max_message_length"), "{error}");
}
