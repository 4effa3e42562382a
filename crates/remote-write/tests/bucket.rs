//! A bucket as destination, and the way back: every sample is in exactly one object, whatever happens on the way.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::body::Bytes;
use parking_lot::Mutex;
use prost::Message;
use proto::remote_write::WriteRequest;
use remote_write::{
    DestinationConfig, DestinationState, ObjectSource, ProtocolConfig, ReplayConfig, ReplayError, ReplayProgress,
    replay,
};
use support::{Fake, House, Reply, Running, Seen, refused, samples, status, until};
use tokio_util::sync::CancellationToken;
use url::Url;

const NOW: i64 = 1_700_000_000_000;
const PREFIX: &str = "/bucket/prometheus/remote-write/";

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// What S3 does with a request: PUT if it is not there, GET, list in pages of three.
fn serve(objects: &Objects, seen: &Seen) -> Reply {
    let mut objects = objects.lock();
    if seen.method == "PUT" {
        assert_eq!(seen.headers["if-none-match"], "*");
        assert!(!seen.headers.contains_key("content-encoding"));
        if objects.contains_key(&seen.path) {
            return refused(412, "<Error><Code>PreconditionFailed</Code></Error>");
        }
        objects.insert(seen.path.clone(), seen.raw.clone());
        return status(200);
    }
    if let Some(body) = objects.get(&seen.path) {
        return Reply { status: 200, body: body.clone(), ..Reply::default() };
    }
    assert_eq!(seen.path, "/bucket");
    let query: BTreeMap<String, String> = url::form_urlencoded::parse(seen.query.as_bytes()).into_owned().collect();
    assert_eq!(query["list-type"], "2");
    let after = query.get("continuation-token").or(query.get("start-after")).cloned().unwrap_or_default();
    let keys: Vec<&str> = objects.keys().map(|key| key.strip_prefix("/bucket/").unwrap()).collect();
    let keys: Vec<&str> =
        keys.into_iter().filter(|key| key.starts_with(&query["prefix"]) && *key > after.as_str()).collect();
    let page: String =
        keys.iter().take(3).map(|key| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>")).collect();
    let next = if keys.len() > 3 {
        format!("<NextContinuationToken>{}</NextContinuationToken>", keys[2])
    } else {
        String::new()
    };
    refused(
        200,
        &format!("<ListBucketResult><IsTruncated>{}</IsTruncated>{page}{next}</ListBucketResult>", keys.len() > 3),
    )
}

fn contents(objects: &Objects) -> Vec<(String, i64, f64)> {
    let decode =
        |object: &Bytes| WriteRequest::decode(&*snap::raw::Decoder::new().decompress_vec(object).unwrap()).unwrap();
    objects.lock().values().flat_map(|object| samples(&decode(object))).collect()
}

fn config(fake: &Fake) -> DestinationConfig {
    let mut url = fake.url.clone();
    url.set_path(PREFIX);
    let mut config = support::config("bucket", &url);
    config.protocol = ProtocolConfig::S3 {
        storage_class: Some("STANDARD_IA".into()),
        expected_bucket_owner: None,
        sse: None,
        sse_kms_key_id: None,
    };
    config.batching.max_age = Duration::from_millis(30);
    config
}

fn assert_exactly_once(objects: &Objects, frames: u64, targets: u64, series: usize) {
    let all = contents(objects);
    let distinct: BTreeSet<(String, i64)> = all.iter().map(|(key, time, _)| (key.clone(), *time)).collect();
    assert_eq!(distinct.len(), all.len(), "something is stored twice");
    assert_eq!(all.len() as u64, frames * targets * series as u64);
    // Objects sort by place, so reading them in order gives each series in order.
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for (key, time, _) in &all {
        assert!(last.insert(key, *time).is_none_or(|last| last < *time), "{key} goes back");
    }
}

async fn fill(house: &House, frames: std::ops::Range<u64>, targets: u64, series: usize) {
    for frame in frames {
        for target in 0..targets {
            house.append(target, series, NOW + frame as i64, frame as f64).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_appear_under_the_prefix_named_by_their_place() {
    let house = House::new(&["bucket"]);
    let objects = Objects::default();
    let fake = Fake::new({
        let objects = Arc::clone(&objects);
        move |_, seen| serve(&objects, seen)
    })
    .await;
    fill(&house, 1..11, 4, 20).await;
    let running = Running::new(&house, config(&fake), None);
    let row = house.settled("bucket").await;
    assert_eq!((row.delivered, row.rejected), (800, 0));
    assert_exactly_once(&objects, 10, 4, 20);
    let mut next = 0;
    for (path, seen) in objects.lock().keys().zip(fake.seen()) {
        let name = path.strip_prefix(PREFIX).unwrap();
        let (place, file) = name.rsplit_once('/').unwrap();
        assert!(place.starts_with("metrics-default/20"), "{name}");
        let parts: Vec<&str> = file.strip_suffix(".snappy").unwrap().split('-').collect();
        let (first, last): (u64, u64) = (parts[0].parse().unwrap(), parts[1].parse().unwrap());
        assert_eq!((first, parts[0].len(), parts[2].len()), (next, 20, 16), "no hole between objects: {name}");
        next = last + 1;
        assert_eq!(seen.headers["x-amz-storage-class"], "STANDARD_IA");
    }
    assert_eq!(next, 800);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_stores_nothing_twice() {
    let house = House::new(&["bucket"]);
    let objects = Objects::default();
    let fake = Fake::new({
        let objects = Arc::clone(&objects);
        move |number, seen| {
            let reply = serve(&objects, seen);
            match number % 3 {
                0 => Reply { close: true, ..Reply::default() },
                1 => refused(500, "<Error><Code>InternalError</Code></Error>"),
                _ => reply,
            }
        }
    })
    .await;
    fill(&house, 1..11, 4, 20).await;
    let running = Running::new(&house, config(&fake), None);
    let row = house.settled("bucket").await;
    assert_eq!((row.delivered, row.rejected), (800, 0));
    assert!(fake.seen().iter().any(|seen| seen.status == 412));
    assert_exactly_once(&objects, 10, 4, 20);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_before_the_answer_makes_the_same_objects_again() {
    let objects = Objects::default();
    let fake = Fake::new(|_, _| status(500)).await;
    let mut house = House::new(&["bucket"]);
    let mut frames = 0;
    for round in 0..4 {
        // Everything is stored, and nothing is ever answered but by the last of the round.
        let script_objects = Arc::clone(&objects);
        let begin = fake.seen().len();
        fake.follow(move |number, seen| {
            let reply = serve(&script_objects, seen);
            if number - begin < round { reply } else { status(500) }
        });
        fill(&house, frames + 1..frames + 6, 3, 20).await;
        frames += 5;
        let running = Running::new(&house, config(&fake), None);
        until("some attempts", || async { fake.seen().len() > begin + round + 3 }).await;
        running.stop().await;
        let row = house.row("bucket");
        assert!(row.balances() && row.rejected == 0 && row.pending_items > 0, "{row:?}");
        house = House::at(house.close().await, &["bucket"]);
    }
    fake.follow({
        let objects = Arc::clone(&objects);
        move |_, seen| serve(&objects, seen)
    });
    let running = Running::new(&house, config(&fake), None);
    let row = house.settled("bucket").await;
    assert_eq!((row.delivered, row.rejected), (frames * 60, 0));
    assert_exactly_once(&objects, frames, 3, 20);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_larger_than_an_object_is_stored_in_several() {
    let house = House::new(&["bucket"]);
    let objects = Objects::default();
    let fake = Fake::new({
        let objects = Arc::clone(&objects);
        move |_, seen| serve(&objects, seen)
    })
    .await;
    house.append(1, 5, NOW, 1.0).await;
    house.append(2, 200, NOW, 1.0).await;
    house.append(3, 5, NOW, 1.0).await;
    let mut config = config(&fake);
    config.batching.max_bytes = 2000;
    config.batching.max_age = Duration::from_millis(200);
    let running = Running::new(&house, config, None);
    assert_eq!(house.settled("bucket").await.delivered, 210);
    assert!(objects.lock().len() > 5);
    let all = contents(&objects);
    assert_eq!(all.iter().map(|(key, ..)| key).collect::<BTreeSet<_>>().len(), 210);
    assert_eq!(all.len(), 210);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_bucket_holds_and_loses_nothing() {
    let house = House::new(&["bucket"]);
    let fake = Fake::new(|_, _| refused(404, "<Error><Code>NoSuchBucket</Code></Error>")).await;
    fill(&house, 1..3, 2, 10).await;
    let running = Running::new(&house, config(&fake), None);
    until("held", || async { matches!(running.status.state(), DestinationState::Held { .. }) }).await;
    let DestinationState::Held { why } = running.status.state() else { panic!("it was held") };
    assert!(why.contains("NoSuchBucket") && why.contains("bucket's name"), "{why}");
    assert_eq!(house.row("bucket").pending_items, 40);
    let objects = Objects::default();
    fake.follow(move |_, seen| serve(&objects, seen));
    assert_eq!(house.settled("bucket").await.delivered, 40);
    running.stop().await;
}

/// A bucket with some objects in it.
async fn filled_bucket() -> (Objects, Fake) {
    let house = House::new(&["bucket"]);
    let objects = Objects::default();
    let fake = Fake::new({
        let objects = Arc::clone(&objects);
        move |_, seen| serve(&objects, seen)
    })
    .await;
    let mut config = config(&fake);
    config.batching.max_bytes = 5000;
    let running = Running::new(&house, config, None);
    fill(&house, 1..21, 3, 20).await;
    house.settled("bucket").await;
    running.stop().await;
    assert!(objects.lock().len() > 7, "more than two pages: {}", objects.lock().len());
    (objects, fake)
}

fn replay_config(source: ObjectSource, to: &Url, progress: Option<std::path::PathBuf>) -> ReplayConfig {
    let mut destination = support::config("replay", to);
    destination.batching.max_samples = 25;
    ReplayConfig { source, destination, authorize: None, progress_file: progress }
}

fn from_bucket(fake: &Fake) -> ObjectSource {
    let mut url = fake.url.clone();
    url.set_path(PREFIX);
    ObjectSource::S3 { url, endpoint_url: None, client: Box::default(), authorize: None }
}

fn assert_replayed(endpoint: &Fake) {
    let stored = endpoint.stored_in_order();
    assert_eq!(stored.len(), 60);
    let all: Vec<f64> = (1..21).map(f64::from).collect();
    assert!(stored.values().all(|values| *values == all));
}

async fn run(config: ReplayConfig) -> (Result<ReplayProgress, ReplayError>, Vec<ReplayProgress>) {
    let mut steps = Vec::new();
    let result = replay(config, &mut |progress| steps.push(progress.clone()), CancellationToken::new()).await;
    (result, steps)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_posted_to_an_endpoint_and_goes_on_where_it_stopped() {
    let (objects, bucket) = filled_bucket().await;
    let count = objects.lock().len() as u64;
    let endpoint = Fake::new(|number, _| match number {
        2 => status(503),
        7.. => status(403),
        _ => status(200),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("progress");
    let (result, steps) = run(replay_config(from_bucket(&bucket), &endpoint.url, Some(file.clone()))).await;
    assert!(matches!(result, Err(ReplayError::Refused { .. })), "{result:?}");
    assert!(steps.iter().any(|step| step.waiting.is_some()), "the 503 is waited out");
    let done = steps.last().unwrap().objects;
    assert!(done > 0 && done < count);

    endpoint.follow(|_, _| status(200));
    let (result, _) = run(replay_config(from_bucket(&bucket), &endpoint.url, Some(file.clone()))).await;
    let progress = result.unwrap();
    assert_eq!((progress.objects, progress.found_all, progress.rejected), (count - done, true, 0));
    assert_replayed(&endpoint);
    assert!(endpoint.seen().iter().all(|seen| seen.samples().len() <= 25));

    let (result, _) = run(replay_config(from_bucket(&bucket), &endpoint.url, Some(file.clone()))).await;
    assert_eq!(result.unwrap().objects, 0, "nothing is left");
    let (result, _) =
        run(replay_config(ObjectSource::Directory(directory.path().into()), &endpoint.url, Some(file))).await;
    assert!(matches!(result, Err(ReplayError::Progress { .. })), "the file belongs to the bucket");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_objects_is_posted_and_what_is_no_object_is_left_out() {
    let (objects, _) = filled_bucket().await;
    let directory = tempfile::tempdir().unwrap();
    for (path, object) in &*objects.lock() {
        let file = directory.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, object).unwrap();
    }
    std::fs::write(directory.path().join("notes.txt"), "not an object").unwrap();
    std::fs::write(directory.path().join("broken.snappy"), "not snappy").unwrap();
    let endpoint = Fake::new(|_, seen| if seen.samples().len() > 10 { status(413) } else { status(200) }).await;
    let (result, _) = run(replay_config(ObjectSource::Directory(directory.path().into()), &endpoint.url, None)).await;
    let progress = result.unwrap();
    assert_eq!((progress.unreadable, progress.delivered, progress.rejected), (1, 1200, 0));
    assert_replayed(&endpoint);
}
