//! The queue's files, by `docs/queue-format.md`: frame and segment headers, cursor slots, and whole segments in a directory.
//!
//! Each input is tried as it is and once more with right checksums, since nothing gets past those by chance.

use std::{path::Path, sync::OnceLock, time::Duration};

use queue::{DestinationSpec, LaneId, LaneSpec, MinFree, Outcome, Queue, QueueConfig, StartAt};

const SEGMENT_HEADER: usize = 128;
const FRAME_HEADER: usize = 64;
const SYNC: [u8; 4] = [0xf7, b'S', b'Q', 0x1b];
/// Offsets and item numbers from here on are damage.
const LIMIT: u64 = 1 << 62;

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Nonce (8), lane offset (8), then a frame header.
pub fn frame(data: &[u8]) {
    let (Some(nonce), Some(offset), Some(header)) = (u64_at(data, 0), u64_at(data, 8), data.get(16..)) else { return };
    let written_again = |header: &[u8]| {
        if let Some(again) = queue::fuzz::frame_header(header, nonce, offset) {
            assert_eq!(again, header[..FRAME_HEADER], "a frame header is not what it was read from");
        }
    };
    written_again(header);
    if let Some(header) = header.first_chunk::<FRAME_HEADER>() {
        let mut header = *header;
        seal_frame_header(&mut header, nonce, offset);
        written_again(&header);
    }
}

/// Sync word and checksum.
fn seal_frame_header(header: &mut [u8], nonce: u64, offset: u64) {
    header[..4].copy_from_slice(&SYNC);
    let mut covered = header[8..FRAME_HEADER].to_vec();
    covered.extend_from_slice(&nonce.to_le_bytes());
    covered.extend_from_slice(&offset.to_le_bytes());
    header[4..8].copy_from_slice(&crc32c::crc32c(&covered).to_le_bytes());
}

/// A segment's first 128 bytes.
pub fn segment_header(data: &[u8]) {
    assert_ne!(queue::fuzz::segment_header(data), Some(false), "a segment header changes when it is written again");
    if let Some(header) = data.first_chunk::<SEGMENT_HEADER>() {
        let mut header = *header;
        seal_segment_header(&mut header);
        assert_ne!(
            queue::fuzz::segment_header(&header),
            Some(false),
            "a segment header changes when it is written again"
        );
    }
}

/// Magic, version 1.0 and checksum.
fn seal_segment_header(header: &mut [u8]) {
    header[..12].copy_from_slice(b"SIGQSEG\n\x01\0\0\0");
    let crc = crc32c::crc32c(&header[..124]);
    header[124..128].copy_from_slice(&crc.to_le_bytes());
}

/// A slot, and the content of one.
pub fn cursor_slot(data: &[u8]) {
    let kept = |slot: &[u8]| {
        assert_ne!(queue::fuzz::cursor_slot(slot), Some(false), "a cursor slot changes when it is written again");
    };
    kept(data);
    kept(&sealed_slot(data, 7));
}

fn sealed_slot(content: &[u8], generation: u64) -> Vec<u8> {
    let size = (32 + content.len()).next_multiple_of(4096);
    let mut slot = b"SIGQCUR\n\x01\0\0\0".to_vec();
    slot.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
    slot.extend_from_slice(&generation.to_le_bytes());
    slot.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&slot), content);
    slot.extend_from_slice(&crc.to_le_bytes());
    slot.extend_from_slice(content);
    slot.resize(size, 0);
    slot
}

