//! Remote write 1.0 (`prometheus.WriteRequest`), field numbers as in Prometheus' `prompb/remote.proto` and
//! `prompb/types.proto`. Exemplars are skipped on decoding: nothing here reads them yet.

use prost::Message;

/// What a remote-write request body holds after snappy decompression.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<MetricMetadata>,
}

/// One series and its samples, oldest first.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Sorted by name, `__name__` included, no repeats.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Oldest first. A series has samples or these.
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

/// A native histogram with whole counts. (Those with fractions, fields 2, 7, 10 and 13, are nobody's here.)
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    #[prost(uint64, tag = "1")]
    pub count: u64,
    #[prost(double, tag = "3")]
    pub sum: f64,
    /// -4 to 8: buckets grow by 2^(2^-schema).
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    /// Values up to here, on both sides of zero, are in the zero bucket.
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(uint64, tag = "6")]
    pub zero_count: u64,
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    /// The first count, then each bucket's difference to the one before.
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    /// `ResetHint`: 0 unknown, 1 yes, 2 no, 3 a gauge.
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
}

/// Buckets without a gap.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct BucketSpan {
    /// Of the first span the index of its first bucket (that of the bucket's upper bound); else the gap behind the one before.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct MetricMetadata {
    #[prost(enumeration = "MetricType", tag = "1")]
    pub r#type: i32,
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    #[prost(string, tag = "4")]
    pub help: String,
    #[prost(string, tag = "5")]
    pub unit: String,
}

/// `prometheus.MetricMetadata.MetricType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MetricType {
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
    GaugeHistogram = 4,
    Summary = 5,
    Info = 6,
    Stateset = 7,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_numbers_are_those_of_the_specification() {
        let request = WriteRequest {
            timeseries: vec![TimeSeries {
                labels: vec![Label { name: "__name__".into(), value: "up".into() }],
                samples: vec![Sample { value: 1.0, timestamp: 5 }],
                histograms: Vec::new(),
            }],
            metadata: vec![MetricMetadata {
                r#type: MetricType::Gauge as i32,
                metric_family_name: "up".into(),
                help: "h".into(),
                unit: "u".into(),
            }],
        };
        let expected: &[u8] = &[
            0x0a, 29, // timeseries
            0x0a, 14, 0x0a, 8, b'_', b'_', b'n', b'a', b'm', b'e', b'_', b'_', 0x12, 2, b'u', b'p', // label
            0x12, 11, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 5, // sample
            0x1a, 12, 0x08, 2, 0x12, 2, b'u', b'p', 0x22, 1, b'h', 0x2a, 1, b'u', // metadata
        ];
        assert_eq!(request.encode_to_vec(), expected);
        assert_eq!(WriteRequest::decode(expected).expect("decodes"), request);
    }

    #[test]
    fn field_numbers_of_native_histograms_are_those_of_the_specification() {
        let series = TimeSeries {
            histograms: vec![Histogram {
                count: 6,
                sum: 1.0,
                schema: -1,
                zero_threshold: 1.0,
                zero_count: 1,
                negative_spans: vec![BucketSpan { offset: -2, length: 1 }],
                negative_deltas: vec![2],
                positive_spans: vec![BucketSpan { offset: 3, length: 2 }],
                positive_deltas: vec![2, -1],
                reset_hint: 3,
                timestamp: 5,
            }],
            ..TimeSeries::default()
        };
        let expected: &[u8] = &[
            0x22, 47, 0x08, 6, 0x19, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // count, sum
            0x20, 1, 0x29, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x30, 1, // schema, zero bucket
            0x42, 4, 0x08, 3, 0x10, 1, 0x4a, 1, 4, // below zero
            0x5a, 4, 0x08, 6, 0x10, 2, 0x62, 2, 4, 1, // above
            0x70, 3, 0x78, 5,
        ];
        assert_eq!(series.encode_to_vec(), expected);
        assert_eq!(TimeSeries::decode(expected).expect("decodes"), series);
    }
}
