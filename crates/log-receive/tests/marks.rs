//! What a book of positions is told of, and when.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
};

use log_receive::{ForwardConfig, JournalConfig, JournalReader, MarkBook, MarkFate, SettleMarks};
use model::SourceMark;
use support::{Store, texts, until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Remembers keys, cursors and fates.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<(String, MarkFate)>>>);

impl MarkBook for Told {
    fn begin(&self, marks: Vec<SourceMark>) -> SettleMarks {
        let told = self.clone();
        Box::new(move |fate| {
            let cursors = marks.into_iter().map(|mark| (mark.cursor, fate));
            told.0.lock().unwrap().extend(cursors);
        })
    }
}

impl Told {
    fn last(&self) -> Option<(String, MarkFate)> {
        self.0.lock().unwrap().last().cloned()
    }
}

/// A journal of two entries, of which the rules drop those of the unit `quiet`.
fn reader(store: &Store, directory: &std::path::Path, told: &Told, tasks: &TaskTracker) -> JournalReader {
    let program = directory.join("journalctl");
    let entry = |n: u64, unit: &str| {
        let us = 4_000_000_000_000_000 + n;
        format!("__CURSOR=s=a;i={n};t={us:x}\\n__REALTIME_TIMESTAMP={us}\\n_SYSTEMD_UNIT={unit}\\nMESSAGE=m{n}\\n\\n")
    };
    let text = format!("#!/bin/sh\nprintf '{}{}'\nexec sleep 1000\n", entry(1, "loud"), entry(2, "quiet"));
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let rule = relabel::RuleSource {
        source_labels: vec!["__journal__systemd_unit".into()],
        regex: "quiet".into(),
        action: relabel::Action::Drop,
        ..relabel::RuleSource::default()
    };
    let forwarding =
        ForwardConfig { relabel: vec![relabel::Rule::new(rule).unwrap()], ..ForwardConfig::new("journal") };
    let forward = store.forward("journal", forwarding).with_book(Arc::new(told.clone()), tasks);
    let config =
        JournalConfig { program, labels: [("job", "journal")].into_iter().collect(), ..JournalConfig::default() };
    JournalReader::new(config, forward, None).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_behind_dropped_lines_is_told_and_settling_ends_with_the_source() {
    let mut store = Store::open();
    let directory = tempfile::tempdir().unwrap();
    let (told, tasks, stop) = (Told::default(), TaskTracker::new(), CancellationToken::new());
    let task = tokio::spawn(reader(&store, directory.path(), &told, &tasks).run(stop.clone()));
    assert_eq!(texts(&store.lines(1).await.0), ["m1"]);
    until("the place of the last entry", || {
        told.last().is_some_and(|(cursor, fate)| cursor.starts_with("s=a;i=2;") && fate == MarkFate::Durable)
    })
    .await;
    stop.cancel();
    task.await.unwrap().unwrap();
    tasks.close();
    tasks.wait().await;
    assert!(told.0.lock().unwrap().iter().all(|(_, fate)| *fate == MarkFate::Durable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_record_that_the_queue_refused_the_book_need_not_wait() {
    let store = Store::open();
    let directory = tempfile::tempdir().unwrap();
    let (told, tasks) = (Told::default(), TaskTracker::new());
    let reader = reader(&store, directory.path(), &told, &tasks);
    store.queue.clone().close(std::time::Duration::from_secs(10)).await.unwrap();
    let error = reader.run(CancellationToken::new()).await.unwrap_err();
    assert!(error.is_closed(), "{error}");
    assert_eq!(told.last().map(|(_, fate)| fate), Some(MarkFate::Refused));
}
