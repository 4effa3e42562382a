//! What follows a series on its line: value, timestamp, exemplar, line end. The hottest code of a scrape.

use super::{
    Fault, Format,
    series::{self, SeriesText},
};
use crate::value::{leading_number, number};

/// The part of a line behind the series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// Offset of the next line.
    pub next: usize,
}

/// Reads the rest of a line from `at`, the first byte behind the series. `scratch` is for the labels of exemplars.
#[inline]
pub(crate) fn read(body: &[u8], at: usize, format: Format, scratch: &mut SeriesText) -> Result<Sample, Fault> {
    let start = match format {
        Format::Text004 => format.skip_blanks(body, at),
        Format::OpenMetrics1 => match body.get(at) {
            Some(b' ') => at + 1,
            _ => return Err(Fault::new(at, "expected a space and a value")),
        },
    };
    let Some((value, len)) = body.get(start..).and_then(leading_number) else {
        return Err(Fault::new(start, "expected a number as the value"));
    };
    let end = start + len;
    if body.get(end) == Some(&b'\n') {
        return Ok(Sample { value, timestamp: None, next: end + 1 });
    }
    match format {
        Format::Text004 => read_text_end(body, end, value),
        Format::OpenMetrics1 => read_open_metrics_end(body, end, value, scratch),
    }
}

fn read_text_end(body: &[u8], at: usize, value: f64) -> Result<Sample, Fault> {
    let at = Format::Text004.skip_blanks(body, at);
    let token = token(body, at);
    let timestamp = if token.is_empty() {
        None
    } else {
        // Signs and digits only; the same grammar as Go's ParseInt in base 10.
        let parsed = std::str::from_utf8(token).ok().and_then(|text| text.parse::<i64>().ok());
        Some(parsed.ok_or_else(|| Fault::new(at, "expected a timestamp in whole milliseconds"))?)
    };
    let end = Format::Text004.skip_blanks(body, at + token.len());
    Ok(Sample { value, timestamp, next: line_end(body, end)? })
}

fn read_open_metrics_end(body: &[u8], at: usize, value: f64, scratch: &mut SeriesText) -> Result<Sample, Fault> {
    let mut at = at;
    let mut timestamp = None;
    if !is_exemplar(body, at) && body.get(at) == Some(&b' ') {
        let token = token(body, at + 1);
        timestamp = Some(seconds(token).ok_or_else(|| Fault::new(at + 1, "expected a timestamp in seconds"))?);
        at += 1 + token.len();
    }
    if is_exemplar(body, at) {
        at = skip_exemplar(body, at + 3, scratch)?;
    }
    Ok(Sample { value, timestamp, next: line_end(body, at)? })
}

fn is_exemplar(body: &[u8], at: usize) -> bool {
    body.get(at..).is_some_and(|rest| rest.starts_with(b" # {"))
}

/// `{labels} value [timestamp]`, from the brace on.
fn skip_exemplar(body: &[u8], at: usize, scratch: &mut SeriesText) -> Result<usize, Fault> {
    let at = series::skip_labels(body, at, Format::OpenMetrics1, scratch)?;
    if body.get(at) != Some(&b' ') {
        return Err(Fault::new(at, "expected a space and the value of the exemplar"));
    }
    let value = token(body, at + 1);
    number(value).ok_or_else(|| Fault::new(at + 1, "expected a number as the value of the exemplar"))?;
    let at = at + 1 + value.len();
    if body.get(at) != Some(&b' ') {
        return Ok(at);
    }
    let timestamp = token(body, at + 1);
    seconds(timestamp).ok_or_else(|| Fault::new(at + 1, "expected the timestamp of the exemplar in seconds"))?;
    Ok(at + 1 + timestamp.len())
}

/// Seconds as Prometheus turns them into milliseconds: multiplied, then cut towards zero.
fn seconds(token: &[u8]) -> Option<i64> {
    let seconds = number(token).filter(|seconds| seconds.is_finite())?;
    // Saturates beyond the range of i64, which no clock reaches.
    #[allow(clippy::cast_possible_truncation)]
    let milliseconds = (seconds * 1000.0) as i64;
    Some(milliseconds)
}

/// Bytes up to a blank, a line feed or the end.
fn token(body: &[u8], at: usize) -> &[u8] {
    let rest = body.get(at..).unwrap_or_default();
    let len = rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n')).unwrap_or(rest.len());
    rest.get(..len).unwrap_or_default()
}

fn line_end(body: &[u8], at: usize) -> Result<usize, Fault> {
    match body.get(at) {
        None => Ok(at),
        Some(b'\n') => Ok(at + 1),
        Some(_) => Err(Fault::new(at, "expected the end of the line")),
    }
}
