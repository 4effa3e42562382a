//! Numbered log lines: a file of them, and a receiver that speaks what log destinations speak (Loki, CloudWatch Logs, S3)
//! and counts.
//!
//! It checks no signature: the sandbox does. It keeps true: a line is counted when its request was answered with success.

use std::{
    fs::File,
    hash::{DefaultHasher, Hasher},
    io::{BufWriter, Read, Write},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode},
};
use serde::Deserialize;

/// Digits of the number that a line begins with.
const DIGITS: usize = 10;

/// How many lines there are, and the sum of their hashes, in which order does not matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    pub lines: u64,
    pub hash: u64,
}

impl Sum {
    fn add(&mut self, hash: u64) {
        self.lines += 1;
        self.hash = self.hash.wrapping_add(hash);
    }
}

fn hash(line: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(line);
    hasher.finish()
}

/// Writes numbered lines that look like those of a web server, from a number on.
pub struct Writer {
    next: u64,
    pub sum: Sum,
}

impl Writer {
    pub fn new() -> Self {
        Self { next: 0, sum: Sum::default() }
    }

    /// Appends one line with its end to `out`.
    pub fn line(&mut self, out: &mut Vec<u8>) {
        let number = self.next;
        self.next += 1;
        let random = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let begin = out.len();
        // Writing into memory does not fail.
        let _ = write!(
            out,
            "{number:0DIGITS$} 10.{}.{}.{} - - [14/Nov/2023:22:13:{:02} +0000] \"GET /api/v1/orders/{}?page={} HTTP/1.1\" {} {} \
             \"https://shop.example.com/cart\" \"Mozilla/5.0 (X11; Linux x86_64; rv:{}.0) Firefox/{}.0\" rt=0.{:03}",
            random % 250,
            random / 250 % 250,
            random / 7 % 250,
            number % 60,
            random % 100_000,
            random % 17,
            if random.is_multiple_of(31) { 404 } else { 200 },
            random % 50_000,
            100 + random % 20,
            100 + random % 20,
            random % 1000
        );
        self.sum.add(hash(out.get(begin..).unwrap_or_default()));
        out.push(b'\n');
    }

    /// Appends lines to a file until at least so many bytes were written.
    pub fn fill(&mut self, file: &mut File, bytes: u64) -> std::io::Result<u64> {
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let (mut line, mut written) = (Vec::new(), 0);
        while written < bytes {
            line.clear();
            self.line(&mut line);
            out.write_all(&line)?;
            written += line.len() as u64;
        }
        out.flush()?;
        Ok(written)
    }

    /// A new file of at least so many bytes.
    pub fn file(&mut self, path: &Path, bytes: u64) -> std::io::Result<u64> {
        self.fill(&mut File::create(path)?, bytes)
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Default)]
struct Seen {
    lines: AtomicU64,
    requests: AtomicU64,
    wire_bytes: AtomicU64,
    refused: AtomicU64,
    /// By number: hash of the line, 0 where there is none yet. `None`: lines are only counted.
    each: Option<Mutex<Each>>,
}

#[derive(Default)]
struct Each {
    hashes: Vec<u64>,
    /// Of the line with its time, where the protocol has one that is kept when it is sent again.
    entries: Vec<u64>,
    repeated: u64,
    /// Came again with another time: it was not sent twice but read twice.
    read_twice: u64,
    /// Lines without a number, or another text under a number that was seen.
    foreign: Vec<String>,
}

/// Takes Loki pushes, `PutLogEvents` and objects at any path.
pub struct LineReceiver {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl LineReceiver {
    /// Starts on a free loopback port. With `keep` it looks at each line, for [`different`](Self::different).
    pub async fn start(keep: bool) -> std::io::Result<Self> {
        let seen = Arc::new(Seen { each: keep.then(Mutex::default), ..Seen::default() });
        let app = Router::new().fallback(take).layer(DefaultBodyLimit::max(64 << 20)).with_state(Arc::clone(&seen));
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, seen, task })
    }

    /// Lines received; those that were sent twice count twice.
    pub fn lines(&self) -> u64 {
        self.seen.lines.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::SeqCst)
    }

    pub fn wire_bytes(&self) -> u64 {
        self.seen.wire_bytes.load(Ordering::SeqCst)
    }

    /// Requests that could not be read.
    pub fn refused(&self) -> u64 {
        self.seen.refused.load(Ordering::SeqCst)
    }

    /// Lines that came twice with different times, over Loki: what is sent again has the time it had. Needs `keep`.
    pub fn read_twice(&self) -> u64 {
        let each = self.seen.each.as_ref().map(|each| each.lock().expect("no test panics while holding it"));
        each.map_or(0, |each| each.read_twice)
    }

    /// Lines of different numbers, and how many came more than once. Needs `keep`. Errors: a line that no [`Writer`] wrote.
    pub fn different(&self) -> Result<(Sum, u64), String> {
        let Some(each) = &self.seen.each else { return Err("lines were not kept".to_owned()) };
        let each = each.lock().expect("no test panics while holding it");
        if let Some(line) = each.foreign.first() {
            return Err(format!("{} lines that nobody wrote, such as {line:?}", each.foreign.len()));
        }
        let mut sum = Sum::default();
        each.hashes.iter().filter(|hash| **hash != 0).for_each(|hash| sum.add(*hash));
        Ok((sum, each.repeated))
    }
}

