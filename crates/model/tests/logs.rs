//! Log batches through the public face: every line comes back, in order, with its stream, its time and its metadata.

use model::{FileMark, Labels, LogBatch, LogBatchView, LogEntries, MAX_LOG_BATCH, ModelError, SourceMark, read_marks};
use proptest::prelude::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

type Line = (usize, i64, String, Vec<(String, String)>);

fn any_line() -> impl Strategy<Value = Line> {
    let time = prop_oneof![Just(0i64), any::<i64>(), 1_700_000_000_000_000_000i64..1_800_000_000_000_000_000];
    let meta = proptest::collection::vec(("[a-z]{1,4}", ".{0,6}"), 0..3);
    (0usize..4, time, ".{0,40}", meta)
}

fn lines_of(payload: &[u8]) -> Vec<Line> {
    let view = LogBatchView::decode(payload).unwrap();
    let mut all = Vec::new();
    for stream in &view.streams {
        let mut raw = Vec::new();
        stream.unpack(&mut raw).unwrap();
        stream.check(&raw).unwrap();
        assert_eq!(raw.len(), stream.raw_len);
        let number: usize = stream.labels.get("s").unwrap().parse().unwrap();
        let places: Vec<u64> = match stream.places() {
            Some(places) => places.collect(),
            None => (0..u64::from(stream.count)).collect(),
        };
        let mut times = Vec::new();
        for (place, entry) in places.iter().zip(LogEntries::new(&raw)) {
            let entry = entry.unwrap();
            times.push(entry.timestamp_ns);
            let meta = entry.metadata().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            all.push((*place, (number, entry.timestamp_ns, entry.line.to_owned(), meta)));
        }
        assert_eq!((times.iter().min(), times.iter().max()), (Some(&stream.first_ns), Some(&stream.last_ns)));
    }
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, line)| line).collect()
}

fn encoded(batch: &mut LogBatch, lines: &[Line]) -> Vec<u8> {
    batch.clear();
    for (number, time, line, meta) in lines {
        let stream = batch.stream(&labels(&[("job", "x"), ("s", &number.to_string())])).unwrap();
        let meta: Vec<(&str, &str)> = meta.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        batch.push(stream, *time, line.as_bytes(), &meta).unwrap();
    }
    let mut out = Vec::new();
    batch.encode(&mut out).unwrap();
    out
}

