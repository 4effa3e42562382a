//! The queue's ledger as metrics: one row per destination and lane, read when somebody asks.
//!
//! Counts nothing itself. Keeps true: the columns of a row sum to `accepted` on every page.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use queue::{LaneRow, LaneState, Ledger, LedgerRow, Queue};

/// Serves `queue`'s books under `sigpost_queue_*`.
pub fn register(registry: &mut Registry, queue: Queue) {
    registry.register_collector(Box::new(Books(queue)));
}

struct Books(Queue);

impl fmt::Debug for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Books")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pair {
    destination: String,
    lane: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectedPair {
    destination: String,
    lane: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfLane {
    lane: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateOfLane {
    lane: String,
    state: &'static str,
}

/// As Grafana Agent labels what belongs to an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfInstance {
    instance_group_name: String,
}

type RowFigure = fn(&LedgerRow) -> f64;
type LaneFigure = fn(&LaneRow) -> f64;

/// (name, help, figure): items that only grow.
const ROW_COUNTERS: &[(&str, &str, RowFigure)] = &[
    ("accepted_items", "Items made durable since the destination began", |r| r.accepted as f64),
    ("delivered_items", "Items that the far end took", |r| r.delivered as f64),
    ("filtered_items", "Items dropped by the destination's own relabel rules", |r| r.filtered as f64),
    ("evicted_items", "Items given up because the lane was full", |r| r.evicted as f64),
    ("expired_items", "Items that became too old to send", |r| r.expired as f64),
    ("damaged_items", "Items that could not be read back", |r| r.damaged as f64),
    ("late_delivered_items", "Items delivered after they had been counted as evicted", |r| r.late_delivered as f64),
    ("repeated_frames", "Frames handed to a worker again since the start", |r| r.repeats as f64),
];

const ROW_GAUGES: &[(&str, &str, RowFigure)] = &[
    ("pending_items", "Items accepted and not settled", |r| r.pending_items as f64),
    ("pending_bytes", "Bytes on disk that hold the pending items", |r| r.pending_bytes as f64),
    ("in_flight_items", "Pending items that a worker holds", |r| r.in_flight_items as f64),
    ("in_flight_bytes", "Bytes of payload that a worker holds", |r| r.in_flight_bytes as f64),
    ("oldest_pending_timestamp_seconds", "Append time of the oldest pending item; zero when nothing is pending", |r| {
        r.oldest_pending_ms.map_or(0.0, |ms| ms as f64 / 1000.0)
    }),
    ("cursor_age_seconds", "How long the oldest pending item has been waiting; zero when nothing is pending", |r| {
        r.oldest_pending_ms.map_or(0.0, age_seconds)
    }),
];

const LANE_COUNTERS: &[(&str, &str, LaneFigure)] = &[
    ("lane_appended_items", "Items appended since the start", |l| l.stats.items as f64),
    ("lane_appended_frames", "Frames appended since the start", |l| l.stats.frames as f64),
    ("lane_appended_payload_bytes", "Payload bytes appended since the start", |l| l.stats.payload_bytes as f64),
    ("lane_written_bytes", "Bytes written since the start, headers and contexts included", |l| {
        l.stats.written_bytes as f64
    }),
    ("lane_contexts", "Contexts written since the start", |l| l.stats.contexts as f64),
    ("lane_commits", "Syncs of the lane's file since the start", |l| l.stats.commits as f64),
    ("lane_commit_seconds", "Time spent in those syncs", |l| l.stats.commit_nanos as f64 / 1e9),
    ("lane_write_failures", "Writes and syncs that failed", |l| l.stats.write_failures as f64),
    ("lane_evicted_segments", "Segments deleted because the lane was full", |l| l.stats.evicted_segments as f64),
    ("lane_damaged_ranges", "Ranges of the lane's files that could not be read, each once", |l| {
        l.stats.damaged_ranges as f64
    }),
    (
        "lane_unsynced_discarded_bytes",
        "Bytes that the start found written but promised to nobody, and discarded",
        |l| l.stats.unsynced_discarded_bytes as f64,
    ),
    (
        "lane_damaged_tail_bytes",
        "Bytes at the end of the log that had been synced and that the start found damaged or gone",
        |l| l.stats.damaged_tail_bytes as f64,
    ),
];

const LANE_GAUGES: &[(&str, &str, LaneFigure)] = &[
    ("lane_bytes", "Real size of the lane's files", |l| l.bytes as f64),
    ("lane_budget_bytes", "What the lane's files may grow to", |l| l.budget as f64),
    ("lane_segments", "Files of the lane", |l| l.segments as f64),
    ("lane_durable_offset_bytes", "Lane offset up to which everything is on disk", |l| l.durable_offset as f64),
    ("lane_oldest_timestamp_seconds", "When the lane's oldest file was begun; zero when there is none", |l| {
        l.oldest_ms.map_or(0.0, |ms| ms as f64 / 1000.0)
    }),
    (
        "lane_oldest_unsynced_timestamp_seconds",
        "When the oldest record that is not durable yet was handed over; zero when all are",
        |l| l.oldest_unsynced_ms.map_or(0.0, |ms| ms as f64 / 1000.0),
    ),
];

impl Collector for Books {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ledger = self.0.ledger();
        for (name, help, figure) in ROW_COUNTERS {
            family(&mut encoder, name, help, true, ledger.rows.iter().map(|r| (pair(r), figure(r))))?;
        }
        for (name, help, figure) in ROW_GAUGES {
            family(&mut encoder, name, help, false, ledger.rows.iter().map(|r| (pair(r), figure(r))))?;
        }
        family(
            &mut encoder,
            "rejected_items",
            "Items that the far end refused for good, by reason",
            true,
            rejected(&ledger),
        )?;
        family(
            &mut encoder,
            "removed_items",
            "Items pending for destinations that were removed since the start",
            true,
            ledger.removed.iter().map(|gone| {
                let pair = Pair { destination: gone.destination.clone(), lane: gone.lane.clone() };
                (pair, gone.items as f64)
            }),
        )?;
        for (name, help, figure) in LANE_COUNTERS {
            family(&mut encoder, name, help, true, ledger.lanes.iter().map(|l| (of_lane(l), figure(l))))?;
        }
        for (name, help, figure) in LANE_GAUGES {
            family(&mut encoder, name, help, false, ledger.lanes.iter().map(|l| (of_lane(l), figure(l))))?;
        }
        family(&mut encoder, "lane_state", "1 for the state that the lane is in", false, states(&ledger))?;
        // The name under which Grafana Agent's dashboards look for it.
        let appended = ledger.lanes.iter().filter_map(|l| {
            let name = l.lane.as_str().strip_prefix("metrics-")?.to_owned();
            Some((OfInstance { instance_group_name: name }, l.stats.items as f64))
        });
        rows(
            &mut encoder,
            "agent_wal_samples_appended",
            "Samples appended to the queue since the start",
            true,
            appended,
        )?;
        let quarantine = ConstGauge::new(ledger.quarantine_bytes as f64);
        quarantine.encode(encoder.encode_descriptor(
            "sigpost_queue_quarantine_bytes",
            "Bytes of damaged ranges kept for inspection",
            None,
            quarantine.metric_type(),
        )?)
    }
}

