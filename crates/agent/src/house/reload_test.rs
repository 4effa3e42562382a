//! Reloads that fail on the way: the old plan goes on.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use queue::Reader;
use tempfile::TempDir;

use super::*;
use crate::lanes::metrics_lane;

/// `one` sends to `a`, `two` to `b`; nobody listens there.
const BEFORE: &str = "
metrics:
  global: {scrape_interval: 1s, scrape_timeout: 1s}
  configs:
    - name: one
      remote_write: [{name: a, url: 'http://127.0.0.1:9/w'}]
      scrape_configs: [{job_name: j1, static_configs: [{targets: ['127.0.0.1:9']}]}]
    - name: two
      remote_write: [{name: b, url: 'http://127.0.0.1:9/w'}]
      scrape_configs: [{job_name: j2, static_configs: [{targets: ['127.0.0.1:9']}]}]
";

/// Both destinations and both instances change, `three` is new.
fn after() -> String {
    let changed = BEFORE.replace("/w'}", "/w', remote_timeout: 7s}").replace("j1", "j1new").replace("j2", "j2new");
    changed
        + "    - name: three
      remote_write: [{name: c, url: 'http://127.0.0.1:9/w'}]
      scrape_configs: [{job_name: j3, static_configs: [{targets: ['127.0.0.1:9']}]}]
"
}

struct Setup {
    dir: TempDir,
    house: Arc<House>,
    registry: Registry,
}

impl Setup {
    fn start() -> Self {
        net::install_crypto_provider();
        let dir = TempDir::new().unwrap();
        let mut registry = Registry::default();
        let house = Arc::new(House::start(&plan(&dir, BEFORE), &mut registry).unwrap());
        Self { dir, house, registry }
    }

    async fn reload(&self, text: &str) -> Result<()> {
        self.house.reload(&plan(&self.dir, text)).await
    }

    /// A worker's stop token: cancelled once somebody stops that worker.
    fn worker(&self, instance: &str, destination: &str) -> tokio_util::sync::CancellationToken {
        self.house.routes.read()[&metrics_lane(instance).unwrap()].delivery(destination).unwrap().stop_token()
    }

    fn jobs(&self) -> Vec<(String, Vec<String>)> {
        let routes = self.house.routes.read();
        routes.values().map(|route| (route.name().to_owned(), route.job_names())).collect()
    }

    fn running(&self) -> Vec<(String, &'static str)> {
        self.house.destinations().into_iter().map(|d| (d.name, d.state.word())).collect()
    }

    /// Books of the queue by destination.
    fn known(&self) -> Vec<String> {
        let mut names: Vec<String> = self.house.ledger().rows.into_iter().map(|r| r.destination).collect();
        names.sort();
        names
    }
}

fn plan(dir: &TempDir, text: &str) -> Plan {
    let directory = dir.path().display().to_string();
    let options =
        config::LoadOptions { wal_directory: Some(&directory), ..config::LoadOptions::new("agent.yaml", &|_| None) };
    config::load(text, options).unwrap_or_else(|e| panic!("{e}"))
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if met() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited too long for {what}");
}

