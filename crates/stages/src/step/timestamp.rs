//! `timestamp`: the line's time from an extracted value.
//!
//! Where that fails, `fudge` takes the last time that was read for the same labels and adds a nanosecond, so that lines
//! stay in order; `skip` leaves the time the line came with.

use std::sync::Arc;

use model::Labels;

use super::{Flow, LineStage, required};
use crate::{
    Entry, Name, StageError, StageFault,
    config::TimestampConfig,
    error::Place,
    generations::Generations,
    layout::{self, Layout, Location, NANOS_PER_SECOND},
};

/// How many label sets' last times are remembered (at least).
const REMEMBERED: usize = 10_000;

#[derive(Debug, Clone)]
pub(crate) struct Timestamp {
    source: Name,
    formats: Arc<[Format]>,
    /// `None` for `skip`.
    fudge: Option<Fudge>,
}

#[derive(Debug)]
enum Format {
    /// Seconds, with or without a fraction.
    Unix,
    /// This many nanoseconds each.
    UnixUnits(i64),
    /// Go's named layouts ignore the location.
    Rfc3339(Layout),
    Layout(Layout, Option<Location>),
}

impl Format {
    fn new(text: &str, location: Option<&Location>) -> Result<Self, StageFault> {
        Ok(match (text, layout::named(text)) {
            ("Unix", _) => Self::Unix,
            ("UnixMs", _) => Self::UnixUnits(1_000_000),
            ("UnixUs", _) => Self::UnixUnits(1_000),
            ("UnixNs", _) => Self::UnixUnits(1),
            ("RFC3339" | "RFC3339Nano", Some(layout)) => Self::Rfc3339(Layout::new(layout)),
            (_, Some(layout)) => Self::Layout(Layout::new(layout), None),
            (text, None) => {
                let layout = Layout::new(text);
                if !layout.has_parts() {
                    return Err(StageFault::Layout(text.to_owned()));
                }
                Self::Layout(layout, location.cloned())
            }
        })
    }

    fn parse(&self, text: &str, now_ns: i64) -> Option<i64> {
        match self {
            Self::Unix => unix(text),
            Self::UnixUnits(nanos) => text.parse::<i64>().ok()?.checked_mul(*nanos),
            Self::Rfc3339(layout) => rfc3339(text).or_else(|| layout.parse(text, None)),
            Self::Layout(layout, location) if layout.has_year() => layout.parse(text, location.as_ref()),
            Self::Layout(layout, location) => layout.parse_without_year(text, location.as_ref(), now_ns),
        }
    }
}

fn unix(text: &str) -> Option<i64> {
    let Some((seconds, fraction)) = text.split_once('.') else {
        return text.parse::<i64>().ok()?.checked_mul(NANOS_PER_SECOND);
    };
    let seconds: i64 = seconds.parse().ok()?;
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut nanos: i64 = fraction.get(..fraction.len().min(9))?.parse().ok()?;
    for _ in fraction.len()..9 {
        nanos *= 10;
    }
    seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(nanos)
}

