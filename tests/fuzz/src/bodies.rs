//! Remote-write bodies: as the sandbox reads them, and as a replay takes them apart.

use prost::Message;
use proto::remote_write::WriteRequest;

const LIMIT: usize = 1 << 20;

/// A body, as it is (snappy) and as what a snappy block holds.
pub fn remote_write(data: &[u8]) {
    if let Some(counts) = sandbox::fuzz::write_request(data, LIMIT) {
        let raw = snap::raw::Decoder::new().decompress_vec(data).expect("it was decompressed before");
        assert!(raw.len() <= LIMIT);
        agrees(counts, &raw);
    }
    if let Some(counts) = sandbox::fuzz::raw_write_request(data) {
        agrees(counts, data);
        let packed = snap::raw::Encoder::new().compress_vec(data).expect("it is small");
        if data.len() <= LIMIT {
            assert_eq!(sandbox::fuzz::write_request(&packed, LIMIT), Some(counts));
        }
    }
}

/// The sandbox's own reader and prost count the same.
fn agrees(counts: sandbox::fuzz::WriteCounts, raw: &[u8]) {
    assert_eq!(counts.samples, counts.seen_again, "the samples counted are not those that are shown");
    let Ok(request) = WriteRequest::decode(raw) else { return };
    let samples: usize = request.timeseries.iter().map(|series| series.samples.len()).sum();
    assert_eq!((counts.series, counts.samples), (request.timeseries.len() as u64, samples as u64), "{request:?}");
}

/// An object of an S3 destination. Its entries, put together, are the series of the whole.
pub fn replay_object(data: &[u8]) {
    let packed = snap::raw::Encoder::new().compress_vec(data).expect("it is small");
    for object in [data, &packed] {
        let Some(entries) = remote_write::fuzz::entries(object) else { continue };
        let whole: Vec<u8> = entries.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
        let raw = snap::raw::Decoder::new().decompress_vec(object).expect("it was decompressed before");
        let Ok(all) = WriteRequest::decode(&raw[..]) else { continue };
        let again = WriteRequest::decode(&whole[..]).expect("a range of fields is a message");
        // Text, since NaN is not equal to itself.
        assert_eq!(format!("{:?}", again.timeseries), format!("{:?}", all.timeseries));
        assert_eq!(again.timeseries.len(), entries.len());
        for (series, (_, counted)) in again.timeseries.iter().zip(&entries) {
            // Histograms count as well, and are not in this reader's schema.
            assert!(*counted >= series.samples.len().max(1) as u64, "{counted}: {series:?}");
        }
    }
}
