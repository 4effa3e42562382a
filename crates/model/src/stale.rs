//! The two NaNs that mean something in Prometheus (`model/value` there).

/// "This series ended": only ever written by a scraper, never parsed from text.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// What `NaN` in an exposition becomes.
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

pub fn stale_marker() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}
