//! OTLP requests in through an intake, out through an outlet, with a real queue in between.

use std::time::Duration;

use bytes::Bytes;
use model::otlp::Signal;
use pipeline::{OtlpBuffer, OtlpIntake, OtlpOutlet, Outcome};
use queue::{
    Codec, DestinationSpec, Durability, Kind, LaneId, LaneSpec, MinFree, OnFull, Queue, QueueConfig, Reason, Record,
};

fn open(directory: &std::path::Path, max_bytes: u64, on_full: OnFull) -> (Queue, LaneId) {
    let lane = LaneId::new("traces-default").unwrap();
    let config = QueueConfig {
        max_bytes,
        min_free: MinFree::NONE,
        commit_interval: Duration::from_millis(5),
        ..QueueConfig::new(directory)
    };
    let destinations = vec![DestinationSpec { on_full, ..DestinationSpec::new("tempo", vec![lane.clone()]) }];
    let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], destinations).unwrap();
    (queue, lane)
}

/// `ResourceSpans` with one scope and so many spans, each a name of `filler` bytes.
fn request(spans: usize, filler: usize) -> Vec<u8> {
    let field = |tag: u8, body: &[u8]| {
        let mut out = vec![tag << 3 | 2];
        let mut len = body.len();
        while len >= 0x80 {
            out.push((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend_from_slice(body);
        out
    };
    let span = field(2, &field(5, &vec![b'x'; filler]));
    field(1, &field(2, &span.repeat(spans)))
}

fn buffer(request: &[u8]) -> OtlpBuffer {
    let mut buffer = OtlpBuffer::with_capacity(request.len());
    buffer.extend(request);
    buffer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_receipt_resolved_comes_out_byte_for_byte_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (queue, lane) = open(directory.path(), 64 << 20, OnFull::Evict);
    let intake = OtlpIntake::new(queue.appender(&lane).unwrap());
    let sent = [(Signal::Traces, request(3, 10)), (Signal::Logs, request(1, 400)), (Signal::Traces, request(2, 0))];
    for (signal, request) in &sent {
        let items = model::otlp::check(*signal, request).unwrap();
        intake.append(*signal, buffer(request), items, 1).await.unwrap().durable().await.unwrap();
    }
    drop(intake);
    queue.close(Duration::from_secs(5)).await.unwrap();

    let (queue, lane) = open(directory.path(), 64 << 20, OnFull::Evict);
    let mut outlet = OtlpOutlet::new(queue.reader("tempo", &lane).unwrap());
    for (signal, request) in &sent {
        let claim = outlet.next().await.unwrap();
        assert_eq!((claim.signal(), claim.body()), (*signal, request.as_slice()));
        assert_eq!(claim.bytes(), request);
        claim.settle(Outcome::Delivered);
    }
    assert_eq!(outlet.unreadable(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_booked_as_rejected_and_the_next_request_comes() {
    let directory = tempfile::tempdir().unwrap();
    let (queue, lane) = open(directory.path(), 64 << 20, OnFull::Evict);
    let appender = queue.appender(&lane).unwrap();
    let versioned = |version: u8, request: &[u8]| [&[version], request].concat();
    for (kind, payload, items) in [
        (Kind::MetricBatch, versioned(1, &request(2, 1)), 2),
        (Kind::OtlpTraces, versioned(2, &request(3, 1)), 3),
        (Kind::OtlpTraces, versioned(1, &request(4, 1)), 5),
        (Kind::OtlpTraces, Vec::new(), 7),
    ] {
        let raw_len = payload.len() as u32;
        let (codec, payload, contexts) = (Codec::None, Bytes::from(payload), Vec::new());
        let record = Record { kind, codec, stream: 1, items, raw_len, payload, contexts };
        appender.append(record, Durability::Now).await.unwrap().durable().await.unwrap();
    }
    let intake = OtlpIntake::new(appender);
    intake.append(Signal::Traces, buffer(&request(1, 1)), 1, 1).await.unwrap();
    let mut outlet = OtlpOutlet::new(queue.reader("tempo", &lane).unwrap());
    let claim = outlet.next().await.unwrap();
    assert_eq!(claim.body(), request(1, 1));
    claim.settle(Outcome::Delivered);
    assert_eq!(outlet.unreadable(), 4);
    let row = queue.ledger().rows.into_iter().find(|row| row.destination == "tempo").unwrap();
    let rejected = |reason: &Reason| row.rejected_by.get(reason).copied();
    assert_eq!(rejected(&Reason::UNKNOWN_KIND), Some(2));
    assert_eq!(rejected(&Reason::UNDECODABLE), Some(15));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_must_hold_is_full_at_once_and_takes_again_what_fits_later() {
    let directory = tempfile::tempdir().unwrap();
    let (queue, lane) = open(directory.path(), 4 << 20, OnFull::Hold);
    let intake = OtlpIntake::new(queue.appender(&lane).unwrap());
    let body = request(100, 2000);
    let mut appended = 0;
    // The record that finds no room waits in memory; from then on the lane says that it is full.
    let waiting = loop {
        let mut durable = Box::pin(intake.append(Signal::Traces, buffer(&body), 100, 1).await.unwrap().durable());
        appended += 1;
        assert!(appended < 1000, "4 MiB do not hold this");
        let stalled = async {
            while !intake.is_stalled() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            done = &mut durable => done.unwrap(),
            () = stalled => break durable,
        }
    };
    let refused = intake.append(Signal::Traces, buffer(&body), 100, 1).await.unwrap_err();
    assert!(refused.is_full() && !refused.is_closed(), "{refused}");
    let mut outlet = OtlpOutlet::new(queue.reader("tempo", &lane).unwrap());
    for _ in 1..appended {
        outlet.next().await.unwrap().settle(Outcome::Delivered);
    }
    waiting.await.unwrap();
    while intake.is_stalled() {
        tokio::task::yield_now().await;
    }
    let receipt = intake.append(Signal::Traces, buffer(&body), 100, 1).await.unwrap();
    receipt.durable().await.unwrap();
}
