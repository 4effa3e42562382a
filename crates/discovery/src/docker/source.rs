//! Publishes the containers of an engine as targets, at each refresh.

use std::time::Duration;

use super::{DockerDiscovery, DockerEngine};
use crate::{DiscoveryError, DiscoveryMetrics, TargetGroup, board::Board};

pub(crate) struct DockerSource {
    engine: DockerEngine,
    place: String,
    refresh_interval: Duration,
    metrics: DiscoveryMetrics,
}

impl DockerSource {
    pub(crate) fn new(config: &DockerDiscovery, metrics: DiscoveryMetrics) -> Result<Self, DiscoveryError> {
        let refresh_interval = config.refresh_interval.max(Duration::from_millis(1));
        Ok(Self { engine: DockerEngine::new(config)?, place: config.host.to_string(), refresh_interval, metrics })
    }

    /// Runs until nobody listens.
    pub(crate) async fn run(self, slot: usize, board: &Board) {
        let mut failing = false;
        loop {
            match self.engine.containers(false).await {
                Ok(containers) => {
                    if failing {
                        tracing::info!(host = %self.place, "docker discovery answers again");
                    }
                    failing = false;
                    let targets = containers.into_iter().flat_map(|container| container.targets);
                    let targets = targets.filter(|labels| labels.get("__address__").is_some()).collect();
                    let source = format!("docker {}", self.place);
                    board.report(slot, vec![TargetGroup { source, targets, ..TargetGroup::default() }]);
                }
                Err(error) => {
                    self.metrics.docker_failures.inc();
                    if !failing {
                        tracing::warn!(host = %self.place, %error, "docker discovery failed; the last known targets stay");
                    }
                    failing = true;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.refresh_interval) => {}
                () = board.abandoned() => return,
            }
        }
    }
}
