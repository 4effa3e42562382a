//! A Zipkin span as all its forms have it.

use proto::otlp_traces::SpanKind;

#[derive(Debug, Default)]
pub(super) struct ZipkinSpan {
    pub trace_id: [u8; 16],
    pub id: [u8; 8],
    pub parent: Option<[u8; 8]>,
    pub kind: Option<SpanKind>,
    pub name: String,
    /// Microseconds since the epoch.
    pub timestamp: Option<u64>,
    /// Microseconds.
    pub duration: u64,
    pub local: Endpoint,
    pub remote: Endpoint,
    pub annotations: Vec<(u64, String)>,
    pub tags: Vec<(String, String)>,
    pub debug: bool,
    pub shared: bool,
}

/// Empty texts and zeros are absent.
#[derive(Debug, Default, Clone)]
pub(super) struct Endpoint {
    pub service: String,
    pub ipv4: String,
    pub ipv6: String,
    pub port: u16,
}

/// 1 to 32 hex digits, not all zero; shorter ones are the low half.
pub(super) fn trace_id(text: &str) -> Result<[u8; 16], &'static str> {
    let digits = text.as_bytes();
    if digits.is_empty() || digits.len() > 32 {
        return Err("a span's traceId is not 1 to 32 hex digits");
    }
    hex_id(digits).ok_or("a span's traceId is not 1 to 32 hex digits, or zero")
}

/// 1 to 16 hex digits, not all zero.
pub(super) fn span_id(text: &str) -> Result<[u8; 8], &'static str> {
    let digits = text.as_bytes();
    if digits.is_empty() || digits.len() > 16 {
        return Err("a span's id or parentId is not 1 to 16 hex digits");
    }
    hex_id(digits).ok_or("a span's id or parentId is not 1 to 16 hex digits, or zero")
}

/// Padded with zeros in front.
fn hex_id<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut padded = [b'0'; 32];
    let padded = padded.get_mut(..2 * N)?;
    padded.get_mut((2 * N).checked_sub(digits.len())?..)?.copy_from_slice(digits);
    let mut id = [0; N];
    hex::decode_to_slice(padded, &mut id).ok()?;
    (id != [0; N]).then_some(id)
}

/// `CLIENT` and the like.
pub(super) fn kind(word: &str) -> Option<SpanKind> {
    match word {
        "CLIENT" => Some(SpanKind::Client),
        "SERVER" => Some(SpanKind::Server),
        "PRODUCER" => Some(SpanKind::Producer),
        "CONSUMER" => Some(SpanKind::Consumer),
        _ => None,
    }
}
