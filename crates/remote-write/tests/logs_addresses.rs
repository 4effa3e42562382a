//! Destinations with several addresses: what one of them refuses is not the trouble of the others.

mod logs_support;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use logs_support::{LogHouse, config, gunzipped, lines, loki, now_ns, template};
use parking_lot::Mutex;
use remote_write::{
    DestinationState,
    logs::{CloudWatchConfig, LogCompression, LogFormat, LogObjectsConfig, LogProtocol},
};
use support::{Fake, Reply, Seen, refused, status, until};

fn tenant(seen: &Seen) -> String {
    seen.headers.get("x-scope-orgid").map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}

/// What was taken for a tenant.
fn taken(fake: &Fake, of: &str) -> Vec<String> {
    let seen = fake.seen();
    let taken = seen.iter().filter(|seen| seen.status < 300 && tenant(seen) == of);
    taken.flat_map(lines).map(|(_, line)| line).collect()
}

fn asked(fake: &Fake, of: &str) -> usize {
    fake.seen().iter().filter(|seen| tenant(seen) == of).count()
}

fn numbered(name: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| format!("{name} {n}")).collect()
}

const A: (&str, &str) = ("__tenant_id__", "A");
const B: (&str, &str) = ("__tenant_id__", "B");

/// A frame with a line for each tenant.
async fn append_both(house: &LogHouse, source: u64, n: u32) {
    let (a, b) = (format!("a {n}"), format!("b {n}"));
    house.append(source, &[(&[("job", "j"), A], now_ns(), &a), (&[("job", "j"), B], now_ns(), &b)]).await;
}

