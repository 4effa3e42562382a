//! What the specification's rules and the Collector's translation make of each kind of metric.

use model::{LogBatchView, SeriesTable, decode_batch, is_stale};
use prost::Message;
use proto::{
    otlp_common::{AnyValue, InstrumentationScope, KeyValue, Resource, Value},
    otlp_logs::{ExportLogsServiceRequest, LogRecord, ResourceLogs, ScopeLogs},
    otlp_metrics::*,
};

use crate::{
    name::{Kind, label_name, metric_name, unit_name},
    *,
};

#[test]
fn names_follow_the_rules_for_units_totals_and_ratios() {
    // Names, units and results as the Collector documents them.
    for (name, unit, kind, wanted) in [
        ("system.filesystem.usage", "By", Kind::Gauge, "system_filesystem_usage_bytes"),
        ("system.io", "By", Kind::Counter, "system_io_bytes_total"),
        ("network_transmitted_bytes_total", "By", Kind::Counter, "network_transmitted_bytes_total"),
        ("\t system.filesystem.usage       ", "  By\t", Kind::Gauge, "system_filesystem_usage_bytes"),
        ("system.network.dropped", "{packets}", Kind::Gauge, "system_network_dropped"),
        ("system.network.dropped", "{packets}", Kind::Counter, "system_network_dropped_total"),
        ("system.network.dropped", "packets", Kind::Gauge, "system_network_dropped_packets"),
        ("system.network.packets.dropped", "packets", Kind::Counter, "system_network_packets_dropped_total"),
        ("hw.gpu.memory.utilization", "1", Kind::Gauge, "hw_gpu_memory_utilization_ratio"),
        ("hw.fan.speed_ratio", "1", Kind::Gauge, "hw_fan_speed_ratio"),
        ("objects", "1", Kind::Counter, "objects_total"),
        ("hw.cpu.speed_limit", "Hz", Kind::Gauge, "hw_cpu_speed_limit_hertz"),
        ("broken.metric.speed", "km/h", Kind::Gauge, "broken_metric_speed_km_per_hour"),
        ("astro.light.speed_limit", "m/s", Kind::Gauge, "astro_light_speed_limit_meters_per_second"),
        ("broken.metric.success_ratio", "%", Kind::Gauge, "broken_metric_success_ratio_percent"),
        ("test.metric.no_unit", "", Kind::Gauge, "test_metric_no_unit"),
        ("unsupported.metric.weird", "+=.:,!* & #", Kind::Gauge, "unsupported_metric_weird"),
        (
            "active_directory.ds.replication.object.rate",
            "{objects}/s",
            Kind::Gauge,
            "active_directory_ds_replication_object_rate_per_second",
        ),
        ("system.disk.operation_time", "s", Kind::Counter, "system_disk_operation_time_seconds_total"),
        (
            "mongodbatlas.process.oplog.rate",
            "GiBy/h",
            Kind::Gauge,
            "mongodbatlas_process_oplog_rate_gibibytes_per_hour",
        ),
        ("http.server.request.duration", "s", Kind::Other, "http_server_request_duration_seconds"),
        ("3.14 digits", "", Kind::Gauge, "_3_14_digits"),
        (":foo::bar", "", Kind::Counter, "foo_bar_total"),
        ("...", "", Kind::Gauge, ""),
    ] {
        assert_eq!(metric_name(name, unit, kind), wanted, "{name:?} {unit:?} {kind:?}");
    }
    for (name, wanted) in
        [("http.method", "http_method"), ("0day", "key_0day"), ("_x", "key_x"), ("__x", "__x"), ("ünder", "key_nder")]
    {
        assert_eq!(label_name(name), wanted);
    }
    for (unit, wanted) in
        [("By", "bytes"), ("By/s", "bytes_per_second"), ("{x}/s", "per_second"), ("1", ""), ("{x}", "")]
    {
        assert_eq!(unit_name(unit), wanted);
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

fn word(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::String(value.to_owned()))
}

fn resource() -> Resource {
    let attributes = vec![
        word("service.name", "shop"),
        word("service.namespace", "web"),
        word("service.instance.id", "i-1"),
        word("host.name", "h"),
        attribute("cpus", Value::Int(4)),
    ];
    Resource { attributes, ..Resource::default() }
}

fn request(metrics: Vec<Metric>) -> Vec<u8> {
    let scope = ScopeMetrics { metrics, ..ScopeMetrics::default() };
    let group = ResourceMetrics { resource: Some(resource()), scope_metrics: vec![scope], ..Default::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![group] }.encode_to_vec()
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    let description = format!("{name}'s help");
    Metric { name: name.to_owned(), unit: unit.to_owned(), description, data: Some(data), ..Metric::default() }
}

fn point(seconds: u64, value: Number) -> NumberDataPoint {
    let attributes = vec![word("b.c", "1"), word("a", "x")];
    NumberDataPoint { time_unix_nano: seconds * 1_000_000_000, value: Some(value), attributes, ..Default::default() }
}

const NOW: i64 = 1_700_000_000_000;

/// `name{labels} value @time`, without `job` and `instance`, which all have.
fn shown(all: &Translated) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in &all.batches {
        let batch = batch.borrowed();
        let mut bytes = Vec::new();
        batch.encode(&mut bytes);
        let contexts: Vec<_> = batch.contexts().collect();
        let chunks = decode_batch(&bytes, &mut |_| panic!("there is no base")).unwrap();
        for chunk in chunks {
            let table = contexts.iter().find(|(key, _)| *key == chunk.table).unwrap();
            let table = SeriesTable::decode(&table.1).unwrap();
            for sample in chunk.samples() {
                lines.push(line(&table, sample));
            }
        }
    }
    lines
}

