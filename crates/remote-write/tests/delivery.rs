//! A real queue, a real client, a far end that misbehaves: nothing is lost, nothing is out of order, every count sums.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use model::Labels;
use net::{Answer, Authorize, AuthorizeError, BoxFuture, IdentityVerdict};
use parking_lot::Mutex;
use proptest::prelude::*;
use queue::Reason;
use relabel::{Action, Rule, RuleSource};
use remote_write::{DestinationState, MetadataConfig, ProtocolConfig, Tuning};
use support::{Fake, House, Reply, Running, config, refused, status, until};

const NOW: i64 = 1_700_000_000_000;

/// `frames` frames of each of `targets` targets, `series` samples each, values counting up from 1.
async fn fill(house: &House, targets: u64, frames: u64, series: usize) -> u64 {
    for frame in 1..=frames {
        for target in 0..targets {
            house.append(target, series, NOW + frame as i64, frame as f64).await;
        }
    }
    targets * frames * series as u64
}

fn assert_complete(fake: &Fake, targets: u64, frames: u64, series: usize) {
    let stored = fake.stored_in_order();
    assert_eq!(stored.len() as u64, targets * series as u64);
    let all: Vec<f64> = (1..=frames).map(|frame| frame as f64).collect();
    for (key, values) in stored {
        assert_eq!(values, all, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_targets_share_a_body_and_every_series_arrives_in_order() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, _| status(204)).await;
    let items = fill(&house, 8, 5, 50).await;
    let running = Running::new(&house, config("a", &fake.url), None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.accepted), (items, items));
    assert_complete(&fake, 8, 5, 50);
    let seen = fake.seen();
    assert!(seen.len() < 40, "{} requests for 40 frames", seen.len());
    for seen in &seen {
        assert!(seen.samples().len() <= 500);
        assert_eq!(seen.headers["content-encoding"], "snappy");
        assert_eq!(seen.headers["content-type"], "application/x-protobuf");
        assert_eq!(seen.headers["x-prometheus-remote-write-version"], "0.1.0");
        assert!(seen.headers["user-agent"].to_str().unwrap().starts_with("Sigpost/"));
    }
    assert_eq!(running.status.state(), DestinationState::Healthy);
    assert_eq!(running.status.snapshot().delivered, items);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_larger_than_a_request_is_sent_in_several_in_order() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, _| status(200)).await;
    let values: Vec<f64> = (0..1750).map(f64::from).collect();
    house.append_values(1, NOW, &values).await;
    house.append_values(1, NOW + 1, &values).await;
    let running = Running::new(&house, config("a", &fake.url), None);
    let row = house.settled("a").await;
    assert_eq!(row.delivered, 3500);
    let stored: Vec<f64> = fake.stored().into_iter().map(|(_, _, value)| value).collect();
    assert_eq!(stored, [values.clone(), values].concat());
    assert_eq!(fake.seen().len(), 7);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreliable_far_end_gets_everything_at_least_once_and_in_order() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|number, _| match number % 7 {
        0 => status(500),
        1 => Reply { close: true, ..Reply::default() },
        2 => Reply { status: 429, headers: vec![("retry-after", "0".into())], ..Reply::default() },
        3 => refused(503, "SlowDown"),
        4 => refused(400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#),
        _ => status(200),
    })
    .await;
    let items = fill(&house, 5, 10, 30).await;
    let running = Running::new(&house, config("a", &fake.url), None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.rejected), (items, 0));
    assert_complete(&fake, 5, 10, 30);
    assert!(fake.seen().iter().any(|seen| seen.headers.contains_key("retry-attempt")));
    assert!(running.status.snapshot().retries > 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_answer_is_a_retry() {
    let house = House::new(&["a"]);
    let fake =
        Fake::new(|number, _| if number == 0 { Reply { hang: true, ..Reply::default() } } else { status(200) }).await;
    fill(&house, 1, 1, 10).await;
    let mut config = config("a", &fake.url);
    config.timeout = Duration::from_millis(100);
    let running = Running::new(&house, config, None);
    assert_eq!(house.settled("a").await.delivered, 10);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_about_us_or_the_address_holds_the_destination_and_loses_nothing() {
    for (code, body) in [(403, "no"), (401, ""), (404, "404 page not found"), (405, ""), (302, ""), (415, "")] {
        let house = House::new(&["a"]);
        let fake = Fake::new(move |_, _| refused(code, body)).await;
        let items = fill(&house, 4, 3, 20).await;
        let running = Running::new(&house, config("a", &fake.url), None);
        until("held", || async { matches!(running.status.state(), DestinationState::Held { .. }) }).await;
        until("several probes", || async { fake.seen().len() > 3 }).await;
        let row = house.row("a");
        assert_eq!((row.pending_items, row.rejected, row.delivered), (items, 0, 0), "{code}");
        fake.follow(|_, _| status(200));
        let row = house.settled("a").await;
        assert_eq!((row.delivered, row.rejected), (items, 0), "{code}");
        assert_complete(&fake, 4, 3, 20);
        assert_eq!(running.status.state(), DestinationState::Healthy);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_is_halved_until_it_fits() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, seen| if seen.samples().len() > 60 { status(413) } else { status(200) }).await;
    let items = fill(&house, 2, 4, 100).await;
    let running = Running::new(&house, config("a", &fake.url), None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.rejected), (items, 0));
    assert_complete(&fake, 2, 4, 100);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_sample_that_is_too_large_is_lost_alone() {
    let house = House::new(&["a"]);
    let too_large = |seen: &support::Seen| seen.samples().iter().any(|(key, _, _)| key == "0/m17");
    let fake =
        Fake::new(move |_, seen| if too_large(seen) { refused(413, "request too large") } else { status(200) }).await;
    let items = fill(&house, 1, 2, 100).await;
    let running = Running::new(&house, config("a", &fake.url), None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.rejected), (items - 2, 2));
    assert_eq!(row.rejected_by, BTreeMap::from([(Reason::new("too_large"), 2)]));
    assert_eq!(running.status.snapshot().rejected, BTreeMap::from([("too_large", 2)]));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_sample_is_found_and_the_rest_is_delivered() {
    let house = House::new(&["a"]);
    let poisoned = |seen: &support::Seen| seen.samples().iter().any(|(key, _, value)| key == "0/m63" && *value == 2.0);
    let fake =
        Fake::new(move |_, seen| if poisoned(seen) { refused(400, "label name is bad") } else { status(200) }).await;
    let items = fill(&house, 1, 5, 100).await;
    let running = Running::new(&house, config("a", &fake.url), None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.rejected), (items - 1, 1));
    assert_eq!(row.rejected_by, BTreeMap::from([(Reason::new("bad_request"), 1)]));
    assert!(fake.seen().len() <= 2 * 9 + 2, "{} requests", fake.seen().len());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_end_that_refuses_everything_costs_a_bounded_number_of_requests() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, _| refused(400, "no")).await;
    let items = fill(&house, 1, 5, 100).await;
    let running = Running::new(&house, config("a", &fake.url), None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.rejected), (0, items));
    assert!(fake.seen().len() < 100, "{} requests", fake.seen().len());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_end_that_stored_the_good_part_is_not_asked_again() {
    for (code, body, reason) in [
        (400, "user=1: err: out of order sample. timestamp=1", "out_of_order"),
        (400, "err: duplicate sample for timestamp", "duplicate"),
        (400, "user=1: err: out of bounds", "out_of_bounds"),
        (400, "timestamp too old", "too_old"),
        (409, "store locally: conflict", "conflict"),
    ] {
        let house = House::new(&["a"]);
        let fake = Fake::new(move |_, _| refused(code, body)).await;
        fill(&house, 1, 1, 100).await;
        let running = Running::new(&house, config("a", &fake.url), None);
        let row = house.settled("a").await;
        assert_eq!(row.rejected_by, BTreeMap::from([(Reason::new(reason), 100)]));
        assert_eq!(fake.seen().len(), 1);
        running.stop().await;
    }
}