/// `reply` to tenant A until it is let in.
async fn one_refused(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Fake {
    Fake::new(move |_, seen| if tenant(seen) == "A" { reply() } else { status(204) }).await
}

#[tokio::test]
async fn a_tenant_that_is_refused_or_throttled_keeps_nothing_from_another_and_gets_all_later() {
    for code in [429, 403, 503] {
        let fake = one_refused(move || refused(code, "not now")).await;
        let house = LogHouse::new();
        let mut config = loki(&fake.url);
        config.shards = 1;
        config.batching.max_age = Duration::from_millis(1);
        let running = house.run(config);
        for n in 0..60 {
            append_both(&house, 1, n).await;
        }
        until("all of B arrived", || async { taken(&fake, "B").len() == 60 }).await;
        assert_eq!(taken(&fake, "B"), numbered("b", 0..60));
        assert!(house.row().pending_items > 0 && taken(&fake, "A").is_empty());
        let state = running.status.state();
        let (DestinationState::Held { why } | DestinationState::Retrying { why }) = &state else { panic!("{state:?}") };
        assert!(why.contains("tenant A") && why.contains("not now"), "{why}");
        assert_eq!(state.word(), if code == 403 { "held" } else { "retrying" });
        fake.follow(|_, _| status(204));
        let row = house.settled().await;
        assert_eq!((row.delivered, row.rejected), (120, 0));
        assert_eq!(taken(&fake, "A"), numbered("a", 0..60), "once, in order");
        assert_eq!(taken(&fake, "B").len(), 60);
        until("healthy", || async { running.status.state() == DestinationState::Healthy }).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn lines_of_others_are_found_behind_those_of_a_tenant_that_was_never_served() {
    let fake = one_refused(|| status(403)).await;
    let house = LogHouse::new();
    let mut config = loki(&fake.url);
    config.shards = 1;
    config.batching.max_age = Duration::from_millis(1);
    for n in 0..20 {
        house.append_run(1, &[("job", "j"), A], "a", n * 5, 5).await;
    }
    let running = house.run(config);
    until("A is refused", || async { running.status.state().word() == "held" }).await;
    house.append_run(1, &[("job", "j"), B], "b", 0, 5).await;
    until("B arrived", || async { taken(&fake, "B").len() == 5 }).await;
    fake.follow(|_, _| status(204));
    house.settled().await;
    assert_eq!(taken(&fake, "A"), numbered("a", 0..100));
    running.stop().await;
}

#[tokio::test]
async fn what_waits_for_one_address_leaves_in_full_requests() {
    let fake = Fake::new(|_, _| status(503)).await;
    let house = LogHouse::new();
    let mut config = loki(&fake.url);
    config.shards = 1;
    config.batching.max_age = Duration::from_millis(1);
    let running = house.run(config);
    for n in 0..50 {
        house.append_run(1, &[("job", "j"), A], "a", n * 2, 2).await;
    }
    until("all are in hand", || async { house.row().in_flight_items == 100 }).await;
    let before = fake.seen().len();
    fake.follow(|_, _| status(204));
    house.settled().await;
    assert_eq!(taken(&fake, "A"), numbered("a", 0..100));
    assert!(fake.seen().len() - before < 20, "{}", fake.seen().len() - before);
    running.stop().await;
}

#[tokio::test]
async fn a_stop_while_one_waits_leaves_its_lines_on_disk_and_no_more_than_the_window_comes_twice() {
    let fake = one_refused(|| status(429)).await;
    let house = LogHouse::new();
    let mut config = loki(&fake.url);
    config.shards = 1;
    config.batching.max_age = Duration::from_millis(1);
    let running = house.run(config.clone());
    for n in 0..10 {
        house.append_run(1, &[("job", "j"), B], "b", n, 1).await;
    }
    until("the first are settled", || async { house.row().delivered == 10 }).await;
    for n in 10..40 {
        append_both(&house, 1, n).await;
    }
    until("all of B arrived", || async { taken(&fake, "B").len() == 40 }).await;
    running.stop().await;
    let house = LogHouse::at(house.close().await);
    assert_eq!(house.row().pending_items, 60, "frames come back whole");
    fake.follow(|_, _| status(204));
    let running = house.run(config);
    house.settled().await;
    assert_eq!(taken(&fake, "A"), numbered("a", 10..40));
    let b: Vec<String> = taken(&fake, "B");
    assert_eq!(b[..40], numbered("b", 0..40)[..]);
    assert_eq!(b[40..], numbered("b", 10..40)[..], "again, from the first that waited");
    running.stop().await;
}

#[tokio::test]
async fn the_window_is_all_that_goes_on_beside_one_that_waits() {
    let fake = one_refused(|| status(429)).await;
    let house = LogHouse::new();
    let mut config = loki(&fake.url);
    config.shards = 1;
    config.batching.max_age = Duration::from_millis(1);
    let running = house.run(config);
    for n in 0..300 {
        append_both(&house, 1, n).await;
    }
    // 192 frames of a log destination may be on their way; one more waits for a place.
    until("the window is full", || async { house.row().in_flight_items == 2 * 193 }).await;
    until("all of it that can go went", || async { taken(&fake, "B").len() >= 192 }).await;
    assert_eq!(taken(&fake, "B"), numbered("b", 0..192));
    fake.follow(|_, _| status(204));
    let row = house.settled().await;
    assert_eq!(row.delivered, 600);
    assert_eq!((taken(&fake, "A"), taken(&fake, "B")), (numbered("a", 0..300), numbered("b", 0..300)));
    running.stop().await;
}

#[tokio::test]
async fn many_tenants_that_are_all_refused_are_asked_like_one() {
    let fake = Fake::new(|_, _| status(401)).await;
    let house = LogHouse::new();
    let config = loki(&fake.url);
    for tenant in 0..40 {
        house.append_run(tenant, &[("__tenant_id__", &format!("t{tenant}"))], "n", 0, 1).await;
    }
    let running = house.run(config);
    until("held", || async { running.status.state().word() == "held" }).await;
    until("probes", || async { fake.seen().len() >= 20 }).await;
    let DestinationState::Held { why } = running.status.state() else { panic!() };
    assert!(!why.contains("tenant"), "it is everybody's trouble: {why}");
    fake.follow(|_, _| status(204));
    let row = house.settled().await;
    assert_eq!(row.delivered, 40);
    running.stop().await;
}

#[tokio::test]
async fn whatever_tenants_are_answered_each_gets_its_lines_once_and_in_order() {
    for seed in 0..6_u64 {
        let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        let fake = Fake::new({
            let random = Arc::clone(&random);
            move |_, seen| {
                let bad: u32 = tenant(seen)[1..].parse().unwrap();
                let mut random = random.lock();
                if random.u32(0..10) < bad { status(random.choice([429, 403, 503, 500]).unwrap()) } else { status(204) }
            }
        })
        .await;
        let house = LogHouse::new();
        let mut config = loki(&fake.url);
        config.shards = 1 + (seed % 3) as u32;
        config.batching.max_age = Duration::from_millis(1);
        config.batching.max_bytes = 200;
        let running = house.run(config);
        let mut expected: BTreeMap<(u64, String), Vec<String>> = BTreeMap::new();
        for n in 0..120 {
            let source = random.lock().u64(0..3);
            let tenants: BTreeSet<u32> = (0..3).map(|_| random.lock().u32(0..10)).collect();
            let texts: Vec<(String, String)> =
                tenants.iter().map(|tenant| (format!("t{tenant}"), format!("{source} {n}"))).collect();
            let labels: Vec<[(&str, &str); 1]> =
                texts.iter().map(|(tenant, _)| [("__tenant_id__", tenant.as_str())]).collect();
            let frame: Vec<_> =
                texts.iter().zip(&labels).map(|((_, text), labels)| (&labels[..], now_ns(), text.as_str())).collect();
            house.append(source, &frame).await;
            for (tenant, text) in &texts {
                expected.entry((source, tenant.clone())).or_default().push(text.clone());
            }
        }
        house.settled().await;
        for ((source, tenant), lines) in expected {
            let of = format!("{source} ");
            let found: Vec<String> = taken(&fake, &tenant).into_iter().filter(|line| line.starts_with(&of)).collect();
            assert_eq!(found, lines, "seed {seed}, source {source}, tenant {tenant}");
        }
        running.stop().await;
    }
}

#[tokio::test]
async fn a_log_group_that_may_not_be_made_keeps_nothing_from_another() {
    let fake = Fake::new(|_, seen| {
        let text = String::from_utf8_lossy(&seen.raw).into_owned();
        let target = seen.headers["x-amz-target"].to_str().unwrap().to_owned();
        if target.ends_with("PutLogEvents") {
            return if text.contains("\"/g/bad\"") {
                refused(
                    400,
                    r#"{"__type":"ResourceNotFoundException","message":"The specified log group does not exist."}"#,
                )
            } else {
                refused(200, "{}")
            };
        }
        refused(400, r#"{"__type":"AccessDeniedException","message":"not yours"}"#)
    })
    .await;
    let house = LogHouse::new();
    let protocol = CloudWatchConfig {
        log_group: template("/g/{job}"),
        log_stream: template("s"),
        create: true,
        retention_days: None,
        gzip: false,
    };
    let mut config = config(&fake.url, LogProtocol::CloudWatch(protocol));
    config.batching.max_age = Duration::from_millis(1);
    let running = house.run(config);
    for n in 0..30 {
        house
            .append(1, &[(&[("job", "bad")], now_ns(), "x"), (&[("job", "good")], now_ns(), &format!("n {n}."))])
            .await;
    }
    let good = || {
        let seen = fake.seen();
        let text =
            seen.iter().filter(|seen| seen.status == 200).map(|seen| String::from_utf8_lossy(&seen.raw).into_owned());
        text.collect::<String>()
    };
    until("all of the good ones", || async { (0..30).all(|n| good().contains(&format!("n {n}."))) }).await;
    let DestinationState::Held { why } = running.status.state() else { panic!("{:?}", running.status.state()) };
    assert!(why.contains("log group /g/bad, stream s") && why.contains("not yours"), "{why}");
    running.stop().await;
}

#[tokio::test]
async fn a_prefix_that_is_refused_keeps_nothing_from_another_and_objects_keep_their_names() {
    let stored: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let answer = {
        let stored = Arc::clone(&stored);
        move |open: bool| {
            let stored = Arc::clone(&stored);
            move |_: usize, seen: &Seen| {
                if !open && seen.path.contains("/bad/") {
                    return refused(403, "<Error><Code>AccessDenied</Code></Error>");
                }
                let mut stored = stored.lock();
                if stored.contains_key(&seen.path) {
                    return status(412);
                }
                stored.insert(seen.path.clone(), String::from_utf8(gunzipped(&seen.raw)).unwrap());
                status(200)
            }
        }
    };
    let fake = Fake::new(answer(false)).await;
    let protocol = LogObjectsConfig {
        prefix: Some(template("{job}")),
        format: LogFormat::Text,
        compression: LogCompression::Gzip,
        storage_class: None,
        expected_bucket_owner: None,
        sse: None,
        sse_kms_key_id: None,
    };
    let mut url = fake.url.clone();
    url.set_path("/bucket/");
    let config = config(&url, LogProtocol::Objects(protocol));
    let text = |job: &str| {
        let stored = stored.lock();
        let of: Vec<_> = stored.iter().filter(|(path, _)| path.contains(&format!("/{job}/"))).collect();
        of.into_iter().map(|(_, text)| text.as_str()).collect::<String>()
    };
    let house = LogHouse::new();
    let running = house.run(config.clone());
    let expected = |name: &str| (0..40).map(|n| format!("{name} {n}\n")).collect::<String>();
    for n in 0..40 {
        let (bad, good) = (format!("bad {n}"), format!("good {n}"));
        house.append(1, &[(&[("job", "bad")], now_ns(), &bad), (&[("job", "good")], now_ns(), &good)]).await;
        // More than one group.
        if n % 10 == 9 {
            let so_far = n;
            until("the good ones", || async { text("good").contains(&format!("good {so_far}\n")) }).await;
        }
    }
    assert_eq!((text("good"), text("bad")), (expected("good"), String::new()));
    let objects = stored.lock().len();
    assert!(objects > 2);
    // What is stored is found stored after a stop in between.
    running.stop().await;
    let house = LogHouse::at(house.close().await);
    fake.follow(answer(true));
    let running = house.run(config);
    let row = house.settled().await;
    assert_eq!(row.delivered, 80);
    assert_eq!((text("good"), text("bad")), (expected("good"), expected("bad")), "nothing twice");
    assert_eq!(stored.lock().len(), 2 * objects);
    running.stop().await;
}

#[tokio::test]
async fn a_client_of_its_own_for_a_tenant_takes_what_others_leave() {
    let fake = Fake::new(|_, _| status(204)).await;
    let house = LogHouse::new();
    for n in 0..5 {
        append_both(&house, 1, n).await;
    }
    let mut config = loki(&fake.url);
    config.write_relabel = vec![keep("__tenant_id__", "A")];
    let running = house.run(config);
    let row = house.settled().await;
    assert_eq!((row.delivered, row.filtered), (5, 5));
    assert_eq!((taken(&fake, "A"), asked(&fake, "B")), (numbered("a", 0..5), 0));
    running.stop().await;
}

fn keep(label: &str, value: &str) -> relabel::Rule {
    relabel::Rule::new(relabel::RuleSource {
        source_labels: vec![label.into()],
        regex: value.into(),
        action: relabel::Action::Keep,
        ..relabel::RuleSource::default()
    })
    .unwrap()
}