fn line(table: &SeriesTable, sample: model::DecodedSample) -> String {
    let labels = table.label_set(sample.series as usize);
    assert_eq!((labels.get("job"), labels.get("instance")), (Some("web/shop"), Some("i-1")));
    let own = labels.iter().filter(|(name, _)| !["__name__", "job", "instance"].contains(name));
    let own: Vec<String> = own.map(|(name, value)| format!("{name}={value:?}")).collect();
    let value = if is_stale(sample.value) { "stale".to_owned() } else { sample.value.to_string() };
    let name = labels.get("__name__").unwrap();
    format!("{name}{{{}}} {value} @{}", own.join(","), sample.timestamp_ms)
}

fn translated(metrics: Vec<Metric>) -> Translated {
    MetricTranslator::default().translate(&request(metrics), NOW).unwrap()
}

const INFO: &str = r#"target_info{cpus="4",host_name="h"} 1 @"#;

#[test]
fn gauges_and_sums_become_series_and_their_resource_an_info() {
    let gauge = Gauge {
        data_points: vec![
            point(10, Number::Double(0.5)),
            NumberDataPoint { flags: NO_RECORDED_VALUE, ..point(11, Number::Int(0)) },
        ],
    };
    let sum =
        |is_monotonic| Sum { data_points: vec![point(12, Number::Int(-3))], aggregation_temporality: 2, is_monotonic };
    let all = translated(vec![
        metric("cpu.load", "1", Data::Gauge(gauge)),
        metric("requests", "", Data::Sum(sum(true))),
        metric("in.flight", "", Data::Sum(sum(false))),
    ]);
    assert_eq!(
        shown(&all),
        [
            r#"cpu_load_ratio{a="x",b_c="1"} 0.5 @10000"#,
            // The same series again: another batch.
            r#"cpu_load_ratio{a="x",b_c="1"} stale @11000"#,
            r#"requests_total{a="x",b_c="1"} -3 @12000"#,
            r#"in_flight{a="x",b_c="1"} -3 @12000"#,
            &format!("{INFO}12000"),
        ]
    );
    assert_eq!((all.points, all.rejected.len(), all.batches.len()), (4, 0, 2));
}

#[test]
fn a_histogram_becomes_buckets_that_count_upwards() {
    let histogram = HistogramDataPoint {
        time_unix_nano: 5_000_000_000,
        count: 6,
        sum: Some(2.5),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.005, 10.0],
        min: Some(0.0),
        ..Default::default()
    };
    let data = Histogram { data_points: vec![histogram], aggregation_temporality: 2 };
    let all = translated(vec![metric("http.duration", "s", Data::Histogram(data))]);
    assert_eq!(
        shown(&all),
        [
            "http_duration_seconds_sum{} 2.5 @5000",
            "http_duration_seconds_count{} 6 @5000",
            r#"http_duration_seconds_bucket{le="0.005"} 1 @5000"#,
            r#"http_duration_seconds_bucket{le="10"} 3 @5000"#,
            r#"http_duration_seconds_bucket{le="+Inf"} 6 @5000"#,
            &format!("{INFO}5000"),
        ]
    );
}

