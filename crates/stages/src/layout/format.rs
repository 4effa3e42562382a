//! Writing a time by its layout, with the rules of Go's `Time.Format`.

use std::fmt::Write;

use super::{
    Layout, Location, Part,
    civil::{Civil, NANOS_PER_SECOND},
    parse::{MONTHS, WEEKDAYS},
};

impl Layout {
    /// `nanos` since the epoch, as clocks in `location` show it.
    pub(crate) fn format(&self, nanos: i64, location: &Location) -> String {
        let seconds = nanos.div_euclid(NANOS_PER_SECOND);
        let offset = location.offset_at(seconds);
        let civil = Civil::from_nanos(nanos.saturating_add(offset.saturating_mul(NANOS_PER_SECOND)));
        let mut out = String::new();
        for part in &self.parts {
            // A `String` takes everything.
            let _ = push(&mut out, part, &civil, offset, || location.abbreviation_at(seconds));
        }
        out
    }
}

fn push(
    out: &mut String,
    part: &Part,
    civil: &Civil,
    offset: i64,
    zone: impl Fn() -> String,
) -> Result<(), std::fmt::Error> {
    let hour12 = if civil.hour % 12 == 0 { 12 } else { civil.hour % 12 };
    let word = |words: &[&'static str], at: i64| usize::try_from(at).ok().and_then(|i| words.get(i).copied());
    let month = word(&MONTHS, civil.month - 1).unwrap_or_default();
    let weekday = word(&WEEKDAYS, civil.weekday()).unwrap_or_default();
    match part {
        Part::Text(text) => out.push_str(text),
        Part::LongYear => write!(out, "{:04}", civil.year)?,
        Part::ShortYear => write!(out, "{:02}", civil.year.rem_euclid(100))?,
        Part::LongMonth => out.push_str(month),
        Part::ShortMonth => out.push_str(month.get(..3).unwrap_or_default()),
        Part::Month => write!(out, "{}", civil.month)?,
        Part::ZeroMonth => write!(out, "{:02}", civil.month)?,
        Part::LongWeekday => out.push_str(weekday),
        Part::ShortWeekday => out.push_str(weekday.get(..3).unwrap_or_default()),
        Part::Day => write!(out, "{}", civil.day)?,
        Part::UnderDay => write!(out, "{:2}", civil.day)?,
        Part::ZeroDay => write!(out, "{:02}", civil.day)?,
        Part::UnderYearDay => write!(out, "{:3}", civil.year_day())?,
        Part::ZeroYearDay => write!(out, "{:03}", civil.year_day())?,
        Part::Hour => write!(out, "{:02}", civil.hour)?,
        Part::Hour12 => write!(out, "{hour12}")?,
        Part::ZeroHour12 => write!(out, "{hour12:02}")?,
        Part::Minute => write!(out, "{}", civil.minute)?,
        Part::ZeroMinute => write!(out, "{:02}", civil.minute)?,
        Part::Second => write!(out, "{}", civil.second)?,
        Part::ZeroSecond => write!(out, "{:02}", civil.second)?,
        Part::UpperHalf => out.push_str(if civil.hour >= 12 { "PM" } else { "AM" }),
        Part::LowerHalf => out.push_str(if civil.hour >= 12 { "pm" } else { "am" }),
        Part::ZoneName => match zone() {
            // The database has numbers where a zone has no name.
            name if name.is_empty() => push_offset(out, offset, false, 2)?,
            name => out.push_str(&name),
        },
        Part::Offset { zulu: true, .. } if offset == 0 => out.push('Z'),
        Part::Offset { colons, fields, .. } => push_offset(out, offset, *colons, *fields)?,
        Part::Fraction { digits, fixed, separator } => {
            let text = format!("{:09}", civil.nanosecond);
            let text = text.get(..(*digits).min(9)).unwrap_or(&text);
            let text = if *fixed { text } else { text.trim_end_matches('0') };
            if !text.is_empty() {
                write!(out, "{separator}{text}")?;
            }
        }
    }
    Ok(())
}

fn push_offset(out: &mut String, offset: i64, colons: bool, fields: u8) -> Result<(), std::fmt::Error> {
    let colon = if colons { ":" } else { "" };
    let sign = if offset < 0 { '-' } else { '+' };
    let seconds = offset.abs();
    write!(out, "{sign}{:02}", seconds / 3600)?;
    if fields > 1 {
        write!(out, "{colon}{:02}", seconds / 60 % 60)?;
    }
    if fields > 2 {
        write!(out, "{colon}{:02}", seconds % 60)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_own_examples_format() {
        // Go's TestFormat: 2009-02-04 21:00:57.0123456 PST.
        let nanos = 1_233_810_057_012_345_600;
        let pacific = Location::named("America/Los_Angeles").unwrap();
        let cases = [
            ("Mon Jan _2 15:04:05 2006", "Wed Feb  4 21:00:57 2009"),
            ("Mon Jan _2 15:04:05 MST 2006", "Wed Feb  4 21:00:57 PST 2009"),
            ("02 Jan 06 15:04 -0700", "04 Feb 09 21:00 -0800"),
            ("Monday, 02-Jan-06 15:04:05 MST", "Wednesday, 04-Feb-09 21:00:57 PST"),
            ("2006-01-02T15:04:05.999999999Z07:00", "2009-02-04T21:00:57.0123456-08:00"),
            ("3:04PM", "9:00PM"),
            ("3pm", "9pm"),
            ("06/01/02", "09/02/04"),
            ("Jan  2 002 __2 2", "Feb  4 035  35 4"),
            (".00 .999999", ".01 .012345"),
            ("January Jan _2006", "February Feb _2009"),
        ];
        for (layout, text) in cases {
            assert_eq!(Layout::new(layout).format(nanos, &pacific), text, "{layout}");
        }
        assert_eq!(Layout::new("Z07:00 -07").format(0, &Location::utc()), "Z +00");
    }
}
