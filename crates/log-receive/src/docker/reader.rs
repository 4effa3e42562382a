//! Follows the containers of engines for as long as the agent runs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use discovery::{DockerContainer, DockerDiscovery, DockerEngine};
use model::{Labels, SourceMark};
use pipeline::Durability;
use tokio::sync::{Notify, mpsc};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    follower::{End, Told, follow},
    place::Place,
};
use crate::{Forward, ReceiveError, SourceState, clock::now_ms, forward::at, metrics::SourceCounts};

/// `docker_sd_configs` of a job of logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerConfig {
    pub engines: Vec<DockerDiscovery>,
}

/// Reads one job's containers.
pub struct DockerReader {
    engines: Vec<(DockerEngine, Duration)>,
    forward: Forward,
    cursors: Cursors,
    containers: HashMap<Arc<str>, Container>,
    state: SourceState,
    counts: SourceCounts,
    begun_s: i64,
}

type Cursors = Box<dyn Fn(&str) -> Option<String> + Send>;

/// A container that is, or was, listed.
struct Container {
    engine: usize,
    /// Of standard output and standard error; `None`: dropped by a rule.
    labels: [Option<Labels>; 2],
    place: Place,
    follower: Option<AbortOnDropHandle<()>>,
    /// Its output was read to its end, and it does not run.
    done: bool,
}

/// Messages between followers and the queue.
const WAITING: usize = 16;
/// Several changes in so short a time are one.
const PAUSE: Duration = Duration::from_millis(200);

/// What one engine listed.
type Listed = (usize, Result<Vec<DockerContainer>, String>);

impl DockerReader {
    /// `cursors` knows the saved places: the values under [`key`](Self::key) in positions and marks.
    pub fn new(
        config: &DockerConfig,
        forward: Forward,
        cursors: impl Fn(&str) -> Option<String> + Send + 'static,
    ) -> Result<Self, ReceiveError> {
        let engine = |config: &DockerDiscovery| {
            let made = DockerEngine::new(config).map(|engine| (engine, config.refresh_interval));
            made.map_err(|error| ReceiveError::Config { key: "docker_sd_configs", why: error.to_string() })
        };
        let engines = config.engines.iter().map(engine).collect::<Result<_, _>>()?;
        let (state, counts) = (forward.state(), forward.counts());
        let begun_s = now_ms() / 1000;
        let cursors = Box::new(cursors);
        Ok(Self { engines, forward, cursors, containers: HashMap::new(), state, counts, begun_s })
    }

    /// The key of a container's marks and of its line in a positions file, as Promtail has it.
    pub fn key(id: &str) -> String {
        format!("cursor-{id}")
    }

    /// Runs until `stop`, or until the queue is closed.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ReceiveError> {
        let (told, mut tells) = mpsc::channel(WAITING);
        let (listed, mut lists) = mpsc::channel(1);
        let again: Vec<Arc<Notify>> = self.engines.iter().map(|_| Arc::default()).collect();
        // They end with this value.
        let _lookouts: Vec<AbortOnDropHandle<()>> = self
            .engines
            .iter()
            .enumerate()
            .zip(&again)
            .map(|((number, (engine, refresh)), again)| {
                let look = look_out(number, engine.clone(), *refresh, Arc::clone(again), listed.clone());
                AbortOnDropHandle::new(tokio::spawn(look))
            })
            .collect();
        loop {
            let due = self.forward.due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = at(due) => self.forward.tick().await?,
                Some((engine, list)) = lists.recv() => match list {
                    Ok(containers) => {
                        self.state.well();
                        self.take_list(engine, containers, &told);
                    }
                    Err(why) => {
                        self.counts.fault("engine");
                        self.state.trouble(&why);
                    }
                },
                Some(told) = tells.recv() => match told {
                    Told::Lines { id, lines, place, untimed, cut } => {
                        (0..untimed).for_each(|_| self.counts.docker_error());
                        (0..cut).for_each(|_| self.counts.cut("line_too_long"));
                        let Some(container) = self.containers.get_mut(&id) else { continue };
                        let [out, err] = container.labels.clone();
                        container.place = place;
                        for line in lines {
                            if let Some(labels) = if line.is_error { &err } else { &out } {
                                self.forward.push(labels, line.timestamp_ns, &line.text, &[]).await?;
                                self.forward.pace().await;
                            }
                        }
                        self.forward.mark(SourceMark { key: Self::key(&id), cursor: place.text(), file: None });
                    }
                    Told::Ended { id, end } => {
                        let Some(container) = self.containers.get_mut(&id) else { continue };
                        container.follower = None;
                        container.done = end == End::Finished;
                        match end {
                            End::Finished => {}
                            End::BrokenOff => if let Some(again) = again.get(container.engine) {
                                again.notify_one();
                            },
                            // Asked for again with the next list.
                            End::Failed(why) => {
                                self.counts.fault("container");
                                self.state.trouble(&format!("container {id}: {why}"));
                            }
                        }
                    }
                },
            }
        }
        self.forward.flush(Durability::Now).await?;
        Ok(())
    }

    fn take_list(&mut self, engine: usize, list: Vec<DockerContainer>, told: &mpsc::Sender<Told>) {
        let listed: HashSet<&str> = list.iter().map(|container| container.id.as_str()).collect();
        self.containers
            .retain(|id, known| known.engine != engine || known.follower.is_some() || listed.contains(&**id));
        for container in list {
            let id: Arc<str> = Arc::from(container.id.as_str());
            let known = self.containers.get(&id);
            if known.is_some_and(|known| known.follower.is_some() || known.done && !container.running) {
                continue;
            }
            let cursor = (self.cursors)(&Self::key(&id));
            // One that ended before anybody followed it is not ours, unless it was made since we are here.
            let ours = container.running || known.is_some() || cursor.is_some() || container.created >= self.begun_s;
            let Some(first) = container.targets.into_iter().next().filter(|_| ours) else { continue };
            let labels = ["stdout", "stderr"].map(|stream| {
                let mut labels = first.clone();
                labels.set("__meta_docker_container_log_stream", stream);
                self.forward.admit_named(labels)
            });
            let place = known.map(|known| known.place);
            let place = place.or_else(|| Place::parse(&cursor?)).unwrap_or_default();
            let wanted = labels.iter().any(Option::is_some);
            let follower = wanted.then(|| self.engines.get(engine)).flatten().map(|(engine, _)| {
                AbortOnDropHandle::new(tokio::spawn(follow(engine.clone(), Arc::clone(&id), place, told.clone())))
            });
            self.containers.insert(id, Container { engine, labels, place, follower, done: !wanted });
        }
    }
}

/// Lists an engine's containers: now, at each refresh, when one starts or ends, and when asked to.
async fn look_out(
    number: usize,
    engine: DockerEngine,
    refresh: Duration,
    again: Arc<Notify>,
    listed: mpsc::Sender<Listed>,
) {
    loop {
        let list = engine.containers(true).await.map_err(|error| error.to_string());
        let answers = list.is_ok();
        if listed.send((number, list)).await.is_err() {
            return;
        }
        let change = async {
            // An engine that gives no events is asked at each refresh.
            if !answers || engine.change().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(refresh) => {}
            () = again.notified() => {}
            () = change => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}
