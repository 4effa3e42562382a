//! The cache against a scripted source; time is handed in, so nothing waits.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;

type Script = dyn Fn(usize) -> Result<Credentials, FetchError> + Send + Sync;

/// Answers the nth fetch as the script says; with a gate, each fetch waits to be let through.
struct Scripted {
    script: Box<Script>,
    fetches: Arc<AtomicUsize>,
    gate: Option<Arc<Notify>>,
    files: Vec<PathBuf>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

impl Source for Scripted {
    fn fetch(&self) -> net::BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let n = self.fetches.fetch_add(1, Ordering::SeqCst);
            if let Some(gate) = &self.gate {
                gate.notified().await;
            }
            let credentials = (self.script)(n)?;
            Ok(Fetched { credentials, source: "script".to_owned(), recheck: None })
        })
    }
    fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }
    fn describe(&self) -> String {
        "script".to_owned()
    }
    fn advice_when_expired(&self) -> String {
        "write another script".to_owned()
    }
}

struct Bench {
    cache: Arc<CredentialCache>,
    fetches: Arc<AtomicUsize>,
    gate: Arc<Notify>,
}

fn bench(
    gated: bool,
    files: Vec<PathBuf>,
    script: impl Fn(usize) -> Result<Credentials, FetchError> + Send + Sync + 'static,
) -> Bench {
    let (fetches, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let source = Scripted {
        script: Box::new(script),
        fetches: Arc::clone(&fetches),
        gate: gated.then(|| Arc::clone(&gate)),
        files,
    };
    Bench { cache: Arc::new(CredentialCache::new(Box::new(source), Duration::ZERO)), fetches, gate }
}

impl Bench {
    async fn key(&self, now: SystemTime) -> Result<String, FetchError> {
        self.cache.get(told(now)).await.map(|h| h.credentials.access_key_id().to_owned())
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    async fn settled(&self, refreshes: u64) {
        while self.cache.status().refreshes < refreshes {
            tokio::task::yield_now().await;
        }
    }
}

fn keys(n: usize, expiry: Option<SystemTime>) -> Result<Credentials, FetchError> {
    Ok(Credentials::new(format!("AKIA{n}"), "secret", Some(format!("token{n}")), expiry, "script"))
}

fn t0() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn told(at: SystemTime) -> FarTime {
    FarTime { at, is_told: true }
}

fn after(seconds: u64) -> SystemTime {
    t0() + Duration::from_secs(seconds)
}

#[tokio::test]
async fn many_callers_make_one_fetch() {
    let bench = bench(true, Vec::new(), |n| keys(n, Some(after(3600))));
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let cache = Arc::clone(&bench.cache);
            tokio::spawn(async move { cache.get(told(t0())).await.unwrap().credentials.access_key_id().to_owned() })
        })
        .collect();
    while bench.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    bench.gate.notify_one();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "AKIA0");
    }
    assert_eq!(bench.fetches(), 1);
}

#[tokio::test]
async fn near_the_end_the_refresh_runs_behind_and_close_to_it_callers_wait() {
    let bench = bench(false, Vec::new(), |n| keys(n, Some(after(3600 * (n as u64 + 1)))));
    assert_eq!(bench.key(t0()).await.unwrap(), "AKIA0");
    assert_eq!(bench.key(after(3600 - 301)).await.unwrap(), "AKIA0");
    assert_eq!(bench.fetches(), 1, "not yet in the window");
    // In the advisory window (at most 5 min, at least 4): served at once, refreshed behind.
    assert_eq!(bench.key(after(3600 - 239)).await.unwrap(), "AKIA0");
    bench.settled(2).await;
    assert_eq!(bench.key(after(3600 - 239)).await.unwrap(), "AKIA1");
    // In the last minute callers wait for the new ones.
    assert_eq!(bench.key(after(7200 - 59)).await.unwrap(), "AKIA2");
}

