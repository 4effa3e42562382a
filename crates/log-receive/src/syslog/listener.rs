//! Listens for syslog and hands messages on.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use model::Labels;
use net::{
    DatagramLosses, Listening, Sockets, Transport,
    server::{ServerTls, TlsAccept},
};
use pipeline::Durability;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpListener, UdpSocket},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    framing::{Framed, Framing},
    message::{SyslogFormat, labels, parse},
    sent::Sent,
};
use crate::{Forward, ReceiveError, SourceState, forward::at, metrics::SourceCounts};

/// `syslog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogConfig {
    /// `listen_address`, as `0.0.0.0:1514`.
    pub listen: String,
    /// `listen_protocol`.
    pub transport: Transport,
    /// `tls_config`; TCP only.
    pub tls: Option<ServerTls>,
    /// A TCP connection that is silent for so long is closed.
    pub idle_timeout: Duration,
    /// Bytes; of longer messages the beginning is kept.
    pub max_message_length: usize,
    pub label_structured_data: bool,
    pub labels: Labels,
    pub use_incoming_timestamp: bool,
    /// `use_rfc5424_message`: the line is the message as it came, with its header.
    pub use_whole_message: bool,
    pub format: SyslogFormat,
    /// TCP connections at the same time; more wait.
    pub connections: usize,
}

impl SyslogConfig {
    /// Listens on `listen`; everything else as Promtail has it.
    pub fn new(listen: &str) -> Self {
        Self {
            listen: listen.to_owned(),
            transport: Transport::Tcp,
            tls: None,
            idle_timeout: Duration::from_secs(120),
            max_message_length: 8192,
            label_structured_data: false,
            labels: Labels::new(),
            use_incoming_timestamp: false,
            use_whole_message: false,
            format: SyslogFormat::Either,
            connections: 1024,
        }
    }
}

enum Socket {
    Tcp(TcpListener, Option<TlsAccept>),
    Udp(UdpSocket),
}

/// A listener.
pub struct SyslogListener {
    socket: Socket,
    address: SocketAddr,
    config: Arc<SyslogConfig>,
    forward: Forward,
}

/// Messages between connections and the queue.
const WAITING: usize = 256;
/// The longest message that can be configured.
const LONGEST: usize = 1 << 20;
/// A connection goes on for so long after the listener's end, if its sender does.
const GRACE: Duration = Duration::from_secs(1);
/// It is over when nothing comes for so long.
const QUIET: Duration = Duration::from_millis(100);
const LOSSES_ARE_COUNTED: Duration = Duration::from_secs(2);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

impl SyslogListener {
    /// The socket of a configuration, after a look at the rest of it. Blocking: may look up a name.
    pub fn listen(config: &SyslogConfig, sockets: &Sockets) -> Result<Listening, ReceiveError> {
        if config.max_message_length == 0 || config.max_message_length > LONGEST {
            let why = format!("{} is not between 1 and {LONGEST} bytes", config.max_message_length);
            return Err(ReceiveError::Config { key: "max_message_length", why });
        }
        if config.tls.is_some() && config.transport == Transport::Udp {
            let why = "syslog over UDP has no TLS: set listen_protocol to tcp or remove tls_config".to_owned();
            return Err(ReceiveError::Config { key: "tls_config", why });
        }
        if let Some(tls) = &config.tls {
            tls.check()?;
        }
        let failed = |source| ReceiveError::Listen { what: "syslog", address: config.listen.clone(), source };
        sockets.listen("syslog", config.transport, &config.listen).map_err(failed)
    }

