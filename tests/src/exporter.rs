//! Synthetic scrape targets: realistic series, new numbers each scrape, cheap to serve.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    extract::{Path, State},
    http::header,
    routing::get,
};
use bytes::Bytes;

/// How many different bodies each target rotates through.
const VARIANTS: usize = 8;

struct Shape {
    bodies: Vec<Bytes>,
    scrapes: AtomicU64,
    by_target: Mutex<BTreeMap<u32, u64>>,
}

/// Serves `/t/<n>/metrics` for any `n`.
pub struct Exporter {
    pub address: SocketAddr,
    shape: Arc<Shape>,
    task: tokio::task::JoinHandle<()>,
}

impl Exporter {
    /// Starts on a free loopback port; each target answers `series` samples.
    pub async fn start(series: usize) -> std::io::Result<Self> {
        let bodies = (0..VARIANTS).map(|v| Bytes::from(body(series, v))).collect();
        let shape = Arc::new(Shape { bodies, scrapes: AtomicU64::new(0), by_target: Mutex::default() });
        let app = Router::new().route("/t/{n}/metrics", get(answer)).with_state(shape.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { address, shape, task })
    }

    /// Bodies served so far, all targets together.
    pub fn scrapes(&self) -> u64 {
        self.shape.scrapes.load(Ordering::Relaxed)
    }
}

impl Exporter {
    /// Bodies served so far for target `n`.
    pub fn scrapes_of(&self, n: u32) -> u64 {
        self.shape.by_target.lock().expect("no test panics while holding it").get(&n).copied().unwrap_or(0)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    State(shape): State<Arc<Shape>>,
    Path(target): Path<u32>,
) -> ([(header::HeaderName, &'static str); 1], Bytes) {
    let n = shape.scrapes.fetch_add(1, Ordering::Relaxed) as usize;
    *shape.by_target.lock().expect("no test panics while holding it").entry(target).or_insert(0) += 1;
    // All targets of a round should move together, so the variant follows a slow count.
    let variant = (n / 16) % shape.bodies.len();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shape.bodies[variant].clone())
}

/// About 110 bytes a line: counters, gauges and histogram buckets, eight of ten of which move.
fn body(series: usize, variant: usize) -> String {
    let mut out = String::with_capacity(series * 120);
    let per_family = 50;
    let mut i = 0;
    while i < series {
        let family = i / per_family;
        let (kind, name) = match family % 3 {
            0 => ("counter", format!("app_http_requests_{family}_total")),
            1 => ("gauge", format!("app_pool_connections_{family}")),
            _ => ("counter", format!("app_handler_duration_seconds_{family}_sum")),
        };
        let _ = writeln!(out, "# HELP {name} Synthetic family {family} of the comparison.\n# TYPE {name} {kind}");
        for k in 0..per_family.min(series - i) {
            let _ = write!(
                out,
                "{name}{{service=\"checkout\",handler=\"/api/v1/items/{k}\",method=\"{}\",code=\"{}\",zone=\"eu-west-1{}\"}} ",
                ["GET", "POST", "PUT"][k % 3],
                [200, 201, 404, 500][k % 4],
                ["a", "b", "c"][k % 3]
            );
            let seed = (i + k) as f64;
            let step = if (i + k) % 5 == 0 { 0 } else { variant };
            let _ = match family % 3 {
                0 => writeln!(out, "{}", 100_000 + (i + k) * 37 + step * ((k % 7) + 1)),
                1 => writeln!(out, "{}", ((i + k * 3 + step * 5) % 400)),
                _ => writeln!(out, "{:.6}", seed * 1.37 + step as f64 * 0.013_579),
            };
        }
        i += per_family;
    }
    out
}
