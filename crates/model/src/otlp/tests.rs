//! Counts, checks and cuts of requests made by hand.

use proptest::prelude::*;

use super::*;

/// A field of wire type 2.
fn bytes(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    crate::wire::put_varint(&mut out, u64::from(tag << 3 | 2));
    crate::wire::put_len(&mut out, value.len());
    out.extend_from_slice(value);
    out
}

fn varint(tag: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    crate::wire::put_varint(&mut out, u64::from(tag << 3));
    crate::wire::put_varint(&mut out, value);
    out
}

fn fixed64(tag: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    crate::wire::put_varint(&mut out, u64::from(tag << 3 | 1));
    out.extend_from_slice(&value.to_le_bytes());
    out
}

fn attribute(key: &str, value: &[u8]) -> Vec<u8> {
    [bytes(1, key.as_bytes()), bytes(2, value)].concat()
}

fn span(name: &str) -> Vec<u8> {
    [
        bytes(1, &[1; 16]),
        bytes(2, &[2; 8]),
        bytes(5, name.as_bytes()),
        varint(6, 2),
        fixed64(7, 1_700_000_000_000_000_000),
        bytes(9, &attribute("k", &bytes(1, b"v"))),
        bytes(11, &[fixed64(1, 1), bytes(2, b"event")].concat()),
        bytes(15, &varint(3, 1)),
    ]
    .concat()
}

/// A request of groups with so many items each, all in one scope.
fn request(item: &[u8], groups: &[usize]) -> Vec<u8> {
    let group = |items: &usize| {
        let scope = bytes(2, &bytes(2, item).repeat(*items));
        bytes(1, &[bytes(1, &bytes(1, &attribute("service.name", &bytes(1, b"shop")))), scope].concat())
    };
    groups.iter().flat_map(group).collect()
}

fn metrics() -> Vec<u8> {
    let number = bytes(1, &[fixed64(3, 1), fixed64(4, 2), bytes(7, &attribute("a", &varint(3, 1)))].concat());
    let histogram = bytes(1, &[fixed64(4, 3), bytes(6, &[0; 16]), bytes(7, &[0; 8])].concat());
    let exponential =
        bytes(1, &[varint(6, 3), bytes(8, &[varint(1, 2), bytes(2, &[1, 2, 0x80, 1])].concat())].concat());
    let summary = bytes(1, &bytes(6, &[fixed64(1, 0), fixed64(2, 0)].concat()));
    let metrics = [
        [bytes(1, b"g"), bytes(5, &number.repeat(2))].concat(),
        [bytes(1, b"s"), bytes(7, &[number, varint(2, 2), varint(3, 1)].concat())].concat(),
        [bytes(1, b"h"), bytes(9, &histogram)].concat(),
        [bytes(1, b"e"), bytes(10, &exponential)].concat(),
        [bytes(1, b"q"), bytes(11, &summary)].concat(),
    ];
    bytes(1, &bytes(2, &metrics.iter().flat_map(|metric| bytes(2, metric)).collect::<Vec<_>>()))
}

fn refusal(signal: Signal, request: &[u8]) -> String {
    check(signal, request).unwrap_err().to_string()
}

#[test]
fn items_are_counted_in_every_signal() {
    let traces = request(&span("GET /"), &[3, 0, 2]);
    assert_eq!(check(Signal::Traces, &traces).unwrap(), 5);
    assert_eq!(count(Signal::Traces, &traces).unwrap(), 5);
    let record = [fixed64(1, 1), bytes(5, &bytes(1, b"line")), bytes(9, &[])].concat();
    assert_eq!(check(Signal::Logs, &request(&record, &[4])).unwrap(), 4);
    assert_eq!(check(Signal::Metrics, &metrics()).unwrap(), 6);
    assert_eq!(count(Signal::Metrics, &metrics()).unwrap(), 6);
    assert_eq!(check(Signal::Metrics, &[]).unwrap(), 0);
}