    /// A listener on that socket. Must be called within a runtime.
    pub fn new(mut config: SyslogConfig, listening: &Listening, forward: Forward) -> Result<Self, ReceiveError> {
        let address = listening.address();
        let failed = |source| ReceiveError::Listen { what: "syslog", address: address.to_string(), source };
        let socket = match config.transport {
            Transport::Udp => Socket::Udp(listening.udp().map_err(failed)?),
            Transport::Tcp => {
                let tls = config.tls.take().map(TlsAccept::new).transpose()?;
                Socket::Tcp(listening.tcp().map_err(failed)?, tls)
            }
        };
        forward.state().listening(Some(address));
        Ok(Self { socket, address, config: Arc::new(config), forward })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens until `stop`, or until the queue is closed. What was read by then is handed over.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ReceiveError> {
        let Self { socket, config, forward, .. } = self;
        let (sender, receiver) = mpsc::channel(WAITING);
        let (state, counts) = (forward.state(), Arc::new(forward.counts()));
        // Cancelled by the owner, or because the queue is closed.
        let end = stop.child_token();
        let listen = async {
            match socket {
                Socket::Udp(socket) => datagrams(socket, &config, sender, &end, &state, &counts).await,
                Socket::Tcp(listener, tls) => streams(listener, tls, &config, sender, &end, &state, &counts).await,
            }
        };
        let work = async {
            let result = hand_on(forward, &config, receiver).await;
            end.cancel();
            result
        };
        let ((), result) = tokio::join!(listen, work);
        result
    }
}

async fn hand_on(
    mut forward: Forward,
    config: &SyslogConfig,
    mut receiver: mpsc::Receiver<Sent>,
) -> Result<(), ReceiveError> {
    let hosts = host_names();
    let counts = forward.counts();
    loop {
        let due = forward.due();
        let (peer, framed) = tokio::select! {
            biased;
            () = at(due) => {
                forward.tick().await?;
                continue;
            }
            sent = receiver.recv() => match sent.and_then(Sent::take) {
                Some(message) => message,
                None => break,
            },
        };
        if framed.cut {
            counts.cut("syslog_message_too_long");
        }
        let text = String::from_utf8_lossy(&framed.bytes);
        let now = forward.time();
        let Some(message) = parse(&text, config.format, now) else {
            counts.syslog_error();
            counts.refused(
                "not_rfc5424",
                &peer,
                &"not a message of RFC 5424; `syslog_format: either` takes others too",
            );
            continue;
        };
        if message.text.is_empty() && !config.use_whole_message {
            counts.syslog_empty();
            continue;
        }
        let mut pairs = message.labels(config.label_structured_data);
        pairs.push(("__syslog_connection_ip_address".to_owned(), peer.to_string()));
        if let Some(name) = hosts.get(&peer) {
            pairs.push(("__syslog_connection_hostname".to_owned(), name.clone()));
        }
        let Some(labels) = forward.admit_named(labels(pairs, &config.labels)) else { continue };
        let time = message.timestamp_ns.filter(|_| config.use_incoming_timestamp).unwrap_or(now);
        let line = if config.use_whole_message { &*text } else { message.text };
        forward.push(&labels, time, line.as_bytes(), &[]).await?;
        forward.pace().await;
    }
    forward.flush(Durability::Now).await?;
    Ok(())
}

async fn datagrams(
    socket: UdpSocket,
    config: &SyslogConfig,
    sender: mpsc::Sender<Sent>,
    end: &CancellationToken,
    state: &SourceState,
    counts: &Arc<SourceCounts>,
) {
    let mut buffer = vec![0; 64 << 10];
    let mut losses = DatagramLosses::new(&socket);
    let mut ticks = tokio::time::interval(LOSSES_ARE_COUNTED);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let received = tokio::select! {
            () = end.cancelled() => return,
            _ = ticks.tick() => {
                counts.dropped_many("kernel_buffer_full", losses.more());
                continue;
            }
            received = socket.recv_from(&mut buffer) => received,
        };
        match received {
            Ok((len, peer)) => {
                state.well();
                let bytes = buffer.get(..len).unwrap_or_default();
                let len = bytes.iter().rposition(|b| !matches!(b, b'\n' | b'\r' | 0)).map_or(0, |at| at + 1);
                let whole = bytes.get(..len).unwrap_or_default();
                let kept = crate::forward::cut(whole, config.max_message_length);
                let framed = Framed { bytes: kept.to_vec(), cut: kept.len() < whole.len() };
                if framed.bytes.is_empty() {
                    continue;
                }
                tokio::select! {
                    () = end.cancelled() => return,
                    sent = hold(&sender, Sent::new(canonical(peer), framed, counts), &mut ticks, counts, &mut losses) => {
                        if sent.is_err() { return }
                    }
                }
            }
            Err(error) => {
                state.trouble(&format!("receiving datagrams: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Hands a datagram on. While that waits for the queue, the kernel keeps what its buffer holds and drops the rest, which
/// is counted.
async fn hold(
    sender: &mpsc::Sender<Sent>,
    sent: Sent,
    ticks: &mut tokio::time::Interval,
    counts: &Arc<SourceCounts>,
    losses: &mut DatagramLosses,
) -> Result<(), Gone> {
    loop {
        tokio::select! {
            biased;
            place = sender.reserve() => {
                place.map_err(|_| Gone)?.send(sent);
                return Ok(());
            }
            _ = ticks.tick() => counts.dropped_many("kernel_buffer_full", losses.more()),
        }
    }
}

/// Nobody takes messages any more.
struct Gone;

async fn streams(
    listener: TcpListener,
    tls: Option<TlsAccept>,
    config: &Arc<SyslogConfig>,
    sender: mpsc::Sender<Sent>,
    end: &CancellationToken,
    state: &SourceState,
    counts: &Arc<SourceCounts>,
) {
    let room = Arc::new(Semaphore::new(config.connections.clamp(1, 65_536)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                (listener.accept().await, permit)
            } => accepted,
        };
        let (stream, peer, permit) = match accepted {
            (Ok((stream, peer)), Ok(permit)) => (stream, peer, permit),
            (Err(error), _) => {
                state.trouble(&format!("accepting connections: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            (_, Err(_)) => break,
        };
        state.well();
        let (config, sender, end, tls, counts) =
            (Arc::clone(config), sender.clone(), end.clone(), tls.clone(), counts.clone());
        connections.spawn(async move {
            let _permit = permit;
            let from = canonical(peer);
            let Some(tls) = tls else {
                return converse(stream, from, &config, &sender, &end, &counts).await;
            };
            let shaken = tokio::select! {
                () = async { end.cancelled().await; tokio::time::sleep(GRACE).await } => return,
                shaken = tokio::time::timeout(HANDSHAKE, tls.accept(stream)) => shaken,
            };
            match shaken {
                Ok(Ok(stream)) => converse(stream, from, &config, &sender, &end, &counts).await,
                Ok(Err(error)) => {
                    counts.refused("tls_handshake", &from, &format_args!("the TLS handshake failed: {error}"));
                }
                Err(_) => counts.refused("tls_handshake", &from, &"the TLS handshake took too long"),
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Reads from one sender until it ends, is silent for too long or sends what has no frames.
async fn converse(
    mut stream: impl AsyncRead + Unpin,
    from: IpAddr,
    config: &SyslogConfig,
    sender: &mpsc::Sender<Sent>,
    end: &CancellationToken,
    counts: &Arc<SourceCounts>,
) {
    let mut framing = Framing::new(config.max_message_length);
    let mut piece = vec![0; 16 << 10];
    let mut found = Vec::new();
    // Once the listener ends, what lies here already is still read: its sender believes it arrived.
    let mut until = None;
    loop {
        let patience = match until {
            None => config.idle_timeout,
            Some(until) => QUIET.min(until - tokio::time::Instant::now()),
        };
        let read = tokio::select! {
            () = end.cancelled(), if until.is_none() => {
                until = Some(tokio::time::Instant::now() + GRACE);
                continue;
            }
            read = tokio::time::timeout(patience, stream.read(&mut piece)) => match read {
                Ok(Ok(0) | Err(_)) => None,
                Ok(Ok(len)) => Some(len),
                Err(_) if until.is_some() => None,
                Err(_) => {
                    counts.fault("idle");
                    None
                }
            },
        };
        let broken = match read {
            None => {
                framing.end(&mut found);
                true
            }
            Some(len) => {
                let result = framing.push(piece.get(..len).unwrap_or_default(), &mut found);
                if let Err(bad) = &result {
                    counts.syslog_error();
                    counts.refused("bad_frame", &from, bad);
                }
                result.is_err()
            }
        };
        let broken = broken || until.is_some_and(|until| tokio::time::Instant::now() >= until);
        let mut found = found.drain(..).map(|framed| Sent::new(from, framed, counts)).collect::<VecDeque<_>>();
        while let Some(sent) = found.pop_front() {
            if sender.send(sent).await.is_err() {
                return;
            }
        }
        if broken {
            return;
        }
    }
}

fn canonical(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

/// Names of `/etc/hosts`, for the label of the sender's host name.
fn host_names() -> HashMap<IpAddr, String> {
    let text = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut names = HashMap::new();
    for line in text.lines().take(10_000) {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if let (Some(Ok(address)), Some(name)) = (words.next().map(str::parse), words.next()) {
            names.entry(address).or_insert_with(|| name.to_owned());
        }
    }
    names
}
