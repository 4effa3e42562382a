//! What the metric families are: name, type, help and unit, remembered as tables pass, posted now and then.
//!
//! Remote write 1.0 carries metadata in requests of its own. They never wait in the queue and never make samples wait: one
//! that fails is forgotten, the next round says it all again. Bounded in families.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use model::SeriesTable;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    DestinationState, DestinationStatus, MetadataConfig,
    courier::Courier,
    metrics::DestinationMetrics,
    protocol::Parcel,
    verdict::Verdict,
    wire::{
        body::{Body, FamilyText, Snappy},
        table::{Fate, WireTable},
    },
};

/// The families seen by one destination.
#[derive(Debug)]
pub(crate) struct MetadataBook {
    families: Mutex<BTreeMap<Box<str>, Family>>,
    most: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Family {
    kind: u8,
    help: Box<str>,
    unit: Box<str>,
}

impl MetadataBook {
    /// A book of at most `most` families; later ones are left out.
    pub(crate) fn new(most: usize) -> Self {
        Self { families: Mutex::default(), most }
    }

    /// Notes the families of a table's series that are sent.
    pub(crate) fn note(&self, table: &SeriesTable, wire: &WireTable) {
        let mut last = None;
        let mut families = self.families.lock();
        for (series, index) in (0..table.series()).zip(0u32..) {
            if !matches!(wire.fate(index), Fate::Kept(_)) {
                continue;
            }
            let family = table.family(series);
            if family.name.is_empty() || last == Some(family.name) {
                continue;
            }
            last = Some(family.name);
            let kind = family.kind.number();
            if kind == 0 && family.help.is_empty() && family.unit.is_empty() {
                continue;
            }
            let known = families
                .get(family.name)
                .is_some_and(|f| f.kind == kind && &*f.help == family.help && &*f.unit == family.unit);
            if known || (families.len() >= self.most && !families.contains_key(family.name)) {
                continue;
            }
            families.insert(family.name.into(), Family { kind, help: family.help.into(), unit: family.unit.into() });
        }
    }

    /// Bodies of at most `per_body` families each, and how many are in each.
    fn bodies(&self, per_body: usize) -> Vec<(Body, u64)> {
        let families = self.families.lock();
        let mut bodies = Vec::new();
        let mut all = families.iter().peekable();
        while all.peek().is_some() {
            let mut body = Body::default();
            let mut count = 0;
            for (name, family) in all.by_ref().take(per_body.max(1)) {
                body.put_metadata(&FamilyText { name, kind: family.kind, help: &family.help, unit: &family.unit });
                count += 1;
            }
            bodies.push((body, count));
        }
        bodies
    }
}

/// Posts the book every `send_interval` while the destination takes data.
pub(crate) async fn post_metadata(
    config: MetadataConfig,
    book: Arc<MetadataBook>,
    courier: Arc<Courier>,
    status: DestinationStatus,
    metrics: DestinationMetrics,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(config.send_interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if status.state() != DestinationState::Healthy {
            continue;
        }
        let mut snappy = Snappy::default();
        for (body, families) in book.bodies(config.max_samples_per_send) {
            let Ok(body) = snappy.compress(body.bytes()) else {
                continue;
            };
            let bytes = body.len() as u64;
            let parcel = Parcel { body, extent: None, samples: 0 };
            let verdict = tokio::select! {
                () = stop.cancelled() => return,
                verdict = courier.attempt(&parcel, 0) => verdict,
            };
            if verdict == Verdict::Accepted {
                metrics.metadata.inc_by(families);
                metrics.metadata_bytes.inc_by(bytes);
            } else {
                metrics.metadata_failed.inc_by(families);
                tracing::debug!(families, ?verdict, "metadata was not taken; it is sent again at the next interval");
                break;
            }
        }
    }
}
