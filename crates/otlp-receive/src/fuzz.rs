//! Doors for the fuzz targets: what they reach is not public otherwise.

use model::otlp::{Signal, check, count};

use crate::{
    ExponentialForm, jaeger,
    refusal::Refusal,
    room::BodyRoom,
    sheaf::Sheaf,
    unpack::{Packing, unpack},
    zipkin,
};

const LIMIT: usize = 1 << 20;

/// Protobuf of each signal: counts agree, groups are requests.
pub fn protobuf(bytes: &[u8]) {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        if let Ok(items) = check(signal, bytes) {
            assert!(count(signal, bytes).is_ok_and(|quick| quick == items), "the quick count differs");
            let groups = model::otlp::resource_groups(signal, bytes);
            let sum: u64 = groups.map(|group| group.map_or(u64::MAX / 2, |group| u64::from(group.items))).sum();
            assert_eq!(sum, u64::from(items), "the groups hold all");
        }
    }
}

/// JSON of each signal: what comes out is a request, or a refusal.
pub fn json(bytes: &[u8]) {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        if let Ok(message) = crate::json::translate(signal, bytes) {
            // Ids of a wrong length are all that can be wrong with it.
            if let Err(error) = check(signal, &message) {
                assert!(error.to_string().contains(" id: "), "{error}");
            }
        }
    }
}

/// The first byte chooses the packing.
pub fn packed(bytes: &[u8]) {
    let Some((first, packed)) = bytes.split_first() else { return };
    let packing = match first % 3 {
        0 => Packing::Gzip,
        1 => Packing::Deflate,
        _ => Packing::Zstd,
    };
    let room = BodyRoom::new(4 * LIMIT);
    if let Ok(whole) = unpack(packed, packing, LIMIT, &mut room.hold()) {
        assert!(whole.len() <= LIMIT);
    }
}

/// What becomes of spans of other protocols is a request of as many spans as were counted.
fn spans(read: impl FnOnce(&mut Sheaf<'_>) -> Result<(), Refusal>) {
    let room = BodyRoom::new(64 << 20);
    let mut held = room.hold();
    let mut sheaf = Sheaf::new(&mut held);
    if read(&mut sheaf).is_ok() {
        for cut in sheaf.finish().unwrap_or_default() {
            assert!(check(Signal::Traces, cut.request.body()).is_ok_and(|spans| spans == cut.spans), "no request");
        }
    }
}

/// The first byte says whether tags are parsed.
pub fn zipkin(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let parse = first % 2 == 1;
    spans(|sheaf| zipkin::read_v2(body, parse, sheaf));
    spans(|sheaf| zipkin::read_v1(body, parse, sheaf));
    spans(|sheaf| zipkin::read_protobuf(body, parse, sheaf));
}

/// Everything that a Jaeger client sends.
pub fn jaeger(bytes: &[u8]) {
    spans(|sheaf| jaeger::read_binary_batch(bytes, sheaf));
    spans(|sheaf| jaeger::read_datagram(bytes, jaeger::Protocol::Binary, sheaf));
    spans(|sheaf| jaeger::read_datagram(bytes, jaeger::Protocol::Compact, sheaf));
    spans(|sheaf| jaeger::read_request(bytes, sheaf));
}

/// What passes the receiver's check is translated without a panic, and no more points come out than went in.
pub fn translate(bytes: &[u8]) {
    if let Ok(items) = check(Signal::Metrics, bytes) {
        for form in [ExponentialForm::Bounds, ExponentialForm::Native, ExponentialForm::Both] {
            let all = otlp_translate::MetricTranslator::new(form).translate(bytes, 1).unwrap_or_default();
            let counted = all.points + all.rejected.values().sum::<u64>();
            assert!(counted <= u64::from(items), "{counted} of {items}");
            let natively: u64 = all.histograms.iter().map(|batch| u64::from(batch.borrowed().items())).sum();
            assert!(natively <= all.points, "{natively} native histograms of {} points", all.points);
        }
    }
    if let Ok(items) = check(Signal::Logs, bytes) {
        let (batches, rejected) = otlp_translate::log_lines(bytes, 1).unwrap_or_default();
        let lines: u64 = batches.iter().map(|batch| u64::from(batch.items())).sum();
        assert!(lines + rejected <= u64::from(items), "{lines} of {items}");
    }
}