proptest! {
    #[test]
    fn every_line_comes_back_in_the_order_in_which_it_came(
        first in proptest::collection::vec(any_line(), 0..60),
        second in proptest::collection::vec(any_line(), 0..60),
    ) {
        let mut batch = LogBatch::new();
        for lines in [first, second] {
            let payload = encoded(&mut batch, &lines);
            prop_assert_eq!(batch.items() as usize, lines.len());
            prop_assert_eq!(lines_of(&payload), lines);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_allocate_without_bound(
        lines in proptest::collection::vec(any_line(), 0..20),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut: prop::sample::Index,
    ) {
        let mut payload = encoded(&mut LogBatch::new(), &lines);
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        payload.truncate(cut.index(payload.len() + 1));
        let _ = read_marks(&payload);
        if let Ok(view) = LogBatchView::decode(&payload) {
            let mut raw = Vec::new();
            for stream in &view.streams {
                if stream.unpack(&mut raw).is_ok() {
                    let _ = stream.check(&raw);
                    for entry in LogEntries::new(&raw).flatten() {
                        entry.metadata().for_each(drop);
                    }
                }
                if let Some(places) = stream.places() { places.for_each(drop); }
            }
        }
    }
}

#[test]
fn blocks_of_several_batches_join_to_one_block() {
    let mut raw_len = 0;
    let mut elements = Vec::new();
    let mut expected = Vec::new();
    let mut batch = LogBatch::new();
    for round in 0..3 {
        batch.clear();
        let stream = batch.stream(&labels(&[("job", "x")])).unwrap();
        for n in 0..5000 {
            batch
                .push(stream, n, format!("round {round} line {n} of a log that repeats itself").as_bytes(), &[])
                .unwrap();
        }
        let mut payload = Vec::new();
        batch.encode(&mut payload).unwrap();
        let view = LogBatchView::decode(&payload).unwrap();
        raw_len += view.streams[0].raw_len;
        elements.extend_from_slice(view.streams[0].elements);
        let mut raw = Vec::new();
        view.streams[0].unpack(&mut raw).unwrap();
        expected.extend(raw);
    }
    let mut block = Vec::new();
    let mut left = raw_len;
    while left >= 0x80 {
        block.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    block.push(left as u8);
    block.extend(elements);
    assert_eq!(snap::raw::Decoder::new().decompress_vec(&block).unwrap(), expected);
}

#[test]
fn an_entry_is_what_the_loki_api_says() {
    let mut batch = LogBatch::new();
    let stream = batch.stream(&labels(&[("job", "x")])).unwrap();
    batch.push(stream, 3_000_000_005, b"hi", &[("k", "v")]).unwrap();
    let mut payload = Vec::new();
    batch.encode(&mut payload).unwrap();
    let view = LogBatchView::decode(&payload).unwrap();
    let mut raw = Vec::new();
    view.streams[0].unpack(&mut raw).unwrap();
    let expected = b"\x12\x12\x0a\x04\x08\x03\x10\x05\x12\x02hi\x1a\x06\x0a\x01k\x12\x01v";
    assert_eq!(raw, expected);
}

#[test]
fn marks_stand_first_and_the_last_of_a_source_wins() {
    let mut batch = LogBatch::new();
    let file = FileMark { device: 1, inode: u64::MAX, head: 7, head_len: 1024, offset: 1 << 40 };
    batch.mark(SourceMark {
        key: "/var/log/a".into(),
        cursor: String::new(),
        file: Some(FileMark { offset: 1, ..file }),
    });
    batch.mark(SourceMark { key: "cursor-journal".into(), cursor: "s=1;i=2".into(), file: None });
    batch.mark(SourceMark { key: "/var/log/a".into(), cursor: String::new(), file: Some(file) });
    let mut payload = Vec::new();
    batch.encode(&mut payload).unwrap();
    let marks = read_marks(&payload).unwrap();
    assert_eq!(marks.len(), 2);
    assert_eq!(marks[0].file, Some(file));
    assert_eq!(marks[1].cursor, "s=1;i=2");
    assert_eq!(LogBatchView::decode(&payload).unwrap().items(), 0, "a position may move without a line");
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let mut batch = LogBatch::new();
    let stream = batch.stream(&labels(&[("s", "0")])).unwrap();
    batch.push(stream, 1, b"ok\xff\xfe\0end", &[]).unwrap();
    let mut payload = Vec::new();
    batch.encode(&mut payload).unwrap();
    assert_eq!(lines_of(&payload)[0].2, "ok\u{fffd}\u{fffd}\0end");
}

#[test]
fn a_full_batch_says_so_and_loses_nothing() {
    let mut batch = LogBatch::new();
    let stream = batch.stream(&labels(&[("s", "0")])).unwrap();
    let line = vec![b'x'; 1 << 20];
    let mut taken = 0;
    while batch.has_room(line.len()) {
        batch.push(stream, 1, &line, &[]).unwrap();
        taken += 1;
    }
    assert!(matches!(batch.push(stream, 1, &line, &[]), Err(ModelError::TooLarge { .. })));
    assert_eq!(taken, batch.items());
    assert!(batch.bytes() <= MAX_LOG_BATCH);
    let mut payload = Vec::new();
    batch.encode(&mut payload).unwrap();
    assert_eq!(lines_of(&payload).len(), taken as usize);
}

#[test]
fn a_label_set_of_absurd_size_is_refused() {
    let huge: Labels = (0..5000).map(|n| (format!("l{n}"), "v")).collect();
    assert!(matches!(LogBatch::new().stream(&huge), Err(ModelError::SeriesTooLarge { labels: 5000, .. })));
}