fn pair(row: &LedgerRow) -> Pair {
    Pair { destination: row.destination.clone(), lane: row.lane.to_string() }
}

fn of_lane(row: &LaneRow) -> OfLane {
    OfLane { lane: row.lane.to_string() }
}

fn rejected(ledger: &Ledger) -> impl Iterator<Item = (RejectedPair, f64)> + '_ {
    ledger.rows.iter().flat_map(|row| {
        row.rejected_by.iter().map(|(reason, items)| {
            let labels = RejectedPair {
                destination: row.destination.clone(),
                lane: row.lane.to_string(),
                reason: reason.as_str().to_owned(),
            };
            (labels, *items as f64)
        })
    })
}

fn states(ledger: &Ledger) -> impl Iterator<Item = (StateOfLane, f64)> + '_ {
    ledger.lanes.iter().flat_map(|row| {
        [LaneState::Ok, LaneState::Full, LaneState::Failed, LaneState::Closed].into_iter().map(|state| {
            let labels = StateOfLane { lane: row.lane.to_string(), state: state_word(state) };
            (labels, f64::from(u8::from(row.state == state)))
        })
    })
}

/// Seconds since a time in ms since the epoch; a time to come is now.
pub fn age_seconds(since_ms: i64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = Duration::from_millis(u64::try_from(since_ms).unwrap_or_default());
    now.saturating_sub(since).as_secs_f64()
}

/// `ok`, `full`, `failed`, `closed`.
pub fn state_word(state: LaneState) -> &'static str {
    match state {
        LaneState::Ok => "ok",
        LaneState::Full => "full",
        LaneState::Failed => "failed",
        LaneState::Closed => "closed",
    }
}

fn family<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counter: bool,
    figures: impl Iterator<Item = (L, f64)>,
) -> fmt::Result {
    rows(encoder, &format!("sigpost_queue_{name}"), help, counter, figures)
}

fn rows<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counter: bool,
    figures: impl Iterator<Item = (L, f64)>,
) -> fmt::Result {
    let kind = if counter {
        prometheus_client::metrics::MetricType::Counter
    } else {
        prometheus_client::metrics::MetricType::Gauge
    };
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in figures {
        let row = metric.encode_family(&labels)?;
        if counter { ConstCounter::new(value).encode(row)? } else { ConstGauge::new(value).encode(row)? }
    }
    Ok(())
}
