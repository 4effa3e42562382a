//! Names of lanes: what a route's name becomes on disk.

use queue::{LaneId, QueueError};

/// `metrics-<route>`; a name that cannot be a directory's is made safe and told apart by a hash of the original.
pub fn metrics_lane(route: &str) -> Result<LaneId, QueueError> {
    lane("metrics", route)
}

/// `logs-<route>`, in the same way.
pub fn logs_lane(route: &str) -> Result<LaneId, QueueError> {
    lane("logs", route)
}

/// `traces-<route>`, in the same way.
pub fn traces_lane(route: &str) -> Result<LaneId, QueueError> {
    lane("traces", route)
}

/// `spans-<route>`: what was received for the processors of a route of traces.
pub fn spans_lane(route: &str) -> Result<LaneId, QueueError> {
    lane("spans", route)
}

/// The place in the queue of the processors that write to `lane`. No configured destination has such a name.
pub fn processors_name(lane: &LaneId) -> String {
    format!("{lane}/processors")
}

fn lane(signal: &str, route: &str) -> Result<LaneId, QueueError> {
    let safe = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-');
    if route.len() <= 100 && !route.is_empty() && route.chars().all(safe) {
        return LaneId::new(&format!("{signal}-{route}"));
    }
    let slug: String = route.to_lowercase().chars().map(|c| if safe(c) { c } else { '-' }).take(80).collect();
    LaneId::new(&format!("{signal}-{slug}-{:08x}", fnv1a(route.as_bytes())))
}

/// FNV-1a, 32 bits.
pub fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay_and_odd_ones_stay_apart() {
        let name = |route| metrics_lane(route).unwrap().to_string();
        assert_eq!(name("default"), "metrics-default");
        assert_ne!(name("Default"), name("default"));
        assert_ne!(name("a/b"), name("a b"));
        assert!(name("Ünï/../code").starts_with("metrics-"));
        assert_eq!(logs_lane("default").unwrap().to_string(), "logs-default");
    }
}
