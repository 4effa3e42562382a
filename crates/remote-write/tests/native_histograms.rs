//! Native histograms on their way to destinations that take them, and past those that do not.

mod support;

use prost::Message;
use proto::remote_write::{BucketSpan, Histogram};
use support::{Fake, House, Running, Seen, config, status};

const NOW: i64 = 1_700_000_000_000;

fn histogram(count: u64, buckets: u32) -> Histogram {
    Histogram {
        count,
        sum: 2.5,
        schema: 3,
        positive_spans: vec![BucketSpan { offset: 1, length: buckets }],
        positive_deltas: (0..buckets).map(|n| i64::from(n % 2) * 200 - 100).collect(),
        ..Histogram::default()
    }
}

/// Of one request: `(target/name, histogram)`.
fn histograms(seen: &Seen) -> Vec<(String, Histogram)> {
    let one = |series: &proto::remote_write::TimeSeries| {
        let label = |name: &str| series.labels.iter().find(|l| l.name == name).map_or("", |l| l.value.as_str());
        let key = format!("{}/{}", label("target"), label("__name__"));
        series.histograms.iter().map(|histogram| (key.clone(), histogram.clone())).collect::<Vec<_>>()
    };
    seen.request.timeseries.iter().flat_map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_destination_gets_native_histograms_and_the_other_what_stands_in_for_them() {
    let house = House::new(&["native", "plain"]);
    let (native, plain) = (Fake::new(|_, _| status(204)).await, Fake::new(|_, _| status(204)).await);
    house.append(1, 3, NOW, 1.0).await;
    let sent: Vec<Histogram> = (1..=5).map(|count| histogram(count, 4)).collect();
    let encoded: Vec<Vec<u8>> = sent.iter().map(Histogram::encode_to_vec).collect();
    house.append_histograms(2, NOW + 1, &encoded).await;
    house.append(1, 3, NOW + 2, 2.0).await;
    let mut takes = config("native", &native.url);
    takes.native_histograms = true;
    let running = [Running::new(&house, takes, None), Running::new(&house, config("plain", &plain.url), None)];
    // The three samples twice, and either the histograms or their stand-ins; the others are filtered out.
    for name in ["native", "plain"] {
        let row = house.settled(name).await;
        assert_eq!((row.delivered, row.filtered, row.rejected), (11, 5, 0), "{name}");
    }
    let expected: Vec<(String, Histogram)> = (0..5)
        .zip(&sent)
        .map(|(index, of)| (format!("2/m{index}"), Histogram { timestamp: NOW + 1, ..of.clone() }))
        .collect();
    assert_eq!(native.seen().iter().flat_map(histograms).collect::<Vec<_>>(), expected);
    assert_eq!((native.stored().len(), plain.stored().len()), (6, 11));
    assert!(plain.seen().iter().all(|seen| histograms(seen).is_empty()));
    assert!(plain.stored().contains(&("2/m4".to_owned(), NOW + 1, 1.0)));
    for running in running {
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_large_histograms_keep_to_the_limits_and_a_refused_one_is_lost_alone() {
    let house = House::new(&["a"]);
    let refused = |seen: &Seen| histograms(seen).iter().any(|(_, histogram)| histogram.count == 17);
    let fake =
        Fake::new(move |_, seen| if refused(seen) { support::refused(400, "bad histogram") } else { status(200) })
            .await;
    // About 20 kB each: longer than what is compressed at once, together.
    let encoded: Vec<Vec<u8>> = (1..=100).map(|count| histogram(count, 9000).encode_to_vec()).collect();
    house.append_histograms(2, NOW, &encoded).await;
    let mut config = config("a", &fake.url);
    config.native_histograms = true;
    config.batching.max_bytes = 200_000;
    let running = Running::new(&house, config, None);
    let row = house.settled("a").await;
    assert_eq!((row.delivered, row.filtered, row.rejected), (99, 100, 1));
    let seen = fake.seen();
    assert!(seen.iter().all(|seen| seen.request.encoded_len() <= 200_000));
    let mut counts: Vec<u64> =
        seen.iter().filter(|seen| seen.status == 200).flat_map(histograms).map(|(_, of)| of.count).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=100).filter(|count| *count != 17).collect::<Vec<_>>());
    running.stop().await;
}
