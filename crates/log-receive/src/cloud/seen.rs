//! Remembers what was read already, within a stretch of time that is asked for again and again.
//!
//! Keeps true: bounded memory; the form in a mark is shorter than a mark may be. What does not fit is the oldest, and may be
//! read a second time.

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use xxhash_rust::xxh3::xxh3_64;

/// How far a source has read, and what it read near there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Horizon {
    /// Ms since the epoch; everything before it (less the overlap) was read.
    pub next_ms: i64,
    /// A name behind which everything is new, for sources whose names rise.
    pub after: String,
    seen: HashMap<u64, i64>,
}

const MOST: usize = 200_000;
/// Those of a mark: 8 bytes each, in base64, below 64 KiB.
const IN_MARK: usize = 4000;
const VERSION: &str = "v1";

impl Horizon {
    pub(super) fn new(next_ms: i64) -> Self {
        Self { next_ms, after: String::new(), seen: HashMap::new() }
    }

    /// From a mark's cursor.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ';');
        if parts.next()? != VERSION {
            return None;
        }
        let next_ms = parts.next()?.parse().ok()?;
        let packed = BASE64_STANDARD_NO_PAD.decode(parts.next()?).ok()?;
        let after = parts.next()?.to_owned();
        let (hashes, _) = packed.as_chunks::<8>();
        let seen = hashes.iter().map(|bytes| (u64::from_le_bytes(*bytes), next_ms)).collect();
        Some(Self { next_ms, after, seen })
    }

    /// For a mark's cursor.
    pub(super) fn text(&self) -> String {
        let mut newest: Vec<(i64, u64)> = self.seen.iter().map(|(hash, at)| (*at, *hash)).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        let packed: Vec<u8> = newest.iter().take(IN_MARK).flat_map(|(_, hash)| hash.to_le_bytes()).collect();
        format!("{VERSION};{};{};{}", self.next_ms, BASE64_STANDARD_NO_PAD.encode(packed), self.after)
    }

    /// True the first time.
    pub(super) fn is_new(&mut self, name: &str, at_ms: i64) -> bool {
        self.seen.insert(xxh3_64(name.as_bytes()), at_ms).is_none()
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.seen.contains_key(&xxh3_64(name.as_bytes()))
    }

    /// Everything up to `next_ms` was read. Forgets what is older than that and the overlap.
    pub(super) fn advance(&mut self, next_ms: i64, overlap_ms: i64) {
        self.next_ms = self.next_ms.max(next_ms);
        let oldest = self.next_ms.saturating_sub(overlap_ms);
        self.seen.retain(|_, at| *at >= oldest);
        if self.seen.len() > MOST {
            let mut times: Vec<i64> = self.seen.values().copied().collect();
            times.sort_unstable();
            let from = times.get(self.seen.len() - MOST).copied().unwrap_or(oldest);
            self.seen.retain(|_, at| *at >= from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_horizon_survives_its_mark() {
        let mut horizon = Horizon::new(1000);
        assert!(horizon.is_new("a", 990) && !horizon.is_new("a", 990));
        assert!(horizon.is_new("b", 400));
        horizon.after = "key;with;semicolons".into();
        horizon.advance(1200, 300);
        let back = Horizon::parse(&horizon.text()).unwrap();
        assert_eq!((back.next_ms, back.after.as_str()), (1200, "key;with;semicolons"));
        assert!(back.knows("a") && !back.knows("b"));
        for broken in ["", "v2;1;;", "v1;x;;", "v1;1;!;", "v1;1"] {
            assert_eq!(Horizon::parse(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_mark_stays_short_and_keeps_the_newest() {
        let mut horizon = Horizon::new(0);
        for n in 0..20_000 {
            horizon.is_new(&n.to_string(), n);
        }
        let text = horizon.text();
        assert!(text.len() < 48 << 10, "{}", text.len());
        let back = Horizon::parse(&text).unwrap();
        assert!(back.knows("19999") && !back.knows("0"));
    }
}