/// Flags (1): 1 right segment header, 2 right frame headers, 4 right bodies, 8 the file is there twice, the second naming the
/// first; then cursor content length (1, in units of 4 bytes), the content of a cursor slot, and a segment file. The queue
/// is opened over them, read to its end, closed, and opened again.
pub fn segment_scan(data: &[u8]) {
    let [flags, cursor, rest @ ..] = data else { return };
    if rest.len() > 64 << 10 {
        return;
    }
    let (content, segment) = rest.split_at(rest.len().min(usize::from(*cursor) * 4));
    let mut segment = segment.to_vec();
    if flags & 1 != 0 && segment.len() >= SEGMENT_HEADER {
        seal_segment_header(&mut segment);
    }
    if flags & 2 != 0 {
        seal_frames(&mut segment, flags & 4 != 0);
    }
    let base = u64_at(&segment, 24).unwrap_or(0);
    let Ok(directory) = tempfile::tempdir() else { return };
    let lane = directory.path().join("lanes/lane");
    let cursors = directory.path().join("cursors");
    let write = |path: &Path, bytes: &[u8]| std::fs::write(path, bytes).expect("the directory can be written to");
    for directory in [&lane, &cursors] {
        std::fs::create_dir_all(directory).expect("a directory can be made");
    }
    write(&lane.join(format!("{base:016x}.seg")), &segment);
    if flags & 8 != 0 && segment.len() >= SEGMENT_HEADER && base < LIMIT {
        let end = base.saturating_add((segment.len() - SEGMENT_HEADER) as u64).next_multiple_of(8);
        let next = end.next_multiple_of(4096);
        let mut second = segment.clone();
        let nonce = u64_at(&segment, 16).unwrap_or(0);
        for (at, number) in [(24, next), (40, base), (48, end), (56, nonce)] {
            second[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        seal_segment_header(&mut second);
        seal_frames(&mut second, true);
        write(&lane.join(format!("{next:016x}.seg")), &second);
    }
    if !content.is_empty() {
        write(&cursors.join("reader.cur"), &sealed_slot(content, 2));
    }
    let _ = queue::verify(directory.path());
    let first = read_to_the_end(directory.path(), data.len());
    if first.is_some() {
        assert_eq!(read_to_the_end(directory.path(), data.len()), Some(0), "what was settled comes again");
    }
    let verified = queue::verify(directory.path());
    assert!(first.is_none() || verified.is_ok(), "{verified:?}");
}

/// Makes the checksums of the frames right that lie one behind the other from the header on, as far as their lengths go.
fn seal_frames(segment: &mut [u8], bodies: bool) {
    let (Some(length), Some(nonce), Some(base)) = (u32_at(segment, 12), u64_at(segment, 16), u64_at(segment, 24))
    else {
        return;
    };
    let mut at = (length as usize).clamp(SEGMENT_HEADER, 4096);
    while let Some(stored) = u32_at(segment, at + 8).map(|n| n as usize)
        && segment.len() >= at + FRAME_HEADER
    {
        let body = at + FRAME_HEADER..at.saturating_add(FRAME_HEADER).saturating_add(stored);
        if bodies && let Some(body) = segment.get(body.clone()) {
            let crc = crc32c::crc32c(body);
            segment[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
        }
        let offset = base.wrapping_add((at - (length as usize).clamp(SEGMENT_HEADER, 4096)) as u64);
        if let Some(header) = segment.get_mut(at..at + FRAME_HEADER) {
            seal_frame_header(header, nonce, offset);
        }
        at = body.end.saturating_add(7) & !7;
    }
}

/// Opens the queue, settles everything in it, and closes it. How many claims there were; `None` if it refuses to open.
fn read_to_the_end(directory: &Path, input: usize) -> Option<usize> {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
    });
    let lane = LaneId::new("lane").expect("a good name");
    let mut config = QueueConfig::new(directory);
    config.max_bytes = 64 << 20;
    config.min_free = MinFree::NONE;
    let destination = DestinationSpec { start: StartAt::Oldest, ..DestinationSpec::new("reader", vec![lane.clone()]) };
    let (queue, _) = Queue::open(config, vec![LaneSpec::new(lane.clone())], vec![destination]).ok()?;
    let mut reader = queue.reader("reader", &lane).expect("it was configured");
    let mut claims = 0;
    while let Some(claim) = queue::fuzz::next_claim(&mut reader) {
        claims += 1;
        assert!(claims <= 2 * input / FRAME_HEADER, "more claims than the files can have frames");
        assert!(claim.payload().len() <= 64 << 20);
        let damaged = claim.contexts().to_vec().iter().any(|key| claim.context(key).is_err());
        claim.settle(if damaged { Outcome::Damaged } else { Outcome::Delivered });
    }
    drop(reader);
    let ledger = queue.ledger();
    assert!(ledger.rows.iter().all(|row| row.balances() && row.pending_items == 0), "{ledger:?}");
    let closed = runtime.block_on(queue.close(Duration::from_secs(20))).expect("it closes in time");
    assert!(closed.ledger.rows.iter().all(queue::LedgerRow::balances), "{closed:?}");
    Some(claims)
}
