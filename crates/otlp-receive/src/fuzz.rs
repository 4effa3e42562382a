//! Doors for the fuzz targets: what they reach is not public otherwise.

use model::otlp::{Signal, check, count};

use crate::{
    room::BodyRoom,
    unpack::{Packing, unpack},
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