impl Drop for LineReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Each {
    fn take(&mut self, line: &str, entry: u64) {
        let number = line.get(..DIGITS).and_then(|digits| digits.parse::<usize>().ok()).filter(|n| *n < 1 << 30);
        let Some(number) = number else {
            self.foreign.push(line.chars().take(200).collect());
            return;
        };
        if number >= self.hashes.len() {
            self.hashes.resize(number + 1, 0);
            self.entries.resize(number + 1, 0);
        }
        let hash = hash(line.as_bytes());
        match self.hashes.get_mut(number) {
            Some(slot) if *slot == 0 => {
                *slot = hash;
                self.entries[number] = entry;
            }
            Some(slot) if *slot == hash => {
                self.repeated += 1;
                self.read_twice += u64::from(self.entries[number] != entry);
            }
            _ => self.foreign.push(line.chars().take(200).collect()),
        }
    }
}

async fn take(
    State(seen): State<Arc<Seen>>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let mut kept = Vec::new();
    let keep = seen.each.is_some();
    let mut each = |line: &str, entry: &[u8]| {
        if keep {
            kept.push((line.to_owned(), hash(entry)));
        }
    };
    let (found, success) = match target {
        Some(target) if target.ends_with(".PutLogEvents") => {
            let packed = headers.get("content-encoding").is_some_and(|coding| coding == "gzip");
            (events(&body, packed, keep, &mut each), (StatusCode::OK, "{}"))
        }
        Some(_) => (Some(0), (StatusCode::OK, "{}")),
        None if method == Method::PUT => {
            let packed = headers.get("content-type").is_some_and(|kind| kind == "application/gzip");
            (object(&body, packed, keep, &mut each), (StatusCode::OK, ""))
        }
        None => (push(&body, keep, &mut each), (StatusCode::NO_CONTENT, "")),
    };
    let Some(lines) = found else {
        seen.refused.fetch_add(1, Ordering::SeqCst);
        return (StatusCode::BAD_REQUEST, "it cannot be read");
    };
    if let Some(each) = &seen.each {
        let mut each = each.lock().expect("no test panics while holding it");
        kept.iter().for_each(|(line, entry)| each.take(line, *entry));
    }
    seen.wire_bytes.fetch_add(body.len() as u64, Ordering::SeqCst);
    seen.lines.fetch_add(lines, Ordering::SeqCst);
    success
}

fn unpacked(body: &[u8], packed: bool) -> Option<Vec<u8>> {
    if !packed {
        return Some(body.to_vec());
    }
    let mut text = Vec::with_capacity(body.len() * 8);
    flate2::read::GzDecoder::new(body).read_to_end(&mut text).ok()?;
    Some(text)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Put {
    log_events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    message: String,
}

fn events(body: &[u8], packed: bool, keep: bool, each: &mut impl FnMut(&str, &[u8])) -> Option<u64> {
    let text = unpacked(body, packed)?;
    if keep {
        let put: Put = serde_json::from_slice(&text).ok()?;
        put.log_events.iter().for_each(|event| each(&event.message, &[]));
        return Some(put.log_events.len() as u64);
    }
    // A quote inside of a message has a backslash before it, so this is found once for each event.
    Some(memchr::memmem::find_iter(&text, b"{\"timestamp\":").count() as u64)
}

#[derive(Deserialize)]
struct Stored {
    line: String,
}

fn object(body: &[u8], packed: bool, keep: bool, each: &mut impl FnMut(&str, &[u8])) -> Option<u64> {
    let text = unpacked(body, packed)?;
    if keep {
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            each(&serde_json::from_slice::<Stored>(line).ok()?.line, &[]);
        }
    }
    Some(memchr::memchr_iter(b'\n', &text).count() as u64)
}

/// `PushRequest.streams` (1) -> `StreamAdapter.entries` (2) -> `EntryAdapter.line` (2).
fn push(body: &[u8], keep: bool, each: &mut impl FnMut(&str, &[u8])) -> Option<u64> {
    let raw = snap::raw::Decoder::new().decompress_vec(body).ok()?;
    let (mut lines, mut rest) = (0, &raw[..]);
    while !rest.is_empty() {
        let (field, mut stream) = crate::receiver::next_field(&mut rest)?;
        while field == 1 && !stream.is_empty() {
            let (field, mut entry) = crate::receiver::next_field(&mut stream)?;
            if field != 2 {
                continue;
            }
            lines += 1;
            let whole = entry;
            while keep && !entry.is_empty() {
                let (field, line) = crate::receiver::next_field(&mut entry)?;
                if field == 2 {
                    each(str::from_utf8(line).ok()?, whole);
                }
            }
        }
    }
    Some(lines)
}
