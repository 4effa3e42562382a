//! Whole-process cost of spans: OTLP comes in, is queued on disk, signed and sent on. Prints CPU seconds per million spans and
//! peak memory for each way in and out, beside the floor: a bare server and client of the same HTTP stack, in a process of its
//! own and in the same round, that only copy and hash the same bytes. Where bodies are gzip there is a second floor, which also
//! unpacks what comes and packs what goes.
//!
//! Senders and receiver run in this process, whose CPU is not counted. A run in which spans are missing, came twice or were
//! refused is void.

use std::{
    convert::Infallible,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use e2e::{
    agent::Agent,
    free_port,
    spans::{EMPTY_MESSAGE, GRPC_PATH, SpanReceiver, framed, gzip, request},
    usage::{self, Usage},
};
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use sha2::{Digest, Sha256};

const SPANS_A_REQUEST: usize = 100;
/// Requests on their way at the same time.
const SENDERS: usize = 16;
const MIB: f64 = (1u64 << 20) as f64;
/// As the agent packs.
const LEVEL: u32 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Http,
    HttpGzip,
    Grpc,
    GrpcGzip,
    XRay,
}

const ALL: [Way; 5] = [Way::Http, Way::HttpGzip, Way::Grpc, Way::GrpcGzip, Way::XRay];

struct Options {
    spans: u64,
    rounds: usize,
    only: Option<String>,
}

/// Of one process: CPU seconds per million spans, and the rest.
struct Cost {
    cpu: f64,
    peak_rss: u64,
    spans_per_second: f64,
    complete: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, to, packing, speech] = args.as_slice()
        && word == "--floor"
    {
        return floor(to.parse()?, packing == "repack", speech == "grpc").await;
    }
    let options = options(&args)?;
    println!(
        "{} spans in requests of {SPANS_A_REQUEST} ({} bytes), {} round(s); CPU seconds per million spans",
        options.spans,
        request(0, SPANS_A_REQUEST).len(),
        options.rounds
    );
    for way in ALL {
        if options.only.as_deref().is_some_and(|only| only != way.name()) {
            continue;
        }
        let mut ratios: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
        let mut cpu = Vec::new();
        for round in 1..=options.rounds {
            let plain = floor_of(way, false, options.spans).await?;
            let packed = if way.packed() { Some(floor_of(way, true, options.spans).await?) } else { None };
            let ours = agent_of(way, options.spans).await.with_context(|| format!("measuring {}", way.name()))?;
            println!(
                "round {round} {:<10} {:>6.2} CPU s/M spans   floor {:>5.2}   ratio {:>5.2}{}   {:>5.1} MiB peak RSS   {:>8.0} spans/s{}",
                way.name(),
                ours.cpu,
                plain.cpu,
                ours.cpu / plain.cpu,
                packed.as_ref().map_or(String::new(), |p| format!(
                    "   floor that packs {:>5.2}   ratio {:>5.2}",
                    p.cpu,
                    ours.cpu / p.cpu
                )),
                ours.peak_rss as f64 / MIB,
                ours.spans_per_second,
                if ours.complete { "" } else { "   VOID: not every span came once" }
            );
            cpu.push(ours.cpu);
            ratios[0].push(ours.cpu / plain.cpu);
            ratios[1].extend(packed.map(|p| ours.cpu / p.cpu));
        }
        let packed = if way.packed() {
            format!("   of the floor that packs {:>5.2}", median(&mut ratios[1]))
        } else {
            String::new()
        };
        println!(
            "median  {:<10} {:>6.2} CPU s/M spans   ratio {:>5.2}{packed}   goal: at most 2\n",
            way.name(),
            median(&mut cpu),
            median(&mut ratios[0]),
        );
    }
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn agent_of(way: Way, spans: u64) -> Result<Cost> {
    let receiver = SpanReceiver::start().await?;
    let (http, grpc) = (free_port()?, free_port()?);
    let mut agent = Agent::prepare(&config(&way.destination(&receiver), http, grpc))?;
    agent.start_ready().await?;
    let pid = agent.pid().context("the agent was started")?;
    let port = if way.grpc() { grpc } else { http };
    let cost = drive(way, port, &receiver, spans, pid).await.with_context(|| agent.log());
    agent.stop()?;
    cost
}

