//! `opentelemetry.proto.collector.metrics.v1` and `metrics.v1` (OTLP specification 1.x). With OTLP's JSON form.

use serde::{Deserialize, Serialize};

use crate::{
    otlp_common::{InstrumentationScope, KeyValue, Resource},
    otlp_json::{self, Names, by_name, is_default, or_default},
};

/// Body of an export. Serialized ones concatenate.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportMetricsServiceRequest {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub resource_metrics: Vec<ResourceMetrics>,
}

/// Its answer.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportMetricsServiceResponse {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_success: Option<ExportMetricsPartialSuccess>,
}

/// What was not taken.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportMetricsPartialSuccess {
    #[prost(int64, tag = "1")]
    #[serde(with = "otlp_json::long", skip_serializing_if = "is_default")]
    pub rejected_data_points: i64,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub error_message: String,
}

/// Metrics of one resource.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub scope_metrics: Vec<ScopeMetrics>,
    #[prost(string, tag = "3")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub schema_url: String,
}

/// Metrics of one library.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScopeMetrics {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    #[serde(deserialize_with = "or_default")]
    pub metrics: Vec<Metric>,
    #[prost(string, tag = "3")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub schema_url: String,
}

/// A metric and its points.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metric {
    #[prost(string, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[prost(string, tag = "2")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[prost(string, tag = "3")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub unit: String,
    #[prost(oneof = "Data", tags = "5, 7, 9, 10, 11")]
    #[serde(flatten)]
    pub data: Option<Data>,
    #[prost(message, repeated, tag = "12")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<KeyValue>,
}

/// What kind a [`Metric`] is of.
#[derive(Clone, PartialEq, prost::Oneof, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Data {
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    #[prost(message, tag = "7")]
    Sum(Sum),
    #[prost(message, tag = "9")]
    Histogram(Histogram),
    #[prost(message, tag = "10")]
    ExponentialHistogram(ExponentialHistogram),
    #[prost(message, tag = "11")]
    Summary(Summary),
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gauge {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub data_points: Vec<NumberDataPoint>,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sum {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub data_points: Vec<NumberDataPoint>,
    #[prost(enumeration = "Temporality", tag = "2")]
    #[serde(deserialize_with = "by_name::<_, Temporality>", skip_serializing_if = "is_default")]
    pub aggregation_temporality: i32,
    #[prost(bool, tag = "3")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "is_default")]
    pub is_monotonic: bool,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Histogram {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub data_points: Vec<HistogramDataPoint>,
    #[prost(enumeration = "Temporality", tag = "2")]
    #[serde(deserialize_with = "by_name::<_, Temporality>", skip_serializing_if = "is_default")]
    pub aggregation_temporality: i32,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExponentialHistogram {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub data_points: Vec<ExponentialHistogramDataPoint>,
    #[prost(enumeration = "Temporality", tag = "2")]
    #[serde(deserialize_with = "by_name::<_, Temporality>", skip_serializing_if = "is_default")]
    pub aggregation_temporality: i32,
}

#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default")]
    pub data_points: Vec<SummaryDataPoint>,
}

/// Since when a point counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Temporality {
    Unspecified = 0,
    Delta = 1,
    Cumulative = 2,
}

impl Names for Temporality {
    const NAMES: &'static [(&'static str, i32)] = &[
        ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
        ("AGGREGATION_TEMPORALITY_DELTA", 1),
        ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
    ];
}

/// Bit of a point's flags: it has no value (staleness).
pub const NO_RECORDED_VALUE: u32 = 1;

/// A number at a time.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NumberDataPoint {
    #[prost(fixed64, tag = "2")]
    #[serde(with = "otlp_json::long", skip_serializing_if = "is_default")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    #[serde(with = "otlp_json::long", skip_serializing_if = "is_default")]
    pub time_unix_nano: u64,
    #[prost(oneof = "Number", tags = "4, 6")]
    #[serde(flatten)]
    pub value: Option<Number>,
    #[prost(message, repeated, tag = "5")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "7")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "8")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub flags: u32,
}

/// The value of a [`NumberDataPoint`].
#[derive(Clone, Copy, PartialEq, prost::Oneof, Serialize, Deserialize)]
pub enum Number {
    #[prost(double, tag = "4")]
    #[serde(rename = "asDouble", with = "otlp_json::double")]
    Double(f64),
    #[prost(sfixed64, tag = "6")]
    #[serde(rename = "asInt", with = "otlp_json::long")]
    Int(i64),
}

