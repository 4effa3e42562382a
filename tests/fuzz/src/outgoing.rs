//! Received OTLP on its way out: cut into requests, and made segment documents.
//!
//! What passed the receiver's check must come out in parts that hold every item once and pass the same check, and every span
//! must be valid JSON within X-Ray's limit, or refused.

use model::otlp::{Signal, check};

/// The first byte says the signal, the second how many items a request takes, the third how many times 16 bytes.
pub fn otlp_outgoing(data: &[u8]) {
    let Some(([signal, items, bytes], request)) = data.split_first_chunk::<3>() else { return };
    let signal = [Signal::Traces, Signal::Metrics, Signal::Logs][usize::from(signal % 3)];
    let Ok(count) = check(signal, request) else { return };
    let (items, bytes) = (usize::from(*items).max(1), usize::from(*bytes) * 16 + 1);
    let mut sum = 0;
    for (of_part, part) in remote_write::fuzz::parts(signal, request, count, items, bytes) {
        assert_eq!(check(signal, &part).ok(), Some(of_part), "a part is no request");
        assert!(
            of_part as usize <= items.max(1) || of_part == count,
            "a part has {of_part} items, {items} are allowed"
        );
        sum += of_part;
    }
    assert_eq!(sum, count, "items were lost or doubled");
    if signal == Signal::Traces {
        for document in remote_write::fuzz::documents(request) {
            assert!(document.len() <= 64_000, "a document has {} bytes", document.len());
            let json: serde_json::Value = serde_json::from_str(&document).expect("a document is JSON");
            assert!(json["name"].as_str().is_some_and(|name| !name.is_empty() && name.len() <= 200));
        }
    }
}
