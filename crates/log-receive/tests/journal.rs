//! The journal through a scripted `journalctl`, and through the real one where there is one.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use log_receive::{ForwardConfig, JournalConfig, JournalReader};
use support::{Store, texts, until};
use tokio_util::sync::CancellationToken;

/// Writes a program for the shell.
fn script(directory: &Path, body: &str) -> PathBuf {
    let path = directory.join("journalctl");
    let waiting = directory.join("journalctl.new");
    fs::write(&waiting, format!("#!/bin/sh\necho \"$@\" >> {}/calls\n{body}\n", directory.display())).unwrap();
    fs::set_permissions(&waiting, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(waiting, &path).unwrap();
    path
}

fn entry(number: u64, message: &str) -> String {
    // Far ahead: never older than max_age.
    let us = 4_000_000_000_000_000 + number;
    format!(
        "printf '__CURSOR=s=a;i={number};t={us:x}\\n__REALTIME_TIMESTAMP={us}\\n_SYSTEMD_UNIT=u{number}\\nPRIORITY=3\\nMESSAGE={message}\\n\\n'\n"
    )
}

fn config(directory: &Path, body: &str) -> JournalConfig {
    JournalConfig {
        program: script(directory, body),
        restart: (Duration::from_millis(20), Duration::from_millis(50)),
        labels: [("job", "journal")].into_iter().collect(),
        ..JournalConfig::default()
    }
}

fn start(
    store: &Store,
    config: JournalConfig,
    cursor: Option<&str>,
) -> (CancellationToken, tokio::task::JoinHandle<()>, log_receive::SourceState) {
    let mut forwarding = ForwardConfig::new("journal");
    let rule = relabel::RuleSource {
        source_labels: vec!["__journal__systemd_unit".into()],
        target_label: "unit".into(),
        ..relabel::RuleSource::default()
    };
    forwarding.relabel = vec![relabel::Rule::new(rule).unwrap()];
    let forward = store.forward("journal", forwarding);
    let state = forward.state();
    let reader = JournalReader::new(config, forward, cursor.map(str::to_owned)).unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn({
        let stop = stop.clone();
        async move { reader.run(stop).await.unwrap() }
    });
    (stop, task, state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_arrive_with_their_cursor_and_a_dead_child_is_followed_by_one_behind_it() {
    let mut store = Store::open();
    let directory = tempfile::tempdir().unwrap();
    let body = format!(
        "if [ ! -e {0}/once ]; then touch {0}/once; {1}{2} echo broken >&2; exit 3; fi\n{2}{3} exec sleep 1000",
        directory.path().display(),
        entry(1, "one"),
        entry(2, "two"),
        entry(3, "three")
    );
    let (stop, task, state) = start(&store, config(directory.path(), &body), None);
    let (lines, marks) = store.lines(3).await;
    assert_eq!(texts(&lines), ["one", "two", "three"]);
    assert_eq!(lines[0].labels, [("job".into(), "journal".into()), ("unit".into(), "u1".into())]);
    assert_eq!(lines[0].timestamp_ns, 4_000_000_000_000_001_000);
    assert_eq!(marks[0].key, "cursor-journal");
    assert!(marks[0].cursor.starts_with("s=a;i=3;"), "{marks:?}");
    assert_eq!(state.status().restarts, 1);
    assert_eq!(state.status().trouble, None);
    stop.cancel();
    task.await.unwrap();
    let calls = fs::read_to_string(directory.path().join("calls")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    assert!(calls[0].contains("--since=@") && calls[0].contains("--output=export"), "{calls:?}");
    assert!(calls[1].contains("--cursor=s=a;i=2;"), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_program_is_told_and_used_when_it_comes() {
    let mut store = Store::open();
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path(), "");
    fs::remove_file(&config.program).unwrap();
    config.max_age = Duration::from_secs(60);
    let (stop, task, state) = start(&store, config, Some("s=a;i=9;t=1"));
    until("the missing program", || {
        state.status().trouble.is_some_and(|(why, _)| why.contains("is not there: install"))
    })
    .await;
    script(directory.path(), &format!("{} exec sleep 1000", entry(1, "here")));
    let (lines, _) = store.lines(1).await;
    assert_eq!(texts(&lines), ["here"]);
    until("the end of the trouble", || state.status().trouble.is_none()).await;
    stop.cancel();
    task.await.unwrap();
    // The saved place was older than max_age.
    let calls = fs::read_to_string(directory.path().join("calls")).unwrap();
    assert!(calls.lines().next().unwrap().contains("--since=@"), "{calls}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_hangs_is_found_out_and_replaced() {
    let mut store = Store::open();
    let directory = tempfile::tempdir().unwrap();
    let body = format!(
        "case \"$*\" in *--lines=1*) {2} exit 0;; esac\n\
         if [ ! -e {0}/once ]; then touch {0}/once; {1} exec sleep 1000; fi\n{1}{2} exec sleep 1000",
        directory.path().display(),
        entry(1, "one"),
        entry(2, "two")
    );
    let mut config = config(directory.path(), &body);
    config.silence = Duration::from_millis(200);
    let (stop, task, state) = start(&store, config, None);
    let (lines, _) = store.lines(2).await;
    assert_eq!(texts(&lines), ["one", "two"]);
    assert_eq!(state.status().restarts, 1);
    stop.cancel();
    task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_is_refused_gives_way_to_the_maximum_age() {
    let mut store = Store::open();
    let directory = tempfile::tempdir().unwrap();
    let body = format!(
        "case \"$*\" in *--cursor*) echo 'Failed to seek to cursor: Invalid argument' >&2; exit 1;; esac\n{} exec sleep 1000",
        entry(1, "one")
    );
    let (stop, task, _) = start(&store, config(directory.path(), &body), Some("nonsense"));
    assert_eq!(texts(&store.lines(1).await.0), ["one"]);
    stop.cancel();
    task.await.unwrap();
}

#[test]
fn matches_are_taken_apart_and_checked() {
    assert_eq!(
        JournalConfig::split_matches(" _TRANSPORT=kernel  PRIORITY=3 ").unwrap(),
        ["_TRANSPORT=kernel", "PRIORITY=3"]
    );
    for bad in ["--file=/etc/passwd", "+", "lower=1", "=x"] {
        assert!(JournalConfig::split_matches(bad).unwrap_err().to_string().contains("FIELD=value"), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_without_a_journal_is_told_in_words_and_entries_that_come_later_are_read() {
    let mut store = Store::open();
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let body = format!(
        "if [ ! -e {0}/machine ]; then echo 'Data from the specified boot (+0) is not available' >&2; exit 1; fi\n{1} exec sleep 1000",
        journal.display(),
        entry(1, "one"),
    );
    let config = JournalConfig { path: Some(journal.clone()), ..config(directory.path(), &body) };
    let (stop, task, state) = start(&store, config, None);
    let says = |words: &str| state.status().trouble.is_some_and(|(why, _)| why.contains(words));
    until("the missing directory is told", || says("is not there: correct `path`")).await;
    fs::create_dir(&journal).unwrap();
    until("the empty directory is told", || says("there are no journal files")).await;
    until("it was started again", || state.status().restarts > 3).await;
    assert!(says("there are no journal files"), "what journalctl says of it is something else");
    fs::create_dir(journal.join("machine")).unwrap();
    fs::write(journal.join("machine/system.journal"), "").unwrap();
    assert_eq!(texts(&store.lines(1).await.0), ["one"]);
    until("the trouble is over", || state.status().trouble.is_none()).await;
    stop.cancel();
    task.await.unwrap();
}

/// Five entries from 2096, written by systemd-journal-remote 252; the third has a binary message.
const JOURNAL: &[u8] = include_bytes!("data/remote.journal.zst");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_journal_is_read_and_gone_on_with() {
    let is_here = |directory: PathBuf| directory.join("journalctl").is_file();
    if !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(is_here) {
        println!("not run: there is no journalctl on this machine");
        return;
    }
    let mut store = Store::open();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("remote.journal"), zstd::decode_all(JOURNAL).unwrap()).unwrap();
    let config = JournalConfig { path: Some(directory.path().to_owned()), ..JournalConfig::default() };
    let (stop, task, _) = start(&store, config.clone(), None);
    let mut all = Vec::new();
    let mut third = String::new();
    while all.len() < 5 {
        let (lines, marks) = store.record().await;
        all.extend(lines);
        third.clone_from(&marks[0].cursor);
    }
    assert_eq!(texts(&all), ["real line 1", "real line 2", "binary \n\0\u{fffd} line", "real line 4", "real line 5"]);
    assert_eq!(all[0].timestamp_ns, 4_000_000_000_000_001_000);
    assert_eq!(all[4].label("unit"), "unit5.service");
    stop.cancel();
    task.await.unwrap();
    assert!(third.contains("i=5;"), "{third}");

    // From the third on, and only one unit.
    let cursor = "s=d791da92b7bd4f599af4d5cbf66bb6ee;i=3;b=0123456789abcdef0123456789abcdef;m=3eb;t=e35fa931a0003;x=56ce549a6d067a80";
    let (stop, task, _) = start(&store, config.clone(), Some(cursor));
    assert_eq!(texts(&store.lines(2).await.0), ["real line 4", "real line 5"]);
    stop.cancel();
    task.await.unwrap();
    let matches = JournalConfig::split_matches("_SYSTEMD_UNIT=unit2.service").unwrap();
    let (stop, task, _) = start(&store, JournalConfig { matches, ..config }, None);
    assert_eq!(texts(&store.lines(1).await.0), ["real line 2"]);
    stop.cancel();
    task.await.unwrap();
}
