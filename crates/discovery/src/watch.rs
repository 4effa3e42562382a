//! Starts the sources of one job and hands out the channel they publish on.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    DiscoveryConfig, DiscoveryError, DiscoveryMetrics, TargetGroup, board::Board, docker::DockerSource,
    file::FileSource, http::HttpSource, kubernetes::KubernetesSource,
};

/// How long the first list waits for a slow source.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Starts `configs`. The receiver's first *change* is the first list; its initial value is empty and means nothing.
/// Static groups alone are published before this returns.
///
/// Tasks end when `stop` is cancelled or all receivers are gone. Fails on a file pattern that cannot match, on an HTTP
/// client that cannot be built and on a cluster that is not named. Must be called inside a Tokio runtime.
pub fn watch(
    configs: Vec<DiscoveryConfig>,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> Result<watch::Receiver<Arc<Vec<TargetGroup>>>, DiscoveryError> {
    watch_counted(configs, &DiscoveryMetrics::default(), tracker, stop)
}

/// [`watch`], counting failures in `metrics`.
pub fn watch_counted(
    configs: Vec<DiscoveryConfig>,
    metrics: &DiscoveryMetrics,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> Result<watch::Receiver<Arc<Vec<TargetGroup>>>, DiscoveryError> {
    let (board, receiver) = Board::new(configs.len());
    let mut fixed = Vec::new();
    let mut files = Vec::new();
    let mut pages = Vec::new();
    let mut clusters = Vec::new();
    let mut engines = Vec::new();
    for (slot, config) in configs.into_iter().enumerate() {
        match config {
            DiscoveryConfig::Static(groups) => fixed.push((slot, groups)),
            DiscoveryConfig::File(config) => files.push((slot, FileSource::new(&config, metrics.clone())?)),
            DiscoveryConfig::Http(config) => pages.push((slot, HttpSource::new(*config, metrics.clone())?)),
            DiscoveryConfig::Kubernetes(config) => {
                clusters.push((slot, KubernetesSource::new(*config, metrics.clone())?));
            }
            DiscoveryConfig::Docker(config) => engines.push((slot, DockerSource::new(&config, metrics.clone())?)),
        }
    }
    // Everything is valid from here on: nothing is started that would have to be stopped again.
    let waits = !(files.is_empty() && pages.is_empty() && clusters.is_empty() && engines.is_empty());
    for (slot, groups) in fixed {
        board.report(slot, groups);
    }
    for (slot, source) in files {
        let board = board.clone();
        tracker.spawn(stop.clone().run_until_cancelled_owned(async move { source.run(slot, &board).await }));
    }
    for (slot, source) in pages {
        let board = board.clone();
        tracker.spawn(stop.clone().run_until_cancelled_owned(async move { source.run(slot, &board).await }));
    }
    for (slot, source) in clusters {
        let board = board.clone();
        tracker.spawn(stop.clone().run_until_cancelled_owned(async move { source.run(slot, &board).await }));
    }
    for (slot, source) in engines {
        let board = board.clone();
        tracker.spawn(stop.clone().run_until_cancelled_owned(async move { source.run(slot, &board).await }));
    }
    if !waits {
        board.open();
    }
    // Also keeps the channel open where nothing else does: for static groups.
    tracker.spawn(stop.run_until_cancelled_owned(async move {
        tokio::time::timeout(PATIENCE, board.abandoned()).await.ok();
        board.open();
        board.abandoned().await;
    }));
    Ok(receiver)
}