#[test]
fn windows_leave_a_request_its_time_on_the_way() {
    let windows = |ms: u64| {
        let w = Windows::of(Duration::from_millis(ms));
        (w.advisory.as_millis(), w.mandatory.as_millis(), w.last_moment.as_millis())
    };
    assert_eq!(windows(3_600_000), (300_000, 60_000, 500));
    assert_eq!(windows(600_000), (200_000, 60_000, 500));
    assert_eq!(windows(30_000), (15_000, 5_000, 500));
    assert_eq!(windows(3_000), (2_000, 1_000, 150));
    assert_eq!(windows(999), (666, 333, 49));
    for ms in [0, 1, 10, 100, 1000, 7000, 20_000, 59_000, 100_000, 899_999, 900_000, u64::MAX / 4] {
        let (advisory, mandatory, last) = windows(ms);
        let (half, ms) = (u128::from(ms) / 2, u128::from(ms));
        assert!(last <= mandatory && mandatory <= advisory && mandatory <= half && advisory <= ms, "{ms}");
    }
}

#[tokio::test]
async fn credentials_of_seconds_always_have_a_third_of_their_life_left_when_they_are_handed_out() {
    for life_ms in [1_000_u64, 2_000, 3_000] {
        let clock = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let source_clock = Arc::clone(&clock);
        let at = |ms: u64| t0() + Duration::from_millis(ms);
        let bench = bench(false, Vec::new(), move |n| keys(n, Some(at(source_clock.load(Ordering::SeqCst) + life_ms))));
        // Ten lives in steps of a hundredth, with a pause of more than a life in the middle.
        for step in (0..500).chain(700..1000) {
            let now_ms = step * life_ms / 100;
            clock.store(now_ms, Ordering::SeqCst);
            let held = bench.cache.get(told(at(now_ms))).await.unwrap();
            let left = held.remaining(told(at(now_ms))).unwrap();
            assert!(left >= Duration::from_millis(life_ms / 3 - 1), "{left:?} of {life_ms} ms left at step {step}");
            // What runs behind is done before the next step.
            while bench.cache.state.lock().background {
                tokio::task::yield_now().await;
            }
        }
        assert!(bench.fetches() <= 40, "{} fetches in ten lives", bench.fetches());
    }
}

#[tokio::test]
async fn what_ends_while_the_source_is_still_answering_is_not_handed_out() {
    let bench =
        bench(true, Vec::new(), |n| keys(n, Some(t0() + Duration::from_millis(if n == 0 { 30 } else { 3_600_000 }))));
    let cache = Arc::clone(&bench.cache);
    let slow = tokio::spawn(async move { cache.get(told(t0())).await.map(|_| ()) });
    while bench.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    // Longer than these credentials live.
    let answered = Instant::now() + Duration::from_millis(60);
    while Instant::now() < answered {
        tokio::task::yield_now().await;
    }
    bench.gate.notify_one();
    assert!(slow.await.unwrap().is_err(), "dead on arrival");
}