/// Prometheus' own receiver rolls a request back when one sample of it is out of order. After a crash, frames that it has
/// already travel with frames that it has not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_end_that_rolls_back_gets_every_sample_that_it_can_take() {
    let house = House::new(&["a"]);
    let newest: Mutex<BTreeMap<String, i64>> = Mutex::new((0..40).map(|i| (format!("1/m{i}"), NOW + 6)).collect());
    let fake = Fake::new(move |_, seen| {
        let mut newest = newest.lock();
        let mut after = newest.clone();
        for (key, time, _) in seen.samples() {
            if after.get(&key).is_some_and(|newest| *newest > time) {
                return refused(400, "out of order sample\n");
            }
            after.insert(key, time);
        }
        *newest = after;
        status(200)
    })
    .await;
    for frame in 1..=10 {
        for target in 0..2 {
            house.append(target, 40, NOW + frame, frame as f64).await;
        }
    }
    let mut config = config("a", &fake.url);
    config.shards = 1;
    let running = Running::new(&house, config, None);
    let row = house.settled("a").await;
    // Target 1 was stored up to the sixth frame before.
    assert_eq!(row.rejected_by, BTreeMap::from([(Reason::new("out_of_order"), 5 * 40)]));
    assert_eq!(row.delivered, 800 - 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_no_receiver_gives_is_not_taken_for_a_success() {
    for nonsense in [
        Reply {
            headers: vec![("content-type", "text/html; charset=utf-8".into())],
            ..refused(200, "<html>Welcome</html>")
        },
        refused(200, &"x".repeat(100_000)),
    ] {
        let house = House::new(&["a"]);
        let fake = Fake::new(move |_, _| nonsense.clone()).await;
        fill(&house, 1, 1, 10).await;
        let running = Running::new(&house, config("a", &fake.url), None);
        until("held", || async { matches!(running.status.state(), DestinationState::Held { .. }) }).await;
        assert_eq!(house.row("a").pending_items, 10);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_end_that_says_how_much_it_stored_is_believed() {
    let house = House::new(&["a"]);
    let written = vec![("x-prometheus-remote-write-samples-written", "97".to_owned())];
    let fake = Fake::new(move |_, _| Reply { headers: written.clone(), ..refused(400, "out of order sample") }).await;
    fill(&house, 1, 1, 100).await;
    let running = Running::new(&house, config("a", &fake.url), None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.rejected), (97, 3));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_is_final_only_when_the_configuration_says_so() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, _| status(429)).await;
    fill(&house, 1, 1, 100).await;
    let mut config = config("a", &fake.url);
    config.backoff.retry_on_http_429 = false;
    let running = Running::new(&house, config, None);
    assert_eq!(house.settled("a").await.rejected_by, BTreeMap::from([(Reason::new("rate_limited"), 100)]));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn external_labels_are_added_where_missing_and_write_relabel_decides_after() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, _| status(200)).await;
    fill(&house, 2, 2, 10).await;
    let mut config = config("a", &fake.url);
    config.external_labels = [("job", "other"), ("cluster", "c1")].into_iter().collect::<Labels>();
    let drop = RuleSource {
        source_labels: vec!["__name__".into(), "cluster".into()],
        regex: "m[0-4];c1".into(),
        action: Action::Drop,
        ..RuleSource::default()
    };
    config.write_relabel = vec![Rule::new(drop).unwrap()];
    let running = Running::new(&house, config, None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.filtered), (20, 20));
    for series in fake.seen().iter().flat_map(|seen| &seen.request.timeseries) {
        let labels: Vec<(&str, &str)> = series.labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect();
        assert!(labels.contains(&("cluster", "c1")) && labels.contains(&("job", "test")), "{labels:?}");
        assert!(labels.is_sorted());
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_too_old_are_not_sent_and_counted() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, _| status(200)).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    house.append(1, 10, now - 7_200_000, 1.0).await;
    house.append(1, 10, now, 2.0).await;
    let mut config = config("a", &fake.url);
    config.max_age = Some(Duration::from_secs(3600));
    let running = Running::new(&house, config, None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.expired), (10, 10));
    assert!(fake.stored().iter().all(|(_, _, value)| *value == 2.0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_that_grow_too_old_while_waiting_are_not_sent() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, _| status(500)).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    house.append(1, 10, now, 1.0).await;
    let mut config = config("a", &fake.url);
    config.max_age = Some(Duration::from_millis(1500));
    let running = Running::new(&house, config, None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.expired, row.rejected), (0, 10, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_destination_does_not_stop_another() {
    let house = House::new(&["dead", "alive"]);
    let (dead, alive) = (Fake::new(|_, _| status(500)).await, Fake::new(|_, _| status(200)).await);
    let one = Running::new(&house, config("dead", &dead.url), None);
    let other = Running::new(&house, config("alive", &alive.url), None);
    let items = fill(&house, 3, 5, 20).await;
    assert_eq!(house.settled("alive").await.delivered, items);
    assert_eq!(house.row("dead").pending_items, items);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_leaves_the_rest_for_the_next_worker() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|number, _| if number < 2 { status(200) } else { status(500) }).await;
    let items = fill(&house, 4, 20, 100).await;
    let running = Running::new(&house, config("a", &fake.url), None);
    until("trouble", || async { fake.seen().len() > 4 }).await;
    running.stop().await;
    let row = house.row("a");
    assert!(row.pending_items > 0 && row.rejected == 0 && row.balances(), "{row:?}");
    fake.follow(|_, _| status(200));
    let running = Running::new(&house, config("a", &fake.url), None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.rejected), (items, 0));
    assert_complete(&fake, 4, 20, 100);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_a_full_queue_goes_on_where_the_answers_ended() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|number, _| if number < 3 { status(200) } else { status(503) }).await;
    let items = fill(&house, 3, 20, 50).await;
    let running = Running::new(&house, config("a", &fake.url), None);
    until("trouble", || async { fake.seen().len() > 5 }).await;
    running.stop().await;
    let before = house.row("a").delivered;
    let house = House::at(house.close().await, &["a"]);
    fake.follow(|_, _| status(200));
    let running = Running::new(&house, config("a", &fake.url), None);
    let row = house.settled("a").await;
    assert!(row.delivered == items && before <= items, "{row:?}");
    assert_complete(&fake, 3, 20, 50);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_is_posted_apart_from_samples() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, _| status(200)).await;
    fill(&house, 2, 1, 5).await;
    let mut config = config("a", &fake.url);
    config.protocol = ProtocolConfig::Prometheus {
        metadata: MetadataConfig { send: true, send_interval: Duration::from_millis(10), max_samples_per_send: 2000 },
    };
    let running = Running::new(&house, config, None);
    until("metadata", || async { fake.seen().iter().any(|seen| !seen.request.metadata.is_empty()) }).await;
    let seen = fake.seen();
    let post = seen.iter().find(|seen| !seen.request.metadata.is_empty()).unwrap();
    assert!(post.request.timeseries.is_empty());
    let family = &post.request.metadata[0];
    assert_eq!((family.metric_family_name.as_str(), family.r#type, family.help.as_str()), ("m", 2, "A gauge."));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_308_to_the_same_host_is_followed_and_a_301_is_not() {
    let house = House::new(&["a"]);
    let moved = |code: u16| {
        move |_: usize, seen: &support::Seen| match seen.path.as_str() {
            "/new" => status(200),
            _ => Reply { status: code, headers: vec![("location", "/new".into())], ..Reply::default() },
        }
    };
    let fake = Fake::new(moved(301)).await;
    fill(&house, 1, 1, 10).await;
    let running = Running::new(&house, config("a", &fake.url), None);
    until("held", || async { matches!(running.status.state(), DestinationState::Held { .. }) }).await;
    let DestinationState::Held { why } = running.status.state() else { panic!("it was held") };
    assert!(why.contains("/new"), "{why}");
    fake.follow(moved(308));
    assert_eq!(house.settled("a").await.delivered, 10);
    assert!(fake.seen().iter().all(|seen| seen.method == "POST"));
    running.stop().await;
}

/// Signs with a number, and judges by a script.
#[derive(Debug)]
struct Signer {
    signed: AtomicU32,
    judge: fn(&Answer<'_>) -> IdentityVerdict,
    fails: Mutex<u32>,
}

impl Authorize for Signer {
    fn authorize<'a>(
        &'a self,
        request: &'a mut http::Request<bytes::Bytes>,
    ) -> BoxFuture<'a, Result<(), AuthorizeError>> {
        Box::pin(async move {
            let mut fails = self.fails.lock();
            if *fails > 0 {
                *fails -= 1;
                return Err(AuthorizeError { what: "no credentials: set them".into(), source: None });
            }
            let number = self.signed.fetch_add(1, Ordering::SeqCst);
            request.headers_mut().insert("x-signature", number.into());
            Ok(())
        })
    }

    fn judge(&self, answer: &Answer<'_>) -> IdentityVerdict {
        (self.judge)(answer)
    }

    fn describe(&self) -> String {
        "scripted key AKIDEXAMPLE".into()
    }
}

