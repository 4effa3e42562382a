//! Reads remote write 1.0 bodies: snappy block, then the `WriteRequest` message of prometheus/prompb.
//!
//! A reader of its own, so that what the sender's encoder gets wrong is seen. It copies nothing and allocates per
//! series only, so a hostile body costs no more than its decompressed size, which is bounded before decompression.

use http::HeaderMap;

/// Longest list of labels of one series.
const MOST_LABELS: usize = 1000;

/// What is wrong with a body or its headers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("Content-Encoding must be snappy, not '{0}'")]
    Encoding(String),
    #[error("Content-Type must be application/x-protobuf for remote write 1.0, not '{0}'")]
    ContentType(String),
    #[error("X-Prometheus-Remote-Write-Version must be 0.1.0, not '{0}'")]
    Version(String),
    #[error("the snappy block claims {claimed} bytes, more than the limit of {limit}")]
    TooLarge { claimed: usize, limit: usize },
    #[error("snappy: corrupt input: {0}")]
    Snappy(String),
    #[error("the WriteRequest is not valid protobuf: {0}")]
    Protobuf(&'static str),
}

/// Checks the headers that remote write 1.0 demands.
pub(crate) fn check_headers(headers: &HeaderMap) -> Result<(), WriteError> {
    let value = |name: &str| {
        let text = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        text.chars().take(128).collect::<String>()
    };
    let content_type = value("content-type");
    let mut parts = content_type.split(';').map(str::trim);
    let is_protobuf = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-protobuf"));
    if !is_protobuf || parts.any(|part| part.starts_with("proto=") && part != "proto=prometheus.WriteRequest") {
        return Err(WriteError::ContentType(content_type));
    }
    let encoding = value("content-encoding");
    if !encoding.eq_ignore_ascii_case("snappy") {
        return Err(WriteError::Encoding(encoding));
    }
    let version = value("x-prometheus-remote-write-version");
    if !version.starts_with("0.1.") {
        return Err(WriteError::Version(version));
    }
    Ok(())
}

/// Decompresses a snappy block whose header claims at most `limit` bytes.
pub(crate) fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, WriteError> {
    let claimed = snap::raw::decompress_len(body).map_err(|e| WriteError::Snappy(e.to_string()))?;
    if claimed > limit {
        return Err(WriteError::TooLarge { claimed, limit });
    }
    // No element of the format yields more than 64 bytes from less than 3, so a larger claim is a lie.
    if claimed > body.len().saturating_mul(32) {
        return Err(WriteError::Snappy(format!("{} bytes cannot hold {claimed}", body.len())));
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(|e| WriteError::Snappy(e.to_string()))
}

/// One `TimeSeries` message.
#[derive(Debug)]
pub(crate) struct Series<'a> {
    /// In the order sent.
    pub(crate) labels: Vec<(&'a str, &'a str)>,
    pub(crate) exemplars: u64,
    pub(crate) histograms: u64,
    message: &'a [u8],
}

impl<'a> Series<'a> {
    /// (timestamp in ms, value) in the order sent.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (i64, f64)> + 'a {
        // The message was read once before, so nothing is lost by leaving out what cannot be read.
        Fields(self.message).filter_map(|field| match field {
            Ok((2, Value::Bytes(sample))) => read_sample(sample).ok(),
            _ => None,
        })
    }

    /// Why a receiver refuses this series, if it does.
    pub(crate) fn problem(&self) -> Option<String> {
        let mut previous: Option<&str> = None;
        let mut has_name = false;
        for (name, value) in &self.labels {
            if name.is_empty() || value.is_empty() {
                return Some(format!("label_invalid: empty label name or value in {}", self.shown()));
            }
            match previous.map(|previous| previous.cmp(name)) {
                Some(std::cmp::Ordering::Equal) => {
                    return Some(format!("duplicate_label_names: '{name}' twice in {}", self.shown()));
                }
                Some(std::cmp::Ordering::Greater) => {
                    return Some(format!("labels_not_sorted: '{name}' out of order in {}", self.shown()));
                }
                _ => {}
            }
            previous = Some(name);
            has_name |= *name == "__name__";
        }
        if has_name { None } else { Some(format!("missing_metric_name: {}", self.shown())) }
    }

    fn shown(&self) -> String {
        let text: Vec<String> = self.labels.iter().take(20).map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("{{{}}}", crate::refusal::shown(&text.join(", ")))
    }
}

