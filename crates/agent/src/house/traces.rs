//! The receivers of one route of traces: sockets that are bound before anything that runs is touched, and servers on them.
//!
//! Keeps true: a reload closes no port, since a successor has the same socket before its predecessor lets go of it; ending
//! receivers answers the requests that are under way.

use anyhow::{Context, Result};
use config::TracesRoute;
use otlp_receive::{Looking, Prepared, ReceiverConfig, ReceiverStatus};
use pipeline::{LaneId, LogIntake, MetricIntake, OtlpIntake};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::wiring::{Parts, Wiring};
use crate::{
    complaint::complaint,
    lanes::{logs_lane, metrics_lane, spans_lane},
};

/// Receivers that have their sockets and usable certificates.
pub struct PreparedReceivers {
    prepared: Vec<Prepared>,
}

/// Receivers that run.
pub struct Receivers {
    looking: Vec<Looking>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// A receiver and the instance (entry of `traces.configs`) it belongs to.
pub struct InstanceReceiver {
    pub instance: String,
    pub receiver: ReceiverStatus,
}

impl PreparedReceivers {
    pub fn new(parts: &Parts, route: &TracesRoute) -> Result<Self> {
        let mut prepared = Vec::new();
        for config in &route.receivers {
            let receiver = Prepared::new(config.clone(), &parts.sockets);
            prepared.push(receiver.with_context(|| format!("the traces instance {}", route.name))?);
        }
        Ok(Self { prepared })
    }

    /// Starts serving. The lane is there: the queue was told of it.
    pub fn start(self, wiring: &Wiring, route: &TracesRoute, lane: &LaneId) -> Result<Receivers> {
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let intake = way_in(wiring, route, lane)?;
        let parts = &wiring.parts;
        let mut looking = Vec::new();
        for prepared in self.prepared {
            let (metrics, logs) = elsewhere(wiring, prepared.config())?;
            let opened = prepared.open(
                route.instance(),
                intake.clone(),
                route.accepts,
                parts.otlp_room.clone(),
                &parts.otlp_receivers,
            );
            let opened = opened.elsewhere(metrics, logs);
            looking.push(opened.looking());
            let stop = stop.clone();
            tracker.spawn(async move {
                if let Err(error) = opened.run(stop).await {
                    tracing::error!(error = complaint(&error), "a receiver has ended; a reload starts it again");
                }
            });
        }
        Ok(Receivers { looking, stop, tracker })
    }
}

/// The lane that receivers fill: processors, where there are some or were, read one of their own.
fn way_in(wiring: &Wiring, route: &TracesRoute, lane: &LaneId) -> Result<OtlpIntake> {
    let appender = match wiring.queue.appender(&spans_lane(&route.name)?) {
        Ok(appender) => appender,
        Err(_) => wiring.queue.appender(lane)?,
    };
    Ok(OtlpIntake::new(appender))
}

/// Where data points and log records go that are not forwarded with the spans.
fn elsewhere(wiring: &Wiring, config: &ReceiverConfig) -> Result<(Option<MetricIntake>, Option<LogIntake>)> {
    let metrics = match &config.metrics_instance {
        Some(name) => Some(MetricIntake::new(wiring.queue.appender(&metrics_lane(name)?)?)),
        None => None,
    };
    let logs = match &config.logs_instance {
        Some(name) => Some(LogIntake::new(wiring.queue.appender(&logs_lane(name)?)?)),
        None => None,
    };
    Ok((metrics, logs))
}

impl Receivers {
    /// How they are.
    pub fn status(&self, instance: &str) -> Vec<InstanceReceiver> {
        let of = |looking: &Looking| InstanceReceiver { instance: instance.to_owned(), receiver: looking.status() };
        self.looking.iter().map(of).collect()
    }

    /// Goes on under another plan, whose processors may be the first.
    pub fn turn_to(&self, wiring: &Wiring, route: &TracesRoute, lane: &LaneId) -> Result<()> {
        let intake = way_in(wiring, route, lane)?;
        self.looking.iter().for_each(|looking| looking.turn_to(intake.clone()));
        Ok(())
    }

    /// Accepts nothing more from now on.
    pub fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Stops, and waits for the requests under way; the server bounds the time.
    pub async fn end(self) {
        self.stop();
        self.tracker.wait().await;
    }
}

/// Whether receivers may go on under another plan.
pub fn same_receivers(old: &TracesRoute, new: &TracesRoute) -> bool {
    (&old.receivers, old.accepts) == (&new.receivers, new.accepts)
}