#[tokio::test]
async fn several_files_that_change_one_after_the_other_are_read_when_they_keep_still() {
    let dir = tempfile::tempdir().unwrap();
    let (key, secret) = (dir.path().join("key"), dir.path().join("secret"));
    let write = |n: u8| {
        std::fs::write(&key, format!("AKIA{n}")).unwrap();
        std::fs::write(&secret, format!("s{n}")).unwrap();
    };
    write(1);
    let files = (key.clone(), secret.clone());
    let source = Scripted {
        script: Box::new(move |_| {
            let [key, secret] = [&files.0, &files.1].map(|p| std::fs::read_to_string(p).unwrap());
            Ok(Credentials::new(key, secret, None, None, "files"))
        }),
        fetches: Arc::default(),
        gate: None,
        files: vec![key.clone(), secret.clone()],
    };
    let cache = Arc::new(CredentialCache::new(Box::new(source), Duration::from_millis(1)));
    cache.get(told(t0())).await.unwrap();
    for n in 2..20 {
        std::fs::write(&key, format!("AKIA{n}")).unwrap();
        // Half-way: looked at once since, it may still be changing.
        cache.state.lock().files_checked = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let half_way = cache.get(told(t0())).await.unwrap();
        assert_eq!(half_way.credentials.access_key_id(), format!("AKIA{}", n - 1));
        std::fs::write(&secret, format!("s{n}")).unwrap();
        let new = loop {
            let held = cache.get(told(t0())).await.unwrap();
            if held.credentials.access_key_id() == format!("AKIA{n}") {
                break held;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(new.credentials.secret_access_key(), format!("s{n}"));
    }
}

#[tokio::test]
async fn short_lives_have_short_windows() {
    // A second's life: background from two thirds before the end at most, waiting from one third.
    let at = |ms: u64| t0() + Duration::from_millis(ms);
    let bench = bench(false, Vec::new(), move |n| keys(n, Some(at(1000 * (n as u64 + 1)))));
    assert_eq!(bench.key(at(0)).await.unwrap(), "AKIA0");
    assert_eq!(bench.key(at(330)).await.unwrap(), "AKIA0");
    assert_eq!(bench.fetches(), 1);
    assert_eq!(bench.key(at(480)).await.unwrap(), "AKIA0");
    bench.settled(2).await;
    assert_eq!(bench.key(at(500)).await.unwrap(), "AKIA1");
    assert_eq!(bench.key(at(1950)).await.unwrap(), "AKIA2");
}

#[tokio::test]
async fn valid_credentials_are_served_while_the_source_is_down_and_it_is_not_asked_in_a_loop() {
    let bench = bench(false, Vec::new(), |n| {
        if n == 0 { keys(0, Some(after(3600))) } else { Err(FetchError::failed("source is down")) }
    });
    bench.key(t0()).await.unwrap();
    for _ in 0..50 {
        assert_eq!(bench.key(after(3590)).await.unwrap(), "AKIA0");
    }
    assert_eq!(bench.fetches(), 2);
    assert_eq!(bench.cache.status().last_error.as_deref(), Some("source is down"));
    // Expired: the error itself, still without asking again at once.
    for _ in 0..50 {
        assert_eq!(bench.key(after(3601)).await.unwrap_err().message, "source is down");
    }
    assert_eq!(bench.fetches(), 2);
}

#[tokio::test]
async fn a_source_that_repeats_the_same_dying_credentials_is_not_asked_in_a_loop() {
    let bench = bench(false, Vec::new(), |_| keys(0, Some(after(3600))));
    for _ in 0..50 {
        assert_eq!(bench.key(after(3590)).await.unwrap(), "AKIA0");
    }
    assert!(bench.fetches() <= 2, "{}", bench.fetches());
}

#[tokio::test]
async fn refused_credentials_are_fetched_again_and_only_once() {
    let bench = bench(false, Vec::new(), |n| keys(n, None));
    let held = bench.cache.get(told(t0())).await.unwrap();
    assert_eq!(bench.key(after(1_000_000)).await.unwrap(), "AKIA0", "without expiry they stay");
    bench.cache.invalidate(held.fingerprint);
    assert_eq!(bench.key(t0()).await.unwrap(), "AKIA1");
    // A late refusal of the old ones does not touch the new ones.
    bench.cache.invalidate(held.fingerprint);
    assert_eq!(bench.key(t0()).await.unwrap(), "AKIA1");
    assert_eq!(bench.fetches(), 2);
}

#[tokio::test]
async fn the_same_credentials_again_keep_their_birthday() {
    let bench = bench(false, Vec::new(), |_| keys(7, None));
    let first = bench.cache.get(told(t0())).await.unwrap();
    bench.cache.invalidate(first.fingerprint);
    let second = bench.cache.get(told(t0())).await.unwrap();
    assert_eq!(bench.fetches(), 2);
    assert_eq!((first.obtained_at, first.fingerprint), (second.obtained_at, second.fingerprint));
}

#[tokio::test]
async fn a_changed_file_is_read_before_the_next_signature() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    std::fs::write(&file, "AKIAOLD").unwrap();
    let path = file.clone();
    let bench = bench(false, vec![file.clone()], move |_| {
        let key = std::fs::read_to_string(&path).unwrap();
        if key.is_empty() {
            Err(FetchError::failed("half-written"))
        } else {
            Ok(Credentials::new(key, "s", None, None, "file"))
        }
    });
    assert_eq!(bench.key(t0()).await.unwrap(), "AKIAOLD");
    assert_eq!(bench.key(t0()).await.unwrap(), "AKIAOLD");
    assert_eq!(bench.fetches(), 1);
    std::fs::write(&file, "").unwrap();
    assert_eq!(bench.key(t0()).await.unwrap(), "AKIAOLD", "a file in the middle of its rotation ends nothing");
    std::fs::write(&file, "AKIANEW").unwrap();
    assert_eq!(bench.key(t0()).await.unwrap(), "AKIANEW");
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_stop_the_fetch() {
    let bench = bench(true, Vec::new(), |n| keys(n, None));
    let gave_up = tokio::time::timeout(Duration::from_millis(20), bench.cache.get(told(t0()))).await;
    assert!(gave_up.is_err());
    bench.gate.notify_one();
    bench.settled(1).await;
    assert_eq!(bench.key(t0()).await.unwrap(), "AKIA0");
    assert_eq!(bench.fetches(), 1);
}

#[tokio::test]
async fn credentials_that_are_already_dead_are_refused_and_named() {
    let bench = bench(false, Vec::new(), |n| keys(n, Some(after(10))));
    let error = bench.key(after(70)).await.unwrap_err();
    assert!(error.message.contains("expired 60 s ago"), "{error}");
}

#[tokio::test]
async fn what_comes_over_by_an_untold_clock_serves_until_the_time_is_told_and_is_asked_for_again_then() {
    let bench = bench(false, Vec::new(), |n| keys(n, Some(after(10 + 3600 * n as u64))));
    let untold = FarTime { at: after(70), is_told: false };
    assert_eq!(bench.cache.get(untold).await.unwrap().credentials.access_key_id(), "AKIA0");
    assert_eq!(bench.cache.get(untold).await.unwrap().credentials.access_key_id(), "AKIA0");
    assert_eq!(bench.fetches(), 1, "not asked in a loop meanwhile");
    // The clock was right: they are over.
    assert_eq!(bench.key(after(70)).await.unwrap(), "AKIA1");
}

#[tokio::test]
async fn what_ends_by_an_untold_clock_is_asked_for_again() {
    let bench = bench(false, Vec::new(), |n| keys(n, Some(after(100 * (n as u64 + 1)))));
    let untold = |at| FarTime { at, is_told: false };
    assert_eq!(bench.cache.get(untold(t0())).await.unwrap().credentials.access_key_id(), "AKIA0");
    assert_eq!(bench.cache.get(untold(after(101))).await.unwrap().credentials.access_key_id(), "AKIA1");
}

#[tokio::test]
async fn what_is_over_or_was_refused_is_not_called_still_valid() {
    let source = |n| if n == 0 { keys(0, Some(after(3600))) } else { Err(FetchError::failed("down")) };
    let bench = bench(false, Vec::new(), source);
    bench.key(t0()).await.unwrap();
    let valid = |at| bench.cache.state.lock().still_valid(told(at));
    assert!(valid(after(1800)) && !valid(after(3600)));
    // Nobody told the time: it may be wrong, and what it says is all there is to tell.
    let untold = FarTime { at: after(3700), is_told: false };
    assert!(!bench.cache.state.lock().still_valid(untold));
    let held = bench.cache.held().0.unwrap();
    bench.cache.invalidate(held.fingerprint);
    assert!(!valid(after(1)), "AWS refused them");
}