async fn floor_of(way: Way, repack: bool, spans: u64) -> Result<Cost> {
    let receiver = SpanReceiver::start().await?;
    let mut floor = Floor::start(&receiver, repack, way.grpc())?;
    let cost = drive(way, floor.port, &receiver, spans, floor.child.id()).await;
    floor.stop()?;
    cost
}

/// Sends, waits until all has arrived, and says what the process in between has used for it.
async fn drive(way: Way, port: u16, receiver: &SpanReceiver, spans: u64, pid: u32) -> Result<Cost> {
    let bodies: Arc<[Bytes]> = (0..32).map(|n| way.body(n)).collect::<Result<_>>()?;
    let wanted = spans / SPANS_A_REQUEST as u64;
    let next = Arc::new(AtomicU64::new(0));
    let before = usage::of(pid)?;
    let began = Instant::now();
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (bodies, next) = (Arc::clone(&bodies), Arc::clone(&next));
            tokio::spawn(async move {
                let client = way.client()?;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= wanted {
                        return anyhow::Ok(());
                    }
                    let body = &bodies[usize::try_from(number)? % bodies.len()];
                    while !way.send(&client, port, body).await? {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await??;
    }
    let all = wanted * SPANS_A_REQUEST as u64;
    let limit = Duration::from_secs(60 + spans / 10_000);
    while receiver.spans() < all {
        if began.elapsed() > limit {
            bail!("{} of {all} spans arrived, {} requests were refused", receiver.spans(), receiver.refused());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    let Usage { cpu_seconds, peak_rss_bytes, .. } = usage::of(pid)?;
    Ok(Cost {
        cpu: (cpu_seconds - before.cpu_seconds) * 1e6 / all as f64,
        peak_rss: peak_rss_bytes,
        spans_per_second: all as f64 / took.as_secs_f64(),
        complete: receiver.spans() == all && receiver.refused() == 0,
    })
}

fn config(destination: &str, http: u16, grpc: u16) -> String {
    format!(
        "server: {{log_level: warn}}
queue: {{min_free: 1MiB}}
traces:
  configs:
    - name: bench
      receivers:
        otlp:
          protocols:
            http: {{endpoint: '127.0.0.1:{http}'}}
            grpc: {{endpoint: '127.0.0.1:{grpc}'}}
      remote_write:
        - {destination}
"
    )
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::HttpGzip => "http-gzip",
            Self::Grpc => "grpc",
            Self::GrpcGzip => "grpc-gzip",
            Self::XRay => "xray",
        }
    }

    fn grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcGzip)
    }

    fn packed(self) -> bool {
        matches!(self, Self::HttpGzip | Self::GrpcGzip)
    }

    fn destination(self, receiver: &SpanReceiver) -> String {
        let to = receiver.address;
        let aws = "aws: {region: us-east-1, access_key_id: AKIDBENCHEXAMPLE, secret_access_key: not-a-real-secret";
        let compression = if self.packed() { "gzip" } else { "none" };
        match self {
            // Over gRPC nothing is signed: AWS has no such end.
            Self::Grpc | Self::GrpcGzip => {
                format!("{{endpoint: '{to}', protocol: grpc, insecure: true, compression: {compression}}}")
            }
            Self::Http | Self::HttpGzip => {
                format!(
                    "{{endpoint: 'http://{to}', protocol: http, compression: {compression}, {aws}, service: xray}}}}"
                )
            }
            Self::XRay => format!(
                "{{endpoint: 'https://xray.us-east-1.amazonaws.com', endpoint_url: 'http://{to}', format: xray, protocol: http, {aws}}}}}"
            ),
        }
    }

    fn body(self, number: u64) -> Result<Bytes> {
        let plain = request(number, SPANS_A_REQUEST);
        let body = if self.packed() { gzip(&plain, 6)? } else { plain };
        Ok(Bytes::from(if self.grpc() { framed(&body, self.packed()) } else { body }))
    }

    fn client(self) -> Result<reqwest::Client> {
        let builder = reqwest::Client::builder().no_proxy();
        Ok(if self.grpc() { builder.http2_prior_knowledge() } else { builder.http1_only() }.build()?)
    }

    /// Whether it was taken; an error where it never will be.
    async fn send(self, client: &reqwest::Client, port: u16, body: &Bytes) -> Result<bool> {
        let path = if self.grpc() { GRPC_PATH } else { "/v1/traces" };
        let mut post = client.post(format!("http://127.0.0.1:{port}{path}")).body(body.clone());
        for (name, value) in head(self.grpc(), self.packed()) {
            post = post.header(name, value);
        }
        let answer = post.send().await?;
        let status = answer.status();
        let grpc = answer.headers().get("grpc-status").and_then(|code| code.to_str().ok()).unwrap_or("0").to_owned();
        answer.bytes().await?;
        if status == StatusCode::TOO_MANY_REQUESTS || grpc == "8" {
            return Ok(false);
        }
        ensure!(status.is_success() && grpc == "0", "answered {status}, gRPC status {grpc}");
        Ok(true)
    }
}