/// The value of an [`Exemplar`].
#[derive(Clone, Copy, PartialEq, prost::Oneof, Serialize, Deserialize)]
pub enum ExemplarNumber {
    #[prost(double, tag = "3")]
    #[serde(rename = "asDouble", with = "otlp_json::double")]
    Double(f64),
    #[prost(sfixed64, tag = "6")]
    #[serde(rename = "asInt", with = "otlp_json::long")]
    Int(i64),
}

/// A measurement that stands for others.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Exemplar {
    #[prost(fixed64, tag = "2")]
    #[serde(with = "otlp_json::long", skip_serializing_if = "is_default")]
    pub time_unix_nano: u64,
    #[prost(oneof = "ExemplarNumber", tags = "3, 6")]
    #[serde(flatten)]
    pub value: Option<ExemplarNumber>,
    #[prost(bytes = "vec", tag = "4")]
    #[serde(with = "otlp_json::id", skip_serializing_if = "Vec::is_empty")]
    pub span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    #[serde(with = "otlp_json::id", skip_serializing_if = "Vec::is_empty")]
    pub trace_id: Vec<u8>,
    #[prost(message, repeated, tag = "7")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub filtered_attributes: Vec<KeyValue>,
}

/// Counts in buckets with bounds.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HistogramDataPoint {
    #[prost(fixed64, tag = "2")]
    #[serde(with = "otlp_json::long", skip_serializing_if = "is_default")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    #[serde(with = "otlp_json::long", skip_serializing_if = "is_default")]
    pub time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    #[serde(with = "otlp_json::long")]
    pub count: u64,
    #[prost(double, optional, tag = "5")]
    #[serde(with = "otlp_json::maybe_double", skip_serializing_if = "Option::is_none")]
    pub sum: Option<f64>,
    /// One more than bounds, or none.
    #[prost(fixed64, repeated, tag = "6")]
    #[serde(with = "otlp_json::longs", skip_serializing_if = "Vec::is_empty")]
    pub bucket_counts: Vec<u64>,
    /// Ascending, the last one finite.
    #[prost(double, repeated, tag = "7")]
    #[serde(with = "otlp_json::doubles", skip_serializing_if = "Vec::is_empty")]
    pub explicit_bounds: Vec<f64>,
    #[prost(message, repeated, tag = "8")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "9")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "10")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub flags: u32,
    #[prost(double, optional, tag = "11")]
    #[serde(with = "otlp_json::maybe_double", skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[prost(double, optional, tag = "12")]
    #[serde(with = "otlp_json::maybe_double", skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// Counts in buckets whose bounds are powers of `2^(2^-scale)`.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExponentialHistogramDataPoint {
    #[prost(message, repeated, tag = "1")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "2")]
    #[serde(with = "otlp_json::long", skip_serializing_if = "is_default")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    #[serde(with = "otlp_json::long", skip_serializing_if = "is_default")]
    pub time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    #[serde(with = "otlp_json::long")]
    pub count: u64,
    #[prost(double, optional, tag = "5")]
    #[serde(with = "otlp_json::maybe_double", skip_serializing_if = "Option::is_none")]
    pub sum: Option<f64>,
    #[prost(sint32, tag = "6")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub scale: i32,
    #[prost(fixed64, tag = "7")]
    #[serde(with = "otlp_json::long", skip_serializing_if = "is_default")]
    pub zero_count: u64,
    #[prost(message, optional, tag = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub positive: Option<Buckets>,
    #[prost(message, optional, tag = "9")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative: Option<Buckets>,
    #[prost(uint32, tag = "10")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub flags: u32,
    #[prost(message, repeated, tag = "11")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub exemplars: Vec<Exemplar>,
    #[prost(double, optional, tag = "12")]
    #[serde(with = "otlp_json::maybe_double", skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[prost(double, optional, tag = "13")]
    #[serde(with = "otlp_json::maybe_double", skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    #[prost(double, tag = "14")]
    #[serde(with = "otlp_json::double", skip_serializing_if = "is_default")]
    pub zero_threshold: f64,
}

/// Counts of consecutive buckets.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Buckets {
    /// Index of the first.
    #[prost(sint32, tag = "1")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub offset: i32,
    #[prost(uint64, repeated, tag = "2")]
    #[serde(with = "otlp_json::longs", skip_serializing_if = "Vec::is_empty")]
    pub bucket_counts: Vec<u64>,
}

/// Quantiles that somebody else computed.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SummaryDataPoint {
    #[prost(fixed64, tag = "2")]
    #[serde(with = "otlp_json::long", skip_serializing_if = "is_default")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "3")]
    #[serde(with = "otlp_json::long", skip_serializing_if = "is_default")]
    pub time_unix_nano: u64,
    #[prost(fixed64, tag = "4")]
    #[serde(with = "otlp_json::long")]
    pub count: u64,
    #[prost(double, tag = "5")]
    #[serde(with = "otlp_json::double")]
    pub sum: f64,
    #[prost(message, repeated, tag = "6")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub quantile_values: Vec<ValueAtQuantile>,
    #[prost(message, repeated, tag = "7")]
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "8")]
    #[serde(with = "otlp_json::short", skip_serializing_if = "is_default")]
    pub flags: u32,
}