#[test]
fn groups_joined_again_are_the_request() {
    let traces = request(&span("x"), &[1, 2, 3]);
    let groups: Vec<_> = resource_groups(Signal::Traces, &traces).map(Result::unwrap).collect();
    assert_eq!(groups.iter().map(|group| group.items).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(groups.iter().flat_map(|group| group.raw.to_vec()).collect::<Vec<_>>(), traces);
    let parts: Vec<u32> = groups.iter().map(|group| check(Signal::Traces, group.raw).unwrap()).collect();
    assert_eq!(parts, [1, 2, 3], "each is a request by itself");
}

#[test]
fn unknown_fields_are_skipped_and_known_ones_have_their_type() {
    let span = [span("x"), bytes(99, b"\xff"), varint(98, 7)].concat();
    assert_eq!(check(Signal::Traces, &request(&span, &[1])).unwrap(), 1);
    let wrong = [span, bytes(7, b"soon")].concat();
    let told = refusal(Signal::Traces, &request(&wrong, &[1]));
    assert_eq!(told, "reading a span: a field has another type than OTLP gives it");
}

#[test]
fn a_refusal_names_the_innermost_message() {
    let of = |item: &[u8]| refusal(Signal::Traces, &request(item, &[1]));
    assert_eq!(of(&bytes(1, &[1; 15])), "reading a trace id: it does not have 16 bytes");
    assert_eq!(of(&bytes(4, &[1; 16])), "reading a span id: it does not have 8 bytes");
    assert_eq!(of(&bytes(5, b"\xff")), "reading a span: a text is not UTF-8");
    assert_eq!(of(&bytes(11, &[0x0a, 5, b'x'])), "reading a span's event: the bytes end too early");
    assert_eq!(of(&[0x0b]), "reading a span: a field has a wire type that OTLP does not use");
    assert_eq!(of(&[0x02, 0]), "reading a span: a field has no valid number");
    let whole = request(&span("x"), &[2]);
    let cut = whole.get(..whole.len() - 1).unwrap();
    assert_eq!(refusal(Signal::Traces, cut), "reading a traces request: the bytes end too early");
    assert_eq!(
        refusal(Signal::Logs, b"{\"resourceLogs\":[]}"),
        "reading a logs request: a field has a wire type that OTLP does not use"
    );
}

#[test]
fn values_nested_too_deeply_are_refused_and_ordinary_nesting_is_not() {
    let nested = |levels: usize| {
        let value = (0..levels).fold(bytes(1, b"v"), |inner, _| bytes(5, &bytes(1, &inner)));
        request(&bytes(9, &attribute("k", &value)), &[1])
    };
    assert_eq!(check(Signal::Traces, &nested(40)).unwrap(), 1);
    let told = refusal(Signal::Traces, &nested(60));
    assert!(told.contains("nested too deeply"), "{told}");
    assert!(check(Signal::Traces, &nested(5_000)).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_counted_or_refused(noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
            if let Ok(items) = check(signal, &noise) {
                prop_assert_eq!(count(signal, &noise).unwrap(), items, "the quick count agrees");
            }
            let _ = resource_groups(signal, &noise).count();
        }
    }

    #[test]
    fn a_flipped_byte_never_panics_and_counts_agree(at in 0usize..400, bit in 0u32..8) {
        for (signal, whole) in [(Signal::Traces, request(&span("GET /cart"), &[2, 1])), (Signal::Metrics, metrics())] {
            let mut bytes = whole;
            let len = bytes.len();
            bytes[at % len] ^= 1 << bit;
            match check(signal, &bytes) {
                Ok(items) => prop_assert_eq!(count(signal, &bytes).unwrap(), items),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}

#[test]
fn footprints_bound_what_decoding_takes_and_texts_are_texts() {
    let within = |number: u8, inner: &[u8]| {
        let mut out = vec![number << 3 | 2];
        let mut len = inner.len();
        while len > 0x7f {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend(inner);
        out
    };
    // Ten thousand empty points of a gauge, two bytes each.
    let points = within(1, &within(2, &within(2, &within(5, &[1 << 3 | 2, 0].repeat(10_000)))));
    assert!(points.len() < 21_000 && footprint(Signal::Metrics, &points) > 10_000 * 64);
    // Packed counts of an exponential histogram: a byte each.
    let counts = within(1, &within(2, &within(2, &within(10, &within(1, &within(8, &within(2, &[1; 10_000])))))));
    assert!(footprint(Signal::Metrics, &counts) > 10_000 * 8);
    // Spans whose names look like fields of messages take what their names take.
    let spans = within(1, &within(2, &within(2, &within(5, &[b'x'; 400])).repeat(1000)));
    let found = footprint(Signal::Traces, &spans);
    assert!(found > spans.len() && found < 2 * spans.len(), "{found} of {}", spans.len());
    for odd in [&[0xff; 100][..], &[1 << 3 | 2, 0x7f, 1], &[]] {
        assert!(footprint(Signal::Logs, odd) < 400, "{odd:?}");
    }
}