fn head(grpc: bool, packed: bool) -> Vec<(&'static str, &'static str)> {
    let mut head = vec![("content-type", if grpc { "application/grpc" } else { "application/x-protobuf" })];
    if grpc {
        head.push(("te", "trailers"));
    }
    if packed {
        head.push((if grpc { "grpc-encoding" } else { "content-encoding" }, "gzip"));
    }
    head
}

/// The floor's process.
struct Floor {
    child: Child,
    port: u16,
}

impl Floor {
    fn start(receiver: &SpanReceiver, repack: bool, grpc: bool) -> Result<Self> {
        let to = receiver.address.to_string();
        let args = ["--floor", &to, if repack { "repack" } else { "copy" }, if grpc { "grpc" } else { "http" }];
        let mut child = Command::new(std::env::current_exe()?).args(args).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output is read")?).read_line(&mut line)?;
        let port = line.trim().parse().context("the floor's process says its port");
        match port {
            Ok(port) => Ok(Self { child, port }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    fn stop(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Gone already where `stop` was called.
        let _ = self.stop();
    }
}

/// A server that hashes each body and posts it on before it answers.
async fn floor(to: SocketAddr, repack: bool, grpc: bool) -> Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?.port());
    let builder = reqwest::Client::builder().no_proxy();
    let client = if grpc { builder.http2_prior_knowledge() } else { builder.http1_only() }.build()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let client = client.clone();
                async move { Ok::<_, Infallible>(passed(&client, to, repack, grpc, request).await) }
            });
            // A connection that ends badly shows as spans that are missing.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

async fn passed(
    client: &reqwest::Client,
    to: SocketAddr,
    repack: bool,
    grpc: bool,
    request: Request<Incoming>,
) -> Answer {
    let path = request.uri().path().to_owned();
    let packing = if grpc { "grpc-encoding" } else { "content-encoding" };
    let packed = request.headers().contains_key(packing);
    let done = async {
        let mut body = request.into_body().collect().await?.to_bytes();
        if repack {
            let skip = if grpc { EMPTY_MESSAGE.len() } else { 0 };
            let mut plain = Vec::new();
            GzDecoder::new(body.get(skip..).unwrap_or_default()).read_to_end(&mut plain)?;
            let again = gzip(&plain, LEVEL)?;
            body = Bytes::from(if grpc { framed(&again, true) } else { again });
        }
        std::hint::black_box(Sha256::digest(&body));
        let mut post = client.post(format!("http://{to}{path}")).body(body);
        for (name, value) in head(grpc, packed) {
            post = post.header(name, value);
        }
        let answer = post.send().await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        answer.bytes().await?;
        anyhow::Ok(())
    };
    let (status, body) = match done.await {
        Ok(()) if grpc => (StatusCode::OK, EMPTY_MESSAGE),
        Ok(()) => (StatusCode::OK, b"".as_slice()),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, b"".as_slice()),
    };
    let body = Full::new(Bytes::from_static(body));
    let mut response = if grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let trailers = async move { Some(Ok(trailers)) };
        Response::new(BoxBody::new(body.with_trailers(trailers)))
    } else {
        Response::new(BoxBody::new(body))
    };
    *response.status_mut() = status;
    if grpc {
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    }
    response
}

fn options(args: &[String]) -> Result<Options> {
    let mut options = Options { spans: 1_000_000, rounds: 3, only: None };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let value = args.next().with_context(|| format!("{arg} needs a value"))?;
        match arg.as_str() {
            "--spans" => options.spans = value.parse()?,
            "--rounds" => options.rounds = value.parse()?,
            "--only" => options.only = Some(value.clone()),
            _ => bail!("unknown option {arg}; known: --spans --rounds --only http|http-gzip|grpc|grpc-gzip|xray"),
        }
    }
    Ok(options)
}