fn old_jobs() -> Vec<(String, Vec<String>)> {
    vec![("one".into(), vec!["j1".into()]), ("two".into(), vec!["j2".into()])]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_lane_that_cannot_be_made_stops_nothing() {
    let setup = Setup::start();
    let (a, b) = (setup.worker("one", "a"), setup.worker("two", "b"));
    // Where the lane's directory would be there is a file already.
    let lane = setup.dir.path().join("queue/lanes/metrics-three");
    std::fs::write(&lane, "in the way").unwrap();

    let error = setup.reload(&after()).await.unwrap_err();
    assert!(format!("{error:#}").contains("metrics-three"), "{error:#}");
    assert!(!a.is_cancelled() && !b.is_cancelled(), "a worker was stopped");
    assert_eq!(setup.jobs(), old_jobs());
    assert_eq!(setup.known(), ["a", "b"]);

    std::fs::remove_file(&lane).unwrap();
    setup.reload(&after()).await.unwrap();
    assert!(a.is_cancelled() && b.is_cancelled());
    assert_eq!(setup.house.instances(), ["one", "three", "two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_somebody_holds_stops_nothing() {
    let setup = Setup::start();
    // `b` does not run, and its reader is taken.
    let b = setup.house.routes.write().get_mut(&metrics_lane("two").unwrap()).unwrap().take("b").unwrap();
    b.end().await;
    let held = setup.house.wiring.queue.reader("b", &metrics_lane("two").unwrap()).unwrap();
    let a = setup.worker("one", "a");

    let error = setup.reload(&after()).await.unwrap_err();
    assert!(format!("{error:#}").contains("destination b"), "{error:#}");
    assert!(!a.is_cancelled(), "a worker was stopped");
    assert_eq!(setup.jobs(), old_jobs());
    assert_eq!(setup.known(), ["a", "b"]);

    drop(held);
    setup.reload(&after()).await.unwrap();
    assert_eq!(setup.running().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_does_not_let_go_of_its_reader_leaves_the_old_plan_in_force() {
    let setup = Setup::start();
    let a = setup.worker("one", "a");
    let thief: Arc<Mutex<Option<Reader>>> = Arc::default();
    {
        let routes = setup.house.routes.read();
        let (b, stolen) = (routes[&metrics_lane("two").unwrap()].delivery("b").unwrap(), Arc::clone(&thief));
        let (stop, queue) = (b.stop_token(), setup.house.wiring.queue.clone());
        // Part of the worker as far as anyone can see: it keeps the reader after it was told to stop.
        b.tasks().spawn(async move {
            stop.cancelled().await;
            loop {
                if let Ok(reader) = queue.reader("b", &metrics_lane("two").unwrap()) {
                    *stolen.lock() = Some(reader);
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
    }

    let error = setup.reload(&after()).await.unwrap_err();
    assert!(format!("{error:#}").contains("destination b"), "{error:#}");
    assert!(thief.lock().is_some());
    assert_eq!(setup.jobs(), old_jobs());
    assert_eq!(setup.known(), ["a", "b"]);
    // `a` had to let go, and runs again as it was.
    assert!(a.is_cancelled() && !setup.worker("one", "a").is_cancelled());
    assert!(setup.house.routes.read()[&metrics_lane("two").unwrap()].delivery("b").is_none());

    drop(thief.lock().take());
    until("b to run again", || setup.house.routes.read()[&metrics_lane("two").unwrap()].delivery("b").is_some()).await;
    setup.reload(&after()).await.unwrap();
    assert_eq!(setup.running().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_stay_keep_their_budget_while_others_come_and_go() {
    let setup = Setup::start();
    let budget = |lane: &str| {
        let ledger = setup.house.ledger();
        ledger.lanes.iter().find(|l| l.lane.as_str() == lane).map(|l| l.budget)
    };
    let before = budget("metrics-one").unwrap();
    // `two` becomes `three`: for a moment the queue has all of them.
    let renamed = BEFORE.replace("name: two", "name: three").replace("name: b", "name: c");
    let now = specs::queue_specs(&plan(&setup.dir, BEFORE)).unwrap();
    let wanted = specs::queue_specs(&plan(&setup.dir, &renamed)).unwrap();
    let both = now.with(&wanted);
    setup.house.wiring.queue.apply(both.lanes, both.destinations).unwrap();
    let during = budget("metrics-one").unwrap();
    assert!(during > before - before / 10_000, "{during} of {before}");
    assert_eq!(setup.known(), ["a", "b", "c"]);

    setup.reload(&renamed).await.unwrap();
    assert_eq!((budget("metrics-one"), budget("metrics-two")), (Some(before), None));
    assert_eq!(setup.known(), ["a", "c"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_identity_of_a_removed_destination_is_no_longer_shown() {
    let setup = Setup::start();
    let signed =
        "url: 'http://127.0.0.1:9/w', sigv4: {region: us-east-1, access_key: AKIAEXAMPLE, secret_key: example}}]
      scrape_configs: [{job_name: j2";
    let text = BEFORE.replace("url: 'http://127.0.0.1:9/w'}]\n      scrape_configs: [{job_name: j2", signed);
    setup.reload(&text).await.unwrap();
    let shown = || {
        let page = crate::exposition::render(&setup.registry, None).0;
        page.lines().any(|l| l.starts_with("sigpost_credential") && l.contains("destination=\"b\""))
    };
    assert!(shown(), "{}", crate::exposition::render(&setup.registry, None).0);
    setup.reload(&text.replace("name: b,", "name: b, enabled: false,")).await.unwrap();
    assert!(!shown());
}