/// A quantile, 0 to 1, and its value.
#[derive(Clone, Copy, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ValueAtQuantile {
    #[prost(double, tag = "1")]
    #[serde(with = "otlp_json::double")]
    pub quantile: f64,
    #[prost(double, tag = "2")]
    #[serde(with = "otlp_json::double")]
    pub value: f64,
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// From the OTLP specification's repository (`examples/metrics.json`), shortened.
    const EXAMPLE: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},
        "scopeMetrics":[{"scope":{"name":"my.library"},"metrics":[
        {"name":"my.counter","unit":"1","description":"c","sum":{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[
            {"asDouble":5,"startTimeUnixNano":"1544712660300000000","timeUnixNano":"1544712660300000000","attributes":[{"key":"a","value":{"stringValue":"v"}}]}]}},
        {"name":"my.gauge","gauge":{"dataPoints":[{"asInt":"-10","timeUnixNano":"1","flags":1,"exemplars":[{"asInt":"3","spanId":"0102030405060708"}]}]}},
        {"name":"my.histogram","histogram":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","dataPoints":[
            {"count":2,"sum":2,"bucketCounts":[1,"1"],"explicitBounds":[1.0],"min":0,"max":"Infinity"}]}},
        {"name":"my.exponential","exponentialHistogram":{"dataPoints":[{"count":"3","scale":-1,"zeroCount":"1","positive":{"offset":1,"bucketCounts":["0",2]},"zeroThreshold":0.5}]}},
        {"name":"my.summary","summary":{"dataPoints":[{"count":"3","sum":1.5,"quantileValues":[{"quantile":0.5,"value":0.1}]}]}}]}]}]}"#;

    #[test]
    fn every_kind_of_metric_is_read_and_written_the_same() {
        let request: ExportMetricsServiceRequest = serde_json::from_str(EXAMPLE).unwrap();
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("a sum") };
        assert_eq!((sum.aggregation_temporality(), sum.is_monotonic), (Temporality::Delta, true));
        assert_eq!(sum.data_points[0].value, Some(Number::Double(5.0)));
        let Some(Data::Gauge(gauge)) = &metrics[1].data else { panic!("a gauge") };
        assert_eq!(
            (gauge.data_points[0].value, gauge.data_points[0].flags),
            (Some(Number::Int(-10)), NO_RECORDED_VALUE)
        );
        assert_eq!(gauge.data_points[0].exemplars[0].value, Some(ExemplarNumber::Int(3)));
        let Some(Data::Histogram(histogram)) = &metrics[2].data else { panic!("a histogram") };
        assert_eq!(histogram.aggregation_temporality(), Temporality::Cumulative);
        let point = &histogram.data_points[0];
        assert_eq!(
            (point.bucket_counts.as_slice(), point.sum, point.max),
            (&[1, 1][..], Some(2.0), Some(f64::INFINITY))
        );
        let Some(Data::ExponentialHistogram(exponential)) = &metrics[3].data else { panic!("exponential") };
        assert_eq!(exponential.data_points[0].positive.as_ref().unwrap().bucket_counts, [0, 2]);
        assert!(matches!(&metrics[4].data, Some(Data::Summary(_))));
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<ExportMetricsServiceRequest>(&text).unwrap(), request);
        assert!(text.contains(r#""bucketCounts":["1","1"]"#) && text.contains(r#""max":"Infinity""#), "{text}");
        assert_eq!(ExportMetricsServiceRequest::decode(&*request.encode_to_vec()).unwrap(), request);
    }

    #[test]
    fn field_numbers_are_those_of_the_specification() {
        let point = NumberDataPoint { time_unix_nano: 1, value: Some(Number::Int(-1)), ..NumberDataPoint::default() };
        let gauge = Gauge { data_points: vec![point] };
        let metric = Metric { name: "n".into(), data: Some(Data::Gauge(gauge)), ..Metric::default() };
        let expected: &[u8] = &[
            0x0a, 1, b'n', 0x2a, 20, 0x0a, 18, // name, gauge, point
            0x19, 1, 0, 0, 0, 0, 0, 0, 0, 0x31, 255, 255, 255, 255, 255, 255, 255, 255, // time, as_int
        ];
        assert_eq!(metric.encode_to_vec(), expected);
    }
}