fn signer(fails: u32, judge: fn(&Answer<'_>) -> IdentityVerdict) -> Arc<Signer> {
    Arc::new(Signer { signed: AtomicU32::new(0), judge, fails: Mutex::new(fails) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_is_signed_anew_at_once_with_the_same_bytes() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|number, _| if number == 0 { refused(403, "ExpiredToken") } else { status(200) }).await;
    fill(&house, 1, 1, 10).await;
    let signer = signer(0, |answer| match answer.status.as_u16() {
        403 => IdentityVerdict::RetryNow { why: "expired; read again".into() },
        _ => IdentityVerdict::Unrelated,
    });
    let running = Running::new(&house, config("a", &fake.url), Some(signer));
    assert_eq!(house.settled("a").await.delivered, 10);
    let seen = fake.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].raw, seen[1].raw);
    assert_eq!(
        (&seen[0].headers["x-signature"], &seen[1].headers["x-signature"]),
        (&"0".parse().unwrap(), &"1".parse().unwrap())
    );
    assert_eq!(running.status.snapshot().retries, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_identity_holds_even_when_signing_anew_never_helps() {
    for judge in [
        (|answer: &Answer<'_>| match answer.status.as_u16() {
            403 => IdentityVerdict::RetryNow { why: "key AKIDEXAMPLE was refused".into() },
            _ => IdentityVerdict::Unrelated,
        }) as fn(&Answer<'_>) -> IdentityVerdict,
        |answer| match answer.status.as_u16() {
            403 => IdentityVerdict::Hold { why: "key AKIDEXAMPLE was refused".into() },
            _ => IdentityVerdict::Unrelated,
        },
    ] {
        let house = House::new(&["a"]);
        let fake = Fake::new(|_, _| status(403)).await;
        let items = fill(&house, 2, 2, 10).await;
        let running = Running::new(&house, config("a", &fake.url), Some(signer(0, judge)));
        until("held", || async { matches!(running.status.state(), DestinationState::Held { .. }) }).await;
        assert_eq!(running.status.state(), DestinationState::Held { why: "key AKIDEXAMPLE was refused".into() });
        assert_eq!(running.status.snapshot().identity.as_deref(), Some("scripted key AKIDEXAMPLE"));
        assert_eq!(house.row("a").pending_items, items);
        fake.follow(|_, _| status(200));
        assert_eq!(house.settled("a").await.delivered, items);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_credentials_hold_the_destination_until_they_are_there() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, _| status(200)).await;
    let items = fill(&house, 2, 2, 10).await;
    let running = Running::new(&house, config("a", &fake.url), Some(signer(4, |_| IdentityVerdict::Unrelated)));
    assert_eq!(house.settled("a").await.delivered, items);
    assert!(fake.seen().iter().all(|seen| seen.status == 200));
    running.stop().await;
}

/// A far end slow enough to be measured by, whose answers come in any order.
fn slow(number: usize) -> Duration {
    Duration::from_millis([9, 2, 14, 5, 1, 11, 3][number % 7])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_there_together_travel_in_one_request() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, _| status(200)).await;
    fill(&house, 10, 1, 50).await;
    let mut config = config("a", &fake.url);
    config.shards = 4;
    // Only a full request ends the wait.
    let tuning = Tuning { linger: Duration::from_secs(3600), ..support::tuning() };
    let running = Running::tuned(&house, config, None, tuning);
    assert_eq!(house.settled("a").await.delivered, 500);
    assert_eq!(fake.seen().len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_leaves_by_all_lines_at_once() {
    let house = House::new(&["a"]);
    // Answers take their time until there were four requests at once.
    let fake = Fake::new(|_, _| status(200)).await;
    let gate = fake.clone();
    fake.follow(move |_, _| Reply {
        delay: if gate.most_under_way() < 4 { Duration::from_millis(300) } else { Duration::ZERO },
        ..status(200)
    });
    let items = fill(&house, 12, 4, 100).await;
    let mut config = config("a", &fake.url);
    config.shards = 4;
    config.batching.max_samples = 200;
    let running = Running::new(&house, config, None);
    assert_eq!(house.settled("a").await.delivered, items);
    assert_eq!(fake.most_under_way(), 4, "as many as there are lines, and no more");
    assert_complete(&fake, 12, 4, 100);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_keep_their_order_over_lines_of_different_speed_refusals_and_stops() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|number, _| {
        let reply = match number % 11 {
            3 => status(500),
            5 => Reply { status: 429, headers: vec![("retry-after", "0".into())], ..Reply::default() },
            7 => refused(403, "no"),
            _ => status(200),
        };
        Reply { delay: slow(number), ..reply }
    })
    .await;
    let mut items = 0;
    for round in 0..4u32 {
        let mut config = config("a", &fake.url);
        config.shards = 4;
        config.batching.max_samples = 120;
        let running = Running::new(&house, config, None);
        for frame in 1..=6 {
            let value = f64::from(round * 6 + frame);
            // Several targets at once, as scrapes come.
            let all = (0..9u64).map(|target| house.append(target, 40, NOW + value as i64, value));
            futures_util::future::join_all(all).await;
            items += 9 * 40;
        }
        if round < 3 {
            let asked = fake.seen().len();
            until("a little more", || async { fake.seen().len() > asked || house.row("a").pending_items == 0 }).await;
        } else {
            let row = house.settled("a").await;
            assert_eq!((row.delivered, row.rejected), (items, 0));
        }
        running.stop().await;
    }
    assert_complete(&fake, 9, 24, 40);
    assert!(fake.most_under_way() <= 4 + 4, "requests cut off by a stop may linger there");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 20, ..ProptestConfig::default() })]

    /// Whatever the sizes of frames and bodies, whatever the far end takes at once and refuses: every sample comes to
    /// exactly one end, and the good ones arrive in order.
    #[test]
    fn every_cut_gives_every_sample_one_end(
        frames in prop::collection::vec((0u64..3, 1usize..300), 1..12),
        max_samples in 1usize..400,
        max_bytes in 200usize..20_000,
        takes in 1usize..300,
        poisoned in prop::collection::btree_set(0usize..300, 0..3),
        shards in 1u32..4,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::new(&["a"]);
            let names: BTreeSet<String> = poisoned.iter().map(|index| format!("m{index}")).collect();
            let bad = {
                let names = names.clone();
                move |key: &str| names.contains(key.split('/').nth(1).unwrap())
            };
            let judge = bad.clone();
            let fake = Fake::new(move |number, seen| {
                let samples = seen.samples();
                if samples.len() > takes {
                    return status(413);
                }
                let bad = samples.iter().any(|(key, _, _)| judge(key));
                Reply { delay: slow(number), ..if bad { refused(400, "bad") } else { status(200) } }
            })
            .await;
            let mut expected: BTreeMap<String, Vec<f64>> = BTreeMap::new();
            let (mut items, mut lost) = (0, 0);
            for (number, (stream, series)) in frames.iter().enumerate() {
                // Tables hold up to 200 series whose names start again at m0.
                house.append(*stream, (*series).min(200), NOW + number as i64, (number + 1) as f64).await;
                for index in 0..(*series).min(200) {
                    let key = format!("{stream}/m{index}");
                    items += 1;
                    if bad(&key) { lost += 1 } else { expected.entry(key).or_default().push((number + 1) as f64) }
                }
            }
            let mut config = config("a", &fake.url);
            config.batching.max_samples = max_samples;
            config.batching.max_bytes = max_bytes;
            config.shards = shards;
            let running = Running::new(&house, config, None);
            let row = house.settled("a").await;
            running.stop().await;
            assert_eq!(row.accepted, items);
            assert_eq!((row.delivered, row.rejected), (items - lost, lost));
            assert_eq!(fake.stored_in_order(), expected);
        });
    }
}

