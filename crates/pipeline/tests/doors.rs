//! In through an intake, out through an outlet, with a real queue in between.

use std::time::Duration;

use bytes::Bytes;
use model::{
    BaseVector, EncodedTable, Labels, MetricBatch, MetricChunk, MetricType, Presence, SeriesTable, SeriesTableBuilder,
    Timestamps,
};
use pipeline::{BaseVectors, Compression, MetricIntake, Outcome, Outlet};
use proptest::prelude::*;
use queue::{
    Codec, DestinationSpec, Durability, Kind, LaneId, LaneSpec, LedgerRow, MinFree, Queue, QueueConfig, Reason, Record,
};

struct House {
    _directory: tempfile::TempDir,
    queue: Queue,
    lane: LaneId,
}

impl House {
    fn new(destinations: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lane = LaneId::new("metrics-default").unwrap();
        let config = QueueConfig {
            max_bytes: 256 << 20,
            min_free: MinFree::NONE,
            commit_interval: Duration::from_millis(5),
            ..QueueConfig::new(directory.path())
        };
        let destinations = destinations.iter().map(|name| DestinationSpec::new(*name, vec![lane.clone()])).collect();
        let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], destinations).unwrap();
        Self { _directory: directory, queue, lane }
    }

    fn intake(&self) -> MetricIntake {
        MetricIntake::new(self.queue.appender(&self.lane).unwrap())
    }

    fn outlet(&self, destination: &str) -> Outlet {
        Outlet::new(self.queue.reader(destination, &self.lane).unwrap(), BaseVectors::default())
    }

    fn row(&self, destination: &str) -> LedgerRow {
        self.queue.ledger().rows.into_iter().find(|row| row.destination == destination).unwrap()
    }

    async fn append_raw(&self, kind: Kind, payload: &'static [u8], items: u32) {
        let raw_len = payload.len() as u32;
        let record = Record {
            kind,
            codec: Codec::None,
            stream: 1,
            items,
            raw_len,
            payload: Bytes::from_static(payload),
            contexts: Vec::new(),
        };
        let receipt = self.queue.appender(&self.lane).unwrap().append(record, Durability::Soon).await.unwrap();
        receipt.durable().await.unwrap();
    }
}

fn table(name: &str, series: usize) -> EncodedTable {
    let mut builder = SeriesTableBuilder::new();
    let family = builder.family(name, MetricType::Gauge, "", "");
    for index in 0..series {
        let labels: Labels = [("__name__", name.to_owned()), ("i", index.to_string())].into_iter().collect();
        builder.push(family, &labels).unwrap();
    }
    builder.build()
}

/// `(series, time, bits)` in order.
fn samples(claim: &pipeline::MetricClaim) -> Vec<(u32, i64, u64)> {
    claim
        .chunks
        .iter()
        .flat_map(|chunk| chunk.samples())
        .map(|s| (s.series, s.timestamp_ms, s.value.to_bits()))
        .collect()
}

async fn append(intake: &MetricIntake, stream: u64, table: &EncodedTable, base: &BaseVector, values: &[f64]) {
    let chunk = MetricChunk { table, base, present: Presence::All, timestamps: Timestamps::Common(1000), values };
    intake.append(&MetricBatch { stream, chunks: vec![chunk] }).await.unwrap().durable().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_destination_gets_the_values_bit_for_bit() {
    let house = House::new(&["a", "b"]);
    let table = table("m", 5);
    let values = [1.5, -0.0, f64::from_bits(model::STALE_NAN_BITS), f64::INFINITY, 1e-300];
    let base = BaseVector::new(vec![1.0, 2.0, 3.0]);
    append(&house.intake(), 7, &table, &base, &values).await;
    for destination in ["a", "b"] {
        let claim = house.outlet(destination).next().await.unwrap();
        assert_eq!((claim.frame().stream, claim.frame().items), (7, 5));
        let expected: Vec<_> =
            (0..).zip(values).map(|(series, value): (u32, f64)| (series, 1000, value.to_bits())).collect();
        assert_eq!(samples(&claim), expected);
        let decoded = SeriesTable::decode(&claim.table_bytes(&claim.chunks[0].table).unwrap()).unwrap();
        assert_eq!(decoded.label_set(4).get("i"), Some("4"));
        claim.settle(Outcome::Delivered);
        assert_eq!(house.row(destination).delivered, 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_rejected_with_its_count_and_the_next_comes() {
    let house = House::new(&["a"]);
    house.append_raw(Kind::MetricBatch, b"\xffnonsense", 11).await;
    house.append_raw(Kind::LogBatch, b"lines", 13).await;
    house.append_raw(Kind::MetricBatch, b"", 17).await;
    append(&house.intake(), 7, &table("m", 3), &BaseVector::none(), &[1.0, 2.0, 3.0]).await;
    let mut outlet = house.outlet("a");
    let claim = outlet.next().await.unwrap();
    assert_eq!(claim.frame().items, 3);
    assert_eq!(outlet.unreadable(), 3);
    claim.settle(Outcome::Delivered);
    let row = house.row("a");
    assert_eq!((row.delivered, row.rejected, row.pending_items), (3, 41, 0));
    assert_eq!(row.rejected_by[&Reason::UNDECODABLE], 28);
    assert_eq!(row.rejected_by[&Reason::UNKNOWN_KIND], 13);
    assert!(row.balances());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_count_that_is_not_the_samples_is_not_believed() {
    let house = House::new(&["a"]);
    let table = table("m", 2);
    let chunk = MetricChunk {
        table: &table,
        base: &BaseVector::none(),
        present: Presence::All,
        timestamps: Timestamps::Common(1),
        values: &[1.0, 2.0],
    };
    let mut payload = Vec::new();
    MetricBatch { stream: 1, chunks: vec![chunk] }.encode(&mut payload);
    house.append_raw(Kind::MetricBatch, payload.leak(), 3).await;
    append(&house.intake(), 7, &table, &BaseVector::none(), &[1.0, 2.0]).await;
    let claim = house.outlet("a").next().await.unwrap();
    assert_eq!(claim.frame().items, 2);
    assert_eq!(house.row("a").rejected_by[&Reason::UNDECODABLE], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_is_dropped_comes_back_first() {
    let house = House::new(&["a"]);
    let table = table("m", 1);
    for value in [1.0, 2.0] {
        append(&house.intake(), 1, &table, &BaseVector::none(), &[value]).await;
    }
    let mut outlet = house.outlet("a");
    let (first, second) = (outlet.next().await.unwrap(), outlet.next().await.unwrap());
    let expected = samples(&first);
    drop(first);
    second.settle(Outcome::Delivered);
    assert_eq!(samples(&outlet.next().await.unwrap()), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn samples_come_out_in_the_order_in_which_they_went_in(
        batches in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 1..60)), 1..8),
        base in prop::collection::vec(any::<f64>(), 0..60),
        compress in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::new(&["a"]);
            let compression = if compress { Compression::WhereItHelps } else { Compression::Never };
            let intake = house.intake().with_compression(compression);
            let base = BaseVector::new(base);
            for (stream, values) in &batches {
                append(&intake, *stream, &table("m", values.len()), &base, values).await;
            }
            let mut outlet = house.outlet("a");
            for (stream, values) in &batches {
                let claim = outlet.next().await.unwrap();
                let expected: Vec<_> = (0..).zip(values).map(|(series, value): (u32, &f64)| (series, 1000, value.to_bits())).collect();
                assert_eq!((claim.frame().stream, samples(&claim)), (*stream, expected));
                claim.settle(Outcome::Delivered);
            }
            assert!(house.row("a").balances());
        });
    }
}