#[test]
fn a_histogram_whose_buckets_contradict_its_count_is_refused() {
    let told = |count, bucket_counts: Vec<u64>, flags| {
        let explicit_bounds = (1..bucket_counts.len()).map(|bound| bound as f64).collect();
        let point = HistogramDataPoint { count, bucket_counts, explicit_bounds, flags, ..Default::default() };
        let all = [1, 2].map(|aggregation_temporality| {
            let data = Histogram { data_points: vec![point.clone()], aggregation_temporality };
            let all = translated(vec![metric("h", "", Data::Histogram(data))]);
            (all.points, all.rejected.get("malformed_histogram").copied())
        });
        assert_eq!(all[0], all[1], "whatever its temporality");
        all[0]
    };
    assert_eq!(told(6, vec![1, 2, 3], 0), (1, None));
    for (count, buckets) in [(1, vec![1, 2, 3]), (7, vec![1, 2, 3]), (0, vec![u64::MAX, 1]), (1, vec![0])] {
        assert_eq!(told(count, buckets, 0), (0, Some(1)));
    }
    // Without buckets there is nothing to contradict; nor is there where no value was recorded.
    assert_eq!(told(5, vec![], 0), (1, None));
    assert_eq!(told(0, vec![1, 2], NO_RECORDED_VALUE), (1, None));
}