/// What a whole body holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) series: u64,
    pub(crate) samples: u64,
    pub(crate) metadata: u64,
}

/// Walks a decompressed `WriteRequest`, giving each series to `each`. Stops at the first thing that is not protobuf.
pub(crate) fn walk<'a>(raw: &'a [u8], mut each: impl FnMut(Series<'a>)) -> Result<Counts, WriteError> {
    let mut counts = Counts::default();
    for field in Fields(raw) {
        match field? {
            (1, Value::Bytes(message)) => {
                let series = read_series(message, &mut counts)?;
                counts.series += 1;
                each(series);
            }
            (3, Value::Bytes(_)) => counts.metadata += 1,
            (1 | 3, _) => {
                return Err(WriteError::Protobuf("a message field that is not length-delimited"));
            }
            _ => {}
        }
    }
    Ok(counts)
}

fn read_series<'a>(message: &'a [u8], counts: &mut Counts) -> Result<Series<'a>, WriteError> {
    let mut series = Series { labels: Vec::new(), exemplars: 0, histograms: 0, message };
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(label)) => {
                if series.labels.len() >= MOST_LABELS {
                    return Err(WriteError::Protobuf("more than 1000 labels in one series"));
                }
                series.labels.push(read_label(label)?);
            }
            (2, Value::Bytes(sample)) => {
                read_sample(sample)?;
                counts.samples += 1;
            }
            (3, Value::Bytes(_)) => series.exemplars += 1,
            (4, Value::Bytes(_)) => series.histograms += 1,
            (1..=4, _) => {
                return Err(WriteError::Protobuf("a message field that is not length-delimited"));
            }
            _ => {}
        }
    }
    Ok(series)
}

fn read_label(message: &[u8]) -> Result<(&str, &str), WriteError> {
    let (mut name, mut value) = ("", "");
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(text)) => name = utf8(text)?,
            (2, Value::Bytes(text)) => value = utf8(text)?,
            (1 | 2, _) => return Err(WriteError::Protobuf("a label that is not a string")),
            _ => {}
        }
    }
    Ok((name, value))
}

fn read_sample(message: &[u8]) -> Result<(i64, f64), WriteError> {
    let (mut timestamp, mut value) = (0i64, 0f64);
    for field in Fields(message) {
        match field? {
            (1, Value::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Value::Varint(number)) => timestamp = number.cast_signed(),
            (1, _) => return Err(WriteError::Protobuf("a sample value that is not a double")),
            (2, _) => return Err(WriteError::Protobuf("a timestamp that is not a varint")),
            _ => {}
        }
    }
    Ok((timestamp, value))
}

fn utf8(bytes: &[u8]) -> Result<&str, WriteError> {
    std::str::from_utf8(bytes).map_err(|_| WriteError::Protobuf("a label that is not UTF-8"))
}

