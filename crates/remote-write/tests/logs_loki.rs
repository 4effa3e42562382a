//! Log lines from a real queue to a Loki on loopback.

mod logs_support;
mod support;

use std::collections::BTreeMap;

use logs_support::{LogHouse, lines, loki, now_ns, pushed};
use remote_write::DestinationState;
use support::{Fake, Seen, refused, status, until};

fn stored(fake: &Fake) -> Vec<(String, String)> {
    fake.seen().iter().filter(|seen| (200..300).contains(&seen.status)).flat_map(lines).collect()
}

#[tokio::test]
async fn lines_arrive_with_their_labels_times_and_order() {
    let fake = Fake::new(|_, _| status(204)).await;
    let house = LogHouse::new();
    let at = 1_700_000_000_123_456_789;
    house
        .append(
            1,
            &[
                (&[("job", "a"), ("filename", "/var/log/x")], at, "one"),
                (&[("job", "b")], at + 1, "other"),
                (&[("job", "a"), ("filename", "/var/log/x")], at + 2, "two"),
            ],
        )
        .await;
    let running = house.run(loki(&fake.url));
    let row = house.settled().await;
    assert_eq!(row.delivered, 3);
    let seen = fake.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].headers["content-type"], "application/x-protobuf");
    assert!(!seen[0].headers.contains_key("x-scope-orgid"));
    let push = pushed(&seen[0]);
    assert_eq!(push.streams.len(), 2);
    let first = &push.streams[0];
    assert_eq!(first.labels, r#"{filename="/var/log/x", job="a"}"#);
    let times: Vec<_> = first.entries.iter().map(|e| (e.timestamp.unwrap(), e.line.as_str())).collect();
    assert_eq!((times[0].0.seconds, times[0].0.nanos, times[0].1), (1_700_000_000, 123_456_789, "one"));
    assert_eq!((times[1].0.nanos, times[1].1), (123_456_791, "two"));
    running.stop().await;
}