#[test]
fn attributes_named_as_a_bucket_or_quantile_is_stay_on_all_series_of_the_metric_under_another_name() {
    let attributes = vec![word("le", "evil"), word("quantile", "q"), word("exported_le", "before")];
    let histogram = HistogramDataPoint {
        time_unix_nano: 5_000_000_000,
        count: 1,
        bucket_counts: vec![1, 0],
        explicit_bounds: vec![1.0],
        attributes: attributes.clone(),
        ..Default::default()
    };
    let summary = SummaryDataPoint {
        time_unix_nano: 5_000_000_000,
        count: 3,
        quantile_values: vec![ValueAtQuantile { quantile: 0.5, value: 0.1 }],
        attributes: attributes.clone(),
        ..Default::default()
    };
    let gauge = NumberDataPoint { attributes, ..point(5, Number::Int(1)) };
    let all = translated(vec![
        metric("h", "", Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 2 })),
        metric("s", "", Data::Summary(Summary { data_points: vec![summary] })),
        metric("g", "", Data::Gauge(Gauge { data_points: vec![gauge] })),
    ]);
    let of_histogram = r#"exported_exported_le="evil",exported_le="before""#;
    let of_summary = r#"exported_le="before",exported_quantile="q",le="evil""#;
    assert_eq!(
        shown(&all)[..7],
        [
            format!(r#"h_count{{{of_histogram},quantile="q"}} 1 @5000"#),
            format!(r#"h_bucket{{{of_histogram},le="1",quantile="q"}} 1 @5000"#),
            format!(r#"h_bucket{{{of_histogram},le="+Inf",quantile="q"}} 1 @5000"#),
            format!(r#"s_sum{{{of_summary}}} 0 @5000"#),
            format!(r#"s_count{{{of_summary}}} 3 @5000"#),
            r#"s{exported_le="before",exported_quantile="q",le="evil",quantile="0.5"} 0.1 @5000"#.to_owned(),
            r#"g{exported_le="before",le="evil",quantile="q"} 1 @5000"#.to_owned(),
        ]
    );
}

#[test]
fn an_exponential_histogram_gets_bounds_of_its_own() {
    let point = ExponentialHistogramDataPoint {
        time_unix_nano: 5_000_000_000,
        count: 10,
        sum: Some(20.0),
        scale: 0,
        zero_count: 1,
        // (1, 2] and (2, 4], the data model's example of scale 0.
        positive: Some(Buckets { offset: 0, bucket_counts: vec![2, 3] }),
        negative: Some(Buckets { offset: 1, bucket_counts: vec![4] }),
        ..Default::default()
    };
    let of = |point: ExponentialHistogramDataPoint, temporality| {
        let data = ExponentialHistogram { data_points: vec![point], aggregation_temporality: temporality };
        translated(vec![metric("e", "", Data::ExponentialHistogram(data))])
    };
    assert_eq!(
        shown(&of(point.clone(), 2))[2..7],
        [
            r#"e_bucket{le="-2"} 4 @5000"#,
            r#"e_bucket{le="0"} 5 @5000"#,
            r#"e_bucket{le="2"} 7 @5000"#,
            r#"e_bucket{le="4"} 10 @5000"#,
            r#"e_bucket{le="+Inf"} 10 @5000"#,
        ]
    );
    // The first difference is the sum.
    assert_eq!(shown(&of(point.clone(), 1)), shown(&of(point.clone(), 2)));
    assert_eq!(of(point.clone(), 0).rejected, [("no_temporality", 1)].into());
    // Fine buckets are joined until there are few, and nothing is lost on the way.
    let fine = ExponentialHistogramDataPoint {
        scale: 20,
        zero_count: 0,
        negative: None,
        positive: Some(Buckets { offset: -70_000, bucket_counts: vec![1; 5000] }),
        count: 5000,
        ..point
    };
    let lines = shown(&of(fine, 2));
    assert!(lines.len() < 170, "{}", lines.len());
    let last = lines.iter().filter(|line| line.contains("le=\"")).nth_back(1).unwrap();
    assert!(last.ends_with(" 5000 @5000"), "{last}");
    let wild = ExponentialHistogramDataPoint {
        scale: i32::MIN,
        positive: Some(Buckets { offset: i32::MAX, bucket_counts: vec![1, 1] }),
        ..Default::default()
    };
    assert!(!shown(&of(wild, 2)).is_empty());
}

/// `name{labels} count/sum @time` of native histograms.
fn shown_natively(all: &Translated) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in &all.histograms {
        let batch = batch.borrowed();
        let mut bytes = Vec::new();
        batch.encode(&mut bytes);
        let contexts: Vec<_> = batch.contexts().collect();
        for chunk in decode_batch(&bytes, &mut |_| panic!("there is no base")).unwrap() {
            let table = contexts.iter().find(|(key, _)| *key == chunk.table).unwrap();
            let table = SeriesTable::decode(&table.1).unwrap();
            for (at, sample) in chunk.samples().enumerate() {
                let read = proto::remote_write::Histogram::decode(chunk.histograms.get(at).unwrap()).unwrap();
                assert_eq!(table.family(sample.series as usize).kind, model::MetricType::Histogram);
                let line = line(&table, sample);
                let sum = if is_stale(read.sum) { "stale".to_owned() } else { read.sum.to_string() };
                lines.push(line.replace(" 0 @", &format!(" {}/{sum} @", read.count)));
            }
        }
    }
    lines
}

#[test]
fn an_exponential_histogram_is_a_native_one_where_that_is_asked_for() {
    let point = |seconds: u64, count: u64| ExponentialHistogramDataPoint {
        time_unix_nano: seconds * 1_000_000_000,
        count,
        sum: Some(count as f64),
        positive: Some(Buckets { offset: 0, bucket_counts: vec![count] }),
        attributes: vec![word("a", "b")],
        ..Default::default()
    };
    let of = |points: Vec<ExponentialHistogramDataPoint>, temporality| {
        let data = ExponentialHistogram { data_points: points, aggregation_temporality: temporality };
        request(vec![metric("e", "s", Data::ExponentialHistogram(data))])
    };
    let once = |form, request: &[u8]| MetricTranslator::new(form).translate(request, NOW).unwrap();
    let stale = ExponentialHistogramDataPoint { flags: NO_RECORDED_VALUE, ..point(6, 0) };
    let request = of(vec![point(5, 4), stale], 2);
    let all = once(ExponentialForm::Native, &request);
    let natively = [
        r#"e_seconds{a="b"} 4/4 @5000"#.to_owned(),
        format!(r#"e_seconds{{a="b"}} {}/stale @6000"#, model::STALE_NAN_BITS),
    ];
    assert_eq!(shown_natively(&all), natively);
    assert_eq!((shown(&all), all.points, all.stand_ins.len()), (vec![format!("{INFO}6000")], 2, 0));
    // Destinations that take no native ones get the bounds, and nobody gets both.
    let both = once(ExponentialForm::Both, &request);
    assert_eq!((shown_natively(&both), shown(&both), both.points), (natively.to_vec(), shown(&all), 2));
    let stand_ins = Translated { batches: both.stand_ins, ..Translated::default() };
    let bounds = shown(&once(ExponentialForm::Bounds, &request));
    assert_eq!(shown(&stand_ins), bounds[..bounds.len() - 1]);
    // Differences are added up, also of different scales, and once.
    let mut translator = MetricTranslator::new(ExponentialForm::Native);
    let finer = ExponentialHistogramDataPoint { scale: 3, ..point(7, 2) };
    for (point, sum) in [(point(6, 3), "3/3 @6000"), (finer.clone(), "5/5 @7000")] {
        let all = translator.translate(&of(vec![point], 1), NOW).unwrap();
        assert_eq!(shown_natively(&all), [format!(r#"e_seconds{{a="b"}} {sum}"#)]);
        translator.done();
    }
    let again = translator.translate(&of(vec![finer], 1), NOW).unwrap();
    assert_eq!(again.rejected, [("old_delta", 1)].into());
    // What Prometheus has no scale for is told, and not added.
    let coarse = ExponentialHistogramDataPoint { scale: -5, ..point(9, 1) };
    for temporality in [1, 2] {
        let all = translator.translate(&of(vec![coarse.clone()], temporality), NOW).unwrap();
        assert_eq!((all.rejected, translator.has_added()), ([("histogram_scale", 1)].into(), false));
    }
}

#[test]
fn native_histograms_are_cut_into_records_that_the_queue_takes() {
    let points = (0..3000u32).map(|number| ExponentialHistogramDataPoint {
        time_unix_nano: 1_000_000_000,
        count: 160 * 1_000_000,
        sum: Some(1.0),
        positive: Some(Buckets { offset: 0, bucket_counts: (0..160).map(|n| (n % 2) * 2_000_000).collect() }),
        attributes: vec![word("n", &number.to_string())],
        ..Default::default()
    });
    let data = ExponentialHistogram { data_points: points.collect(), aggregation_temporality: 2 };
    let request = request(vec![metric("e", "", Data::ExponentialHistogram(data))]);
    let all = MetricTranslator::new(ExponentialForm::Native).translate(&request, NOW).unwrap();
    assert_eq!((all.points, shown_natively(&all).len(), all.histograms.len()), (3000, 3000, 2));
}

#[test]
fn a_summary_becomes_quantiles() {
    let point = SummaryDataPoint {
        time_unix_nano: 5_000_000_000,
        count: 3,
        sum: 1.5,
        quantile_values: vec![
            ValueAtQuantile { quantile: 0.5, value: 0.1 },
            ValueAtQuantile { quantile: 1.0, value: 2.0 },
        ],
        ..Default::default()
    };
    let all = translated(vec![metric("s", "", Data::Summary(Summary { data_points: vec![point] }))]);
    assert_eq!(
        shown(&all)[..4],
        ["s_sum{} 1.5 @5000", "s_count{} 3 @5000", r#"s{quantile="0.5"} 0.1 @5000"#, r#"s{quantile="1"} 2 @5000"#]
    );
}

#[test]
fn differences_are_added_up_once_and_taken_back_when_they_are_not_stored() {
    let delta = |seconds, value| {
        let data_points = vec![point(seconds, Number::Int(value))];
        let sum = proto::otlp_metrics::Sum { data_points, aggregation_temporality: 1, is_monotonic: true };
        request(vec![metric("n", "", Data::Sum(sum))])
    };
    let mut translator = MetricTranslator::default();
    let first = |translator: &mut MetricTranslator, seconds, value| {
        let all = translator.translate(&delta(seconds, value), NOW).unwrap();
        shown(&all)
            .first()
            .filter(|line| line.starts_with("n_total"))
            .cloned()
            .unwrap_or_else(|| format!("{:?}", all.rejected))
    };
    assert_eq!(first(&mut translator, 1, 5), r#"n_total{a="x",b_c="1"} 5 @1000"#);
    translator.done();
    assert_eq!(first(&mut translator, 2, 2), r#"n_total{a="x",b_c="1"} 7 @2000"#);
    translator.undo();
    assert_eq!(first(&mut translator, 2, 2), r#"n_total{a="x",b_c="1"} 7 @2000"#);
    translator.done();
    assert_eq!(first(&mut translator, 2, 2), r#"{"old_delta": 1}"#, "the same once more");
    let histogram = |seconds: u64, counts: Vec<u64>| {
        let point = HistogramDataPoint {
            time_unix_nano: seconds * 1_000_000_000,
            count: counts.iter().sum(),
            sum: Some(1.0),
            bucket_counts: counts,
            explicit_bounds: vec![1.0],
            ..Default::default()
        };
        let data = Histogram { data_points: vec![point], aggregation_temporality: 1 };
        request(vec![metric("h", "", Data::Histogram(data))])
    };
    translator.translate(&histogram(1, vec![1, 2]), NOW).unwrap();
    translator.done();
    let all = translator.translate(&histogram(2, vec![10, 20]), NOW).unwrap();
    assert_eq!(
        shown(&all)[..4],
        ["h_sum{} 2 @2000", "h_count{} 33 @2000", r#"h_bucket{le="1"} 11 @2000"#, r#"h_bucket{le="+Inf"} 33 @2000"#]
    );
}

#[test]
fn what_has_no_place_is_counted_by_its_reason() {
    let sum = Sum { data_points: vec![point(1, Number::Int(1))], aggregation_temporality: 0, is_monotonic: true };
    let broken = HistogramDataPoint { bucket_counts: vec![1, 2], explicit_bounds: vec![], ..Default::default() };
    let histogram = Histogram { data_points: vec![broken], aggregation_temporality: 2 };
    let empty = NumberDataPoint { value: None, ..point(1, Number::Int(1)) };
    let all = translated(vec![
        metric("a", "", Data::Sum(sum)),
        metric("b", "", Data::Histogram(histogram)),
        metric("c", "", Data::Gauge(Gauge { data_points: vec![empty] })),
        metric("!!", "", Data::Gauge(Gauge { data_points: vec![point(1, Number::Int(1))] })),
    ]);
    let expected = [("malformed_histogram", 1), ("no_name", 1), ("no_temporality", 1), ("no_value", 1)];
    assert_eq!((all.points, all.rejected), (0, expected.into()));
    assert!(MetricTranslator::default().translate(b"\x0a\xff", NOW).is_err());
}

#[test]
fn series_of_two_scopes_are_two_series_and_a_request_cannot_contradict_itself() {
    let scoped = |name: &str, value: i64, seconds: u64| {
        let gauge = Gauge { data_points: vec![point(seconds, Number::Int(value))] };
        let scope = InstrumentationScope {
            name: name.to_owned(),
            version: "1.0".to_owned(),
            attributes: vec![word("team.name", "x"), word("name", "not this")],
            ..Default::default()
        };
        let metrics = vec![metric("g", "", Data::Gauge(gauge))];
        ScopeMetrics { scope: (!name.is_empty()).then_some(scope), metrics, ..ScopeMetrics::default() }
    };
    let of = |groups: Vec<Vec<ScopeMetrics>>| {
        let group = |scope_metrics| ResourceMetrics { resource: Some(resource()), scope_metrics, ..Default::default() };
        let request = ExportMetricsServiceRequest { resource_metrics: groups.into_iter().map(group).collect() };
        MetricTranslator::default().translate(&request.encode_to_vec(), NOW).unwrap()
    };
    let all = of(vec![vec![scoped("one", 1, 5), scoped("two", 2, 5), scoped("", 3, 5)]]);
    let labels =
        |name| format!(r#"a="x",b_c="1",otel_scope_name="{name}",otel_scope_team_name="x",otel_scope_version="1.0""#);
    assert_eq!(
        shown(&all),
        [
            format!("g{{{}}} 1 @5000", labels("one")),
            format!("g{{{}}} 2 @5000", labels("two")),
            r#"g{a="x",b_c="1"} 3 @5000"#.to_owned(),
            format!("{INFO}5000"),
        ]
    );
    assert_eq!((all.points, all.rejected.len()), (3, 0));
    // Another value of the same series at the same time is told; the same value once more, and another time, are not.
    let all = of(vec![
        vec![scoped("", 1, 5), scoped("", 2, 5), scoped("", 1, 5), scoped("", 2, 6)],
        vec![scoped("", 3, 6), scoped("", 3, 7)],
    ]);
    assert_eq!((all.points, all.rejected.clone()), (4, [("conflicting_point", 2)].into()));
    let mut lines = shown(&all);
    lines.retain(|line| !line.starts_with("target_info"));
    assert_eq!(lines, [(1, 5), (2, 6), (3, 7)].map(|(value, at)| format!(r#"g{{a="x",b_c="1"}} {value} @{at}000"#)));
}

#[test]
fn colliding_attributes_keep_all_values_and_deep_ones_are_json() {
    let mut gauge = point(1, Number::Int(1));
    let list = Value::Array(proto::otlp_common::ArrayValue { values: vec!["p".into(), Value::Int(2).into()] });
    gauge.attributes = vec![word("a.b", "2"), word("a-b", "1"), attribute("l", list), word("job", "mine")];
    let all = translated(vec![metric("g", "", Data::Gauge(Gauge { data_points: vec![gauge] }))]);
    assert_eq!(shown(&all)[0], r#"g{a_b="1;2",l="[\"p\",2]"} 1 @1000"#);
}

#[test]
fn records_become_lines_with_few_labels_and_everything_else_beside_them() {
    let record = LogRecord {
        time_unix_nano: 7,
        severity_number: 17,
        severity_text: "ERR".to_owned(),
        body: Some("it broke".into()),
        attributes: vec![word("http.method", "GET")],
        trace_id: vec![0xab; 16],
        span_id: vec![1; 8],
        ..Default::default()
    };
    let map = proto::otlp_common::KeyValueList { values: vec![word("k", "v")] };
    let deep = LogRecord { body: Some(Value::Map(map).into()), observed_time_unix_nano: 9, ..Default::default() };
    let scope = InstrumentationScope { name: "lib".to_owned(), ..Default::default() };
    let scope =
        ScopeLogs { scope: Some(scope), log_records: vec![record, deep, LogRecord::default()], ..Default::default() };
    let group = ResourceLogs { resource: Some(resource()), scope_logs: vec![scope], ..Default::default() };
    let request = ExportLogsServiceRequest { resource_logs: vec![group] }.encode_to_vec();
    let (mut batches, rejected) = log_lines(&request, 99).unwrap();
    assert_eq!((batches.len(), rejected), (1, 0));
    let mut bytes = Vec::new();
    batches[0].encode(&mut bytes).unwrap();
    let view = LogBatchView::decode(&bytes).unwrap();
    let mut found = Vec::new();
    for stream in &view.streams {
        let mut raw = Vec::new();
        stream.unpack(&mut raw).unwrap();
        for entry in model::LogEntries::new(&raw) {
            let entry = entry.unwrap();
            let metadata: Vec<String> = entry.metadata().map(|(name, value)| format!("{name}={value}")).collect();
            found.push((stream.labels.clone(), entry.timestamp_ns, entry.line.to_owned(), metadata));
        }
    }
    let labels = |level: &str| {
        [("job", "web/shop"), ("instance", "i-1"), ("level", level)].into_iter().collect::<model::Labels>()
    };
    assert_eq!((&found[0].0, found[0].1, found[0].2.as_str()), (&labels("error"), 7, "it broke"));
    let expected = [
        "http_method=GET",
        &format!("trace_id={}", "ab".repeat(16)),
        "span_id=0101010101010101",
        "severity_text=ERR",
        "scope_name=lib",
    ];
    assert_eq!(found[0].3[..5], expected);
    assert!(found[0].3.contains(&"resource_host_name=h".to_owned()), "{:?}", found[0].3);
    assert_eq!((&found[1].0, found[1].1, found[1].2.as_str()), (&labels(""), 9, r#"{"k":"v"}"#));
    assert_eq!((found[2].1, found[2].2.as_str()), (99, ""));
}