/// A field's value as it stands on the wire.
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// The fields of one protobuf message. Ends after the first error.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, WriteError> {
        let mut number = 0u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(WriteError::Protobuf("it ends inside a number"))?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(WriteError::Protobuf("a number of more than 64 bits"))
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], WriteError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or(WriteError::Protobuf("a field longer than its message"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), WriteError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or(WriteError::Protobuf("a field number out of range"))?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let bytes = <[u8; 8]>::try_from(self.bytes(8)?).map_err(|_| WriteError::Protobuf("a short double"))?;
                Value::Fixed64(u64::from_le_bytes(bytes))
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.bytes(length)?)
            }
            5 => {
                self.bytes(4)?;
                Value::Fixed32
            }
            _ => {
                return Err(WriteError::Protobuf("a wire type that proto3 does not have"));
            }
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), WriteError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length > 0x7f {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
        out
    }

    fn varint(mut number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while number > 0x7f {
            out.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
        out
    }

    /// An uncompressed `WriteRequest` of one series.
    pub(crate) fn one_series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Vec<u8> {
        let mut series = Vec::new();
        for (name, value) in labels {
            let label = [field(1, name.as_bytes()), field(2, value.as_bytes())].concat();
            series.extend(field(1, &label));
        }
        for (timestamp, value) in samples {
            let mut sample = vec![0x09];
            sample.extend(value.to_bits().to_le_bytes());
            sample.push(0x10);
            sample.extend(varint(timestamp.cast_unsigned()));
            series.extend(field(2, &sample));
        }
        field(1, &series)
    }

    #[test]
    fn labels_and_samples_come_out_as_they_went_in() {
        let raw = one_series(&[("__name__", "up"), ("job", "node")], &[(1000, 1.0), (-5, f64::NAN)]);
        let mut seen = Vec::new();
        let counts = walk(&raw, |series| {
            assert_eq!(series.labels, [("__name__", "up"), ("job", "node")]);
            assert_eq!(series.problem(), None);
            seen.extend(series.samples().map(|(at, value)| (at, value.to_bits())));
        })
        .unwrap();
        assert_eq!(seen, [(1000, 1f64.to_bits()), (-5, f64::NAN.to_bits())]);
        assert_eq!(counts, Counts { series: 1, samples: 2, metadata: 0 });
    }

    #[test]
    fn series_that_receivers_refuse_are_named() {
        for (labels, want) in [
            (&[("job", "node")][..], "missing_metric_name"),
            (&[("job", "node"), ("__name__", "up")], "labels_not_sorted"),
            (&[("__name__", "up"), ("__name__", "up")], "duplicate_label_names"),
            (&[("__name__", "up"), ("job", "")], "label_invalid"),
        ] {
            walk(&one_series(labels, &[]), |series| {
                let problem = series.problem().unwrap();
                assert!(problem.starts_with(want), "{problem}");
            })
            .unwrap();
        }
    }

    #[test]
    fn a_snappy_bomb_is_refused_before_it_is_unpacked() {
        let limit = 1 << 20;
        let honest = snap::raw::Encoder::new().compress_vec(&vec![0u8; limit + 1]).unwrap();
        assert_eq!(decompress(&honest, limit), Err(WriteError::TooLarge { claimed: limit + 1, limit }));
        let liar = [varint(limit as u64), vec![0u8; 8]].concat();
        assert!(matches!(decompress(&liar, limit), Err(WriteError::Snappy(_))));
        assert!(matches!(decompress(&[], limit), Err(WriteError::Snappy(_)) | Ok(_)));
    }

    #[test]
    fn the_densest_honest_block_is_unpacked() {
        let raw = vec![7u8; 1 << 20];
        let body = snap::raw::Encoder::new().compress_vec(&raw).unwrap();
        assert_eq!(decompress(&body, 1 << 20).unwrap(), raw);
    }

    fn write_requests() -> impl Strategy<Value = proto::remote_write::WriteRequest> {
        let text = "[a-zß€]{0,6}";
        let label = (text, text).prop_map(|(name, value)| proto::remote_write::Label { name, value });
        let sample = (any::<u64>(), any::<i64>())
            .prop_map(|(bits, timestamp)| proto::remote_write::Sample { value: f64::from_bits(bits), timestamp });
        let series = (proptest::collection::vec(label, 0..5), proptest::collection::vec(sample, 0..5))
            .prop_map(|(labels, samples)| proto::remote_write::TimeSeries { labels, samples, histograms: Vec::new() });
        proptest::collection::vec(series, 0..5)
            .prop_map(|timeseries| proto::remote_write::WriteRequest { timeseries, metadata: Vec::new() })
    }

    proptest! {
        #[test]
        fn what_the_schema_encodes_is_read_back(request in write_requests()) {
            let raw = prost::Message::encode_to_vec(&request);
            let mut read = Vec::new();
            walk(&raw, |series| {
                let labels: Vec<(String, String)> =
                    series.labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
                let samples: Vec<(i64, u64)> = series.samples().map(|(at, value)| (at, value.to_bits())).collect();
                read.push((labels, samples));
            }).unwrap();
            let sent: Vec<_> = request.timeseries.iter().map(|series| {
                let labels: Vec<(String, String)> =
                    series.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
                let samples: Vec<(i64, u64)> =
                    series.samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits())).collect();
                (labels, samples)
            }).collect();
            prop_assert_eq!(read, sent);
        }

        #[test]
        fn no_bytes_panic_or_hang(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = walk(&raw, |series| { series.samples().count(); series.problem(); });
            let _ = decompress(&raw, 1 << 16);
        }

        #[test]
        fn torn_requests_are_errors_or_shorter(cut in 0usize..60) {
            let raw = one_series(&[("__name__", "up"), ("job", "node")], &[(1000, 1.0)]);
            let raw = &raw[..cut.min(raw.len())];
            let mut samples = 0;
            let result = walk(raw, |series| samples += series.samples().count());
            prop_assert!(result.is_err() || samples <= 1);
        }
    }
}