/// The common form of RFC 3339, without the detour over a layout; nothing if it is anything else.
fn rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let digits = |from: usize, count: usize| -> Option<i64> {
        bytes
            .get(from..from + count)?
            .iter()
            .try_fold(0_i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, wanted: u8| (*bytes.get(at)? == wanted).then_some(());
    let below = |n: i64, limit: i64| (n < limit).then_some(n);
    let (year, month, day) = (digits(0, 4)?, digits(5, 2)?, digits(8, 2)?);
    is(4, b'-')?;
    is(7, b'-')?;
    is(10, b'T')?;
    is(13, b':')?;
    is(16, b':')?;
    // Days past the 28th depend on the month: the layout looks at them.
    if !(1..=12).contains(&month) || !(1..=28).contains(&day) {
        return None;
    }
    let civil = layout::Civil {
        year,
        month,
        day,
        hour: below(digits(11, 2)?, 24)?,
        minute: below(digits(14, 2)?, 60)?,
        second: below(digits(17, 2)?, 60)?,
        nanosecond: 0,
    };
    let mut at = 19;
    let mut nanos = 0;
    if bytes.get(at) == Some(&b'.') {
        let count = bytes.get(at + 1..)?.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&count) {
            return None;
        }
        nanos = digits(at + 1, count)?;
        for _ in count..9 {
            nanos *= 10;
        }
        at += count + 1;
    }
    let offset = match bytes.get(at)? {
        b'Z' if bytes.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if bytes.len() == at + 6 => {
            is(at + 3, b':')?;
            let seconds = below(digits(at + 1, 2)?, 24)? * 3600 + below(digits(at + 4, 2)?, 60)? * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    (civil.seconds_as_utc() - offset).checked_mul(NANOS_PER_SECOND)?.checked_add(nanos)
}

impl Timestamp {
    pub fn new(config: &TimestampConfig, place: &Place) -> Result<Self, StageError> {
        let source = required(&config.source, place, "source")?;
        let format = required(&config.format, place, "format")?;
        let location = match &config.location {
            None => None,
            Some(name) => match Location::named(name) {
                Some(location) => Some(location),
                None => return Err(place.key("location").fault(StageFault::Location(name.clone()))),
            },
        };
        let mut formats =
            vec![Format::new(format, location.as_ref()).map_err(|fault| place.key("format").fault(fault))?];
        for (i, format) in config.fallback_formats.iter().enumerate() {
            let here = place.key("fallback_formats").index(i);
            formats.push(Format::new(format, location.as_ref()).map_err(|fault| here.fault(fault))?);
        }
        let fudge = match config.action_on_failure.as_deref() {
            None | Some("fudge") => Some(Fudge::new()),
            Some("skip") => None,
            Some(other) => {
                return Err(place
                    .key("action_on_failure")
                    .fault(StageFault::Choice { given: other.to_owned(), allowed: "fudge, skip" }));
            }
        };
        Ok(Self { source: Name::from(source), formats: formats.into(), fudge })
    }

    /// As `docker` and `cri` have it.
    pub fn rfc3339_nano(source: &str) -> Self {
        let layout = Layout::new(layout::named("RFC3339Nano").unwrap_or_default());
        Self { source: Name::from(source), formats: Arc::new([Format::Rfc3339(layout)]), fudge: Some(Fudge::new()) }
    }
}

impl LineStage for Timestamp {
    fn apply(&mut self, entry: &mut Entry, now_ns: i64) -> Flow {
        let text = entry.extracted.text(&self.source);
        match text.and_then(|text| self.formats.iter().find_map(|format| format.parse(&text, now_ns))) {
            Some(nanos) => {
                entry.timestamp_ns = nanos;
                if let Some(fudge) = &mut self.fudge {
                    fudge.remember(&entry.labels, nanos);
                }
            }
            None => {
                if let Some(last) = self.fudge.as_mut().and_then(|f| f.last(&entry.labels)) {
                    *last = last.saturating_add(1);
                    entry.timestamp_ns = *last;
                }
                return Flow::Unread("no_time");
            }
        }
        Flow::Pass
    }
}

/// The last time read for each label set. Lines of one file come with the same labels, so the last is kept apart.
#[derive(Debug)]
struct Fudge {
    recent: Option<(Labels, i64)>,
    others: Generations<Labels, i64>,
}

/// Another source has other times.
impl Clone for Fudge {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl Fudge {
    fn new() -> Self {
        Self { recent: None, others: Generations::new(REMEMBERED) }
    }

    fn remember(&mut self, labels: &Labels, nanos: i64) {
        match &mut self.recent {
            Some((recent, last)) if recent == labels => *last = nanos,
            _ => {
                if let Some((recent, last)) = self.recent.replace((labels.clone(), nanos)) {
                    *self.others.get_or_insert(&recent, || recent.clone(), || last).0 = last;
                }
            }
        }
    }

    fn last(&mut self, labels: &Labels) -> Option<&mut i64> {
        match &mut self.recent {
            Some((recent, last)) if recent == labels => Some(last),
            _ => self.others.get_mut(labels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_times_have_fractions_as_in_promtail() {
        for (text, nanos) in [
            ("1562708916", Some(1_562_708_916_000_000_000)),
            ("1562708916.414123", Some(1_562_708_916_414_123_000)),
            ("1562708916.000000123", Some(1_562_708_916_000_000_123)),
            ("1562708916.0000001239", Some(1_562_708_916_000_000_123)),
            ("1562708916.", None),
            ("1.2.3", None),
            ("soon", None),
        ] {
            assert_eq!(unix(text), nanos, "{text}");
        }
    }

    #[test]
    fn the_short_way_and_the_layout_agree() {
        let layout = Layout::new(layout::named("RFC3339Nano").unwrap());
        for text in [
            "2019-01-01T01:00:00.000000001Z",
            "2019-05-07T18:57:50.904275087+00:00",
            "2019-05-07T18:57:50.9-08:30",
            "1999-12-28T23:59:59Z",
            "2020-02-28T00:00:00+14:00",
        ] {
            let short = rfc3339(text);
            assert!(short.is_some(), "{text}");
            assert_eq!(short, layout.parse(text, None), "{text}");
        }
        for text in ["2019-02-29T00:00:00Z", "2019-05-07 18:57:50Z", "2019-05-07T18:57:50", "2019-05-07T18:57:50.Z"] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }
}
