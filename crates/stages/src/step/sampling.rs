//! `sampling`: keeps a share of lines, by chance.

use super::{Flow, LineStage};
use crate::{Entry, StageError, StageFault, config::SamplingConfig, error::Place};

#[derive(Debug, Clone)]
pub(crate) struct Sampling {
    rate: f64,
    random: fastrand::Rng,
}

impl Sampling {
    pub fn new(config: &SamplingConfig, place: &Place) -> Result<Self, StageError> {
        if !(0.0..=1.0).contains(&config.rate) {
            return Err(place.key("rate").fault(StageFault::Share(config.rate)));
        }
        Ok(Self { rate: config.rate, random: fastrand::Rng::new() })
    }
}

impl LineStage for Sampling {
    fn apply(&mut self, _entry: &mut Entry, _now_ns: i64) -> Flow {
        // `f64` is below 1, so that a rate of 1 keeps everything and 0 nothing.
        if self.random.f64() < self.rate { Flow::Pass } else { Flow::Drop }
    }
}
