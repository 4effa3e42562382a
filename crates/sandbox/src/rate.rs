//! How many per second, lately: one bucket for each of the last five minutes' seconds.

const SECONDS: usize = 300;

/// A ring of per-second counts.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    counts: Vec<u64>,
    /// The second that was counted last.
    last: i64,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; SECONDS], last: 0 }
    }

    pub(crate) fn add(&mut self, now_ms: i64, count: u64) {
        let second = now_ms.div_euclid(1000);
        self.forget_until(second);
        if self.last.saturating_sub(second) < SECONDS as i64
            && let Some(bucket) = self.counts.get_mut(slot(second))
        {
            *bucket = bucket.saturating_add(count);
        }
    }

    /// The average over the last `window` full seconds (at most five minutes).
    pub(crate) fn per_second(&self, now_ms: i64, window: i64) -> f64 {
        let window = window.clamp(1, SECONDS as i64 - 1);
        let end = now_ms.div_euclid(1000);
        let sum: u64 = (end - window..end).map(|second| self.at(second)).sum();
        sum as f64 / window as f64
    }

    /// `points` averages that cover the last five minutes, oldest first.
    pub(crate) fn history(&self, now_ms: i64, points: i64) -> Vec<f64> {
        let width = (SECONDS as i64 / points.max(1)).max(1);
        // Whole steps, so that a point does not change once its seconds are over.
        let end = now_ms.div_euclid(1000).div_euclid(width) * width;
        (0..points)
            .map(|point| {
                let from = end - width * (points - point);
                (from..from + width).map(|second| self.at(second)).sum::<u64>() as f64 / width as f64
            })
            .collect()
    }

    fn at(&self, second: i64) -> u64 {
        let age = self.last.saturating_sub(second);
        if (0..SECONDS as i64).contains(&age) { self.counts.get(slot(second)).copied().unwrap_or(0) } else { 0 }
    }

    fn forget_until(&mut self, second: i64) {
        let gap = second.saturating_sub(self.last);
        if gap >= SECONDS as i64 {
            self.counts.fill(0);
        } else {
            for passed in 1..=gap.max(0) {
                if let Some(bucket) = self.counts.get_mut(slot(self.last + passed)) {
                    *bucket = 0;
                }
            }
        }
        self.last = self.last.max(second);
    }
}

fn slot(second: i64) -> usize {
    usize::try_from(second.rem_euclid(SECONDS as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_an_average_over_full_seconds() {
        let mut rate = Rate::new();
        rate.add(10_000, 30);
        rate.add(11_500, 30);
        assert_eq!(rate.per_second(12_000, 60), 1.0);
        assert_eq!(rate.per_second(12_000, 2), 30.0);
        assert_eq!(rate.per_second(400_000, 60), 0.0);
    }

    #[test]
    fn five_minutes_later_nothing_is_left() {
        let mut rate = Rate::new();
        rate.add(1_000, 5);
        rate.add(301_000, 1);
        assert_eq!(rate.history(302_000, 60).iter().sum::<f64>() * 5.0, 0.0);
        assert_eq!(rate.per_second(302_000, 299), 1.0 / 299.0);
    }

    #[test]
    fn a_clock_that_goes_back_counts_into_the_past() {
        let mut rate = Rate::new();
        rate.add(100_000, 1);
        rate.add(90_000, 1);
        rate.add(-900_000_000, 1);
        assert_eq!(rate.per_second(101_000, 60), 2.0 / 60.0);
    }
}
