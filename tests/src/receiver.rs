//! A remote-write 1.0 receiver that counts, and remembers every sample if asked.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use prost::Message;
use proto::remote_write::WriteRequest;

/// A series as text (`name{a="b"}` with sorted labels) and its samples: timestamp -> (value bits, times received).
pub type Samples = BTreeMap<String, BTreeMap<i64, (u64, u32)>>;

#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    samples: AtomicU64,
    wire_bytes: AtomicU64,
    status: AtomicU16,
    delay_ms: AtomicU64,
    record: bool,
    samples_by_series: Mutex<Samples>,
    delays: Mutex<Vec<i64>>,
    authorization: Mutex<Vec<String>>,
}

/// Serves `POST /api/v1/write`; answers 200, or the status set by `answer_with`.
pub struct Receiver {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Starts on a free loopback port. With `record` every sample is kept.
    pub async fn start(record: bool) -> std::io::Result<Self> {
        Self::start_at("127.0.0.1:0".parse().expect("a literal address"), record).await
    }

    pub async fn start_at(address: SocketAddr, record: bool) -> std::io::Result<Self> {
        let seen = Arc::new(Seen { record, status: AtomicU16::new(200), ..Seen::default() });
        let app = Router::new()
            .route("/api/v1/write", post(take))
            .route("/workspaces/{id}/api/v1/remote_write", post(take))
            .layer(DefaultBodyLimit::max(64 << 20))
            .with_state(seen.clone());
        let listener = tokio::net::TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, seen, task })
    }

    pub fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// Requests from now on are answered with `status` (and their samples not counted unless it is a success).
    pub fn answer_with(&self, status: u16) {
        self.seen.status.store(status, Ordering::SeqCst);
    }

    /// Requests from now on are answered after this time. What they hold is seen at once; one whose sender does not wait
    /// for the answer was seen all the same.
    pub fn answer_after(&self, delay: Duration) {
        self.seen.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Different samples (series and time) received; those sent twice count once. Needs `record`.
    pub fn distinct(&self) -> u64 {
        let all = self.seen.samples_by_series.lock().expect("no test panics while holding it");
        all.values().map(|samples| samples.len() as u64).sum()
    }

    pub fn samples(&self) -> u64 {
        self.seen.samples.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::SeqCst)
    }

    pub fn wire_bytes(&self) -> u64 {
        self.seen.wire_bytes.load(Ordering::SeqCst)
    }

    pub fn recorded(&self) -> Samples {
        self.seen.samples_by_series.lock().expect("no test panics while holding it").clone()
    }

    /// For each request since the last call, how old its oldest sample was when it came, in milliseconds. Needs `record`.
    pub fn take_delays(&self) -> Vec<i64> {
        std::mem::take(&mut *self.seen.delays.lock().expect("no test panics while holding it"))
    }

    pub fn authorizations(&self) -> Vec<String> {
        self.seen.authorization.lock().expect("no test panics while holding it").clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> (StatusCode, &'static str) {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let status = StatusCode::from_u16(seen.status.load(Ordering::SeqCst)).unwrap_or(StatusCode::OK);
    if !status.is_success() {
        return (status, "told to refuse");
    }
    let Ok(raw) = snap::raw::Decoder::new().decompress_vec(&body) else {
        return (StatusCode::BAD_REQUEST, "not a snappy block");
    };
    if seen.record {
        let Ok(request) = WriteRequest::decode(&raw[..]) else {
            return (StatusCode::BAD_REQUEST, "not a WriteRequest");
        };
        let oldest = request.timeseries.iter().flat_map(|series| &series.samples).map(|sample| sample.timestamp).min();
        if let Some(oldest) = oldest {
            seen.delays.lock().expect("no test panics while holding it").push(now_ms() - oldest);
        }
        let mut all = seen.samples_by_series.lock().expect("no test panics while holding it");
        for series in &request.timeseries {
            let mut name = String::new();
            let mut labels = Vec::new();
            for label in &series.labels {
                if label.name == "__name__" {
                    name.clone_from(&label.value);
                } else {
                    labels.push(format!("{}={:?}", label.name, label.value));
                }
            }
            let by_time = all.entry(format!("{name}{{{}}}", labels.join(","))).or_default();
            for sample in &series.samples {
                let slot = by_time.entry(sample.timestamp).or_insert((sample.value.to_bits(), 0));
                slot.1 += 1;
                seen.samples.fetch_add(1, Ordering::SeqCst);
            }
        }
        if let Some(value) = headers.get("authorization").and_then(|v| v.to_str().ok()) {
            seen.authorization.lock().expect("no test panics while holding it").push(value.to_owned());
        }
    } else {
        let Some(samples) = count_samples(&raw) else { return (StatusCode::BAD_REQUEST, "not a WriteRequest") };
        seen.samples.fetch_add(samples, Ordering::SeqCst);
    }
    seen.wire_bytes.fetch_add(body.len() as u64, Ordering::SeqCst);
    let delay = seen.delay_ms.load(Ordering::SeqCst);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    (StatusCode::OK, "")
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Walks the wire without building anything: `WriteRequest.timeseries` (1) -> `TimeSeries.samples` (2).
fn count_samples(mut body: &[u8]) -> Option<u64> {
    let mut samples = 0;
    while !body.is_empty() {
        let (field, value) = next_field(&mut body)?;
        if field == 1 {
            let mut series = value;
            while !series.is_empty() {
                let (field, _) = next_field(&mut series)?;
                samples += u64::from(field == 2);
            }
        }
    }
    Some(samples)
}

pub(crate) fn next_field<'a>(body: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let key = varint(body)?;
    let length = match key & 7 {
        0 => {
            varint(body)?;
            return Some((key >> 3, &[]));
        }
        1 => 8,
        2 => usize::try_from(varint(body)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (value, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some((key >> 3, value))
}

fn varint(body: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = body.split_first()?;
        *body = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