#[tokio::test]
async fn tenants_get_requests_of_their_own_and_hidden_labels_stay_here() {
    let fake = Fake::new(|_, _| status(204)).await;
    let house = LogHouse::new();
    house
        .append(
            1,
            &[
                (&[("job", "a"), ("__tenant_id__", "red")], now_ns(), "r"),
                (&[("job", "a"), ("__tenant_id__", "blue"), ("__hidden", "x")], now_ns(), "b"),
                (&[("job", "a"), ("env", "own")], now_ns(), "plain"),
            ],
        )
        .await;
    let mut config = loki(&fake.url);
    config.external_labels = [("env", "outer"), ("zone", "z\"1")].into_iter().collect();
    config.protocol =
        remote_write::ProtocolConfig::Logs(remote_write::logs::LogProtocol::Loki(remote_write::logs::LokiConfig {
            tenant_id: Some("common".into()),
        }));
    let running = house.run(config);
    house.settled().await;
    let by_tenant: BTreeMap<String, Vec<(String, String)>> = fake
        .seen()
        .iter()
        .map(|seen| (seen.headers["x-scope-orgid"].to_str().unwrap().to_owned(), lines(seen)))
        .collect();
    let outer = r#"{env="outer", job="a", zone="z\"1"}"#.to_owned();
    assert_eq!(by_tenant["red"], [(outer.clone(), "r".to_owned())]);
    assert_eq!(by_tenant["blue"], [(outer, "b".to_owned())]);
    assert_eq!(by_tenant["common"], [(r#"{env="own", job="a", zone="z\"1"}"#.to_owned(), "plain".to_owned())]);
    running.stop().await;
}

#[tokio::test]
async fn what_is_throttled_or_broken_is_sent_again_in_order() {
    let fake = Fake::new(|number, _| match number {
        0 => refused(429, "Ingestion rate limit exceeded for user fake"),
        1 => refused(500, "at least 2 live replicas required"),
        2 => support::Reply { close: true, status: 204, ..support::Reply::default() },
        _ => status(204),
    })
    .await;
    let house = LogHouse::new();
    for batch in 0..20 {
        house.append_run(7, &[("job", "a")], "line", batch * 10, 10).await;
    }
    let running = house.run(loki(&fake.url));
    let row = house.settled().await;
    assert_eq!(row.delivered, 200);
    let got: Vec<String> = stored(&fake).into_iter().map(|(_, line)| line).collect();
    assert_eq!(got, (0..200).map(|n| format!("line {n}")).collect::<Vec<_>>());
    assert!(running.status.snapshot().retries >= 3);
    running.stop().await;
}

#[tokio::test]
async fn a_source_keeps_its_order_while_others_overtake_it() {
    let fake = Fake::new(|number, _| if number % 3 == 0 { status(503) } else { status(204) }).await;
    let house = LogHouse::new();
    let mut config = loki(&fake.url);
    config.shards = 4;
    config.batching.max_bytes = 600;
    let running = house.run(config);
    for batch in 0..30 {
        for source in 0..4 {
            house.append_run(source, &[("source", &source.to_string())], "n", batch * 5, 5).await;
        }
    }
    let row = house.settled().await;
    assert_eq!(row.delivered, 600);
    let mut by_source: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (labels, line) in stored(&fake) {
        by_source.entry(labels).or_default().push(line);
    }
    assert_eq!(by_source.len(), 4);
    for lines in by_source.values() {
        assert_eq!(*lines, (0..150).map(|n| format!("n {n}")).collect::<Vec<_>>());
    }
    running.stop().await;
}

/// Refuses every request with a line that says `poison`, and stores nothing of it.
fn strict(_: usize, seen: &Seen) -> support::Reply {
    if lines(seen).iter().any(|(_, line)| line.contains("poison")) {
        refused(400, "error parsing labels")
    } else {
        status(204)
    }
}

#[tokio::test]
async fn a_poisoned_line_is_lost_alone() {
    let fake = Fake::new(strict).await;
    let house = LogHouse::new();
    for source in 0..3 {
        house.append_run(source, &[("source", &source.to_string())], "fine", 0, 100).await;
    }
    let at = now_ns();
    house.append(9, &[(&[("j", "x")], at, "a"), (&[("j", "x")], at, "poison"), (&[("j", "x")], at, "b")]).await;
    let running = house.run(loki(&fake.url));
    let row = house.settled().await;
    assert_eq!(row.delivered, 302);
    assert_eq!(
        row.rejected_by.iter().map(|(reason, n)| (reason.as_str(), *n)).collect::<Vec<_>>(),
        [("bad_request", 1)]
    );
    let got = stored(&fake);
    assert_eq!(got.len(), 302);
    let x: Vec<_> = got.iter().filter(|(labels, _)| labels.contains("\"x\"")).map(|(_, l)| l.as_str()).collect();
    assert_eq!(x, ["a", "b"]);
    running.stop().await;
}

#[tokio::test]
async fn what_loki_counts_as_ignored_is_booked_without_asking_again() {
    let fake = Fake::new(|_, _| {
        refused(400, "entry with timestamp 2020 ignored, reason: 'entry too far behind',\nuser 'fake', total ignored: 3 out of 10 for stream: {job=\"a\"}")
    })
    .await;
    let house = LogHouse::new();
    house.append_run(1, &[("job", "a")], "n", 0, 10).await;
    let running = house.run(loki(&fake.url));
    let row = house.settled().await;
    assert_eq!((row.delivered, fake.seen().len()), (7, 1));
    assert_eq!(running.status.snapshot().rejected.get("too_old"), Some(&3));
    running.stop().await;
}

#[tokio::test]
async fn a_rate_limit_drops_the_batch_where_that_is_wanted() {
    let fake = Fake::new(|_, _| refused(429, "rate limit")).await;
    let house = LogHouse::new();
    house.append_run(1, &[("job", "a")], "n", 0, 10).await;
    let mut config = loki(&fake.url);
    config.backoff.retry_on_http_429 = false;
    let running = house.run(config);
    let row = house.settled().await;
    assert_eq!(row.delivered, 0);
    assert_eq!(running.status.snapshot().rejected.get("rate_limited"), Some(&10));
    assert_eq!(fake.seen().len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn refused_credentials_hold_everything_until_they_are_taken() {
    let fake = Fake::new(|number, _| if number < 4 { status(401) } else { status(204) }).await;
    let house = LogHouse::new();
    house.append_run(1, &[("job", "a")], "n", 0, 10).await;
    let running = house.run(loki(&fake.url));
    let row = house.settled().await;
    assert_eq!(row.delivered, 10);
    until("healthy", || async { running.status.state() == DestinationState::Healthy }).await;
    running.stop().await;
}

#[tokio::test]
async fn lines_that_are_too_old_expire_one_by_one() {
    let fake = Fake::new(|_, _| status(204)).await;
    let house = LogHouse::new();
    let hour = 3_600_000_000_000;
    let now = now_ns();
    house
        .append(
            1,
            &[
                (&[("job", "a")], now - 2 * hour, "old"),
                (&[("job", "a")], now, "new"),
                (&[("job", "b")], now - 3 * hour, "older"),
                (&[("job", "c")], now, "c"),
            ],
        )
        .await;
    let mut config = loki(&fake.url);
    config.max_age = Some(std::time::Duration::from_secs(3600));
    let running = house.run(config);
    let row = house.settled().await;
    assert_eq!((row.delivered, row.expired), (2, 2));
    let mut got: Vec<String> = stored(&fake).into_iter().map(|(_, line)| line).collect();
    got.sort();
    assert_eq!(got, ["c", "new"]);
    running.stop().await;
}

#[tokio::test]
async fn a_stop_in_the_middle_loses_nothing() {
    let fake =
        Fake::new(
            |number, _| {
                if number < 2 { status(204) } else { support::Reply { hang: true, ..support::Reply::default() } }
            },
        )
        .await;
    let house = LogHouse::new();
    for batch in 0..10 {
        house.append_run(1, &[("job", "a")], "line", batch * 10, 10).await;
    }
    let mut config = loki(&fake.url);
    config.batching.max_bytes = 400;
    let running = house.run(config.clone());
    until("two are stored and one hangs", || async { fake.seen().len() >= 3 }).await;
    running.stop().await;
    let house = LogHouse::at(house.close().await);
    fake.follow(|_, _| status(204));
    let running = house.run(config);
    house.settled().await;
    let got: Vec<String> = stored(&fake).into_iter().map(|(_, line)| line).collect();
    assert_eq!(got, (0..100).map(|n| format!("line {n}")).collect::<Vec<_>>(), "none is lost, none twice");
    running.stop().await;
}

#[tokio::test]
async fn a_frame_of_many_megabytes_is_sent_in_parts() {
    let fake = Fake::new(|_, _| status(204)).await;
    let house = LogHouse::new();
    let text = "x".repeat(10_000);
    let at = now_ns();
    let frame: Vec<_> = (0..600).map(|n| (&[("job", "a")][..], at + n, text.as_str())).collect();
    house.append(1, &frame).await;
    let running = house.run(loki(&fake.url));
    let row = house.settled().await;
    assert_eq!(row.delivered, 600);
    let sizes: Vec<usize> = fake.seen().iter().map(|seen| lines(seen).len()).collect();
    assert!(sizes.len() >= 6 && sizes.iter().all(|n| *n <= 105), "{sizes:?}");
    running.stop().await;
}