/// Appends frames of incompressible size until the lane has lost something for this destination.
async fn overfill(house: &House, destination: &str) {
    let mut seed = 1.0f64;
    let mut time = NOW;
    while house.row(destination).evicted == 0 {
        time += 1;
        let values: Vec<f64> = (0..2000)
            .map(|_| {
                seed = (seed * 1.000_123_7 + 0.137).fract() + 1.0;
                seed
            })
            .collect();
        house.append_values(99, time, &values).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_queue_gave_up_is_not_tried_any_more_and_the_rest_arrives() {
    // One answer that never comes, and one that asks for patience: a request and a wait to be given up.
    let patience = Reply { status: 503, headers: vec![("retry-after", "200".into())], ..Reply::default() };
    for stuck in [Reply { hang: true, ..Reply::default() }, patience] {
        let house = House::small(&["a"], 512 << 10);
        let fake = Fake::new(move |_, _| stuck.clone()).await;
        house.append(1, 100, NOW, 1.0).await;
        let mut config = config("a", &fake.url);
        config.shards = 1;
        config.timeout = Duration::from_secs(3600);
        let running = Running::new(&house, config, None);
        until("the first request", || async { !fake.seen().is_empty() }).await;
        let first = fake.seen()[0].samples();
        assert!(first.iter().all(|(key, _, _)| key.starts_with("1/")));
        // What comes next is taken.
        fake.follow(|_, _| status(200));
        overfill(&house, "a").await;
        let row = house.settled("a").await;
        assert!(row.evicted >= 100 && row.delivered > 0 && row.rejected == 0, "{row:?}");
        assert!(fake.stored().iter().all(|(key, _, _)| key.starts_with("99/")), "the old samples were let go");
        assert_eq!(running.status.state(), DestinationState::Healthy);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_frame_goes_with_the_next_and_at_a_stop_alone() {
    let house = House::new(&["a"]);
    let fake = Fake::new(|_, _| status(200)).await;
    let mut config = config("a", &fake.url);
    config.shards = 1;
    let tuning = Tuning { rest_linger: Duration::from_secs(3600), ..support::tuning() };
    let running = Running::tuned(&house, config.clone(), None, tuning);
    let sizes = || fake.seen().iter().map(|seen| seen.samples().len()).collect::<Vec<_>>();
    house.append(1, 700, NOW, 1.0).await;
    until("a full request", || async { sizes() == [500] }).await;
    house.append(2, 700, NOW, 1.0).await;
    until("another", || async { sizes() == [500, 500] }).await;
    running.stop().await;
    assert_eq!(sizes(), [500, 500, 400], "nothing that was sent in part is left to be repeated");
    let row = house.row("a");
    assert_eq!((row.delivered, row.pending_items), (1400, 0));

    // A far end that does not answer any more does not hold up the stop, and takes nothing away.
    let running = Running::tuned(&house, config, None, tuning);
    house.append(1, 700, NOW + 1, 2.0).await;
    until("a full request", || async { sizes().len() == 4 }).await;
    fake.follow(|_, _| Reply { hang: true, ..Reply::default() });
    running.stop().await;
    let row = house.row("a");
    assert_eq!((row.delivered, row.pending_items, row.rejected), (1400, 700, 0));
}
