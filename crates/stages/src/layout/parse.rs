//! Reading a time by its layout, with the rules of Go's `time.Parse`.

use super::{
    Layout, Location, Part,
    civil::{Civil, NANOS_PER_SECOND, days_in, is_leap},
};

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// What the text said of its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ZoneSeen {
    /// Nothing: it is the location's.
    None,
    /// `Z` or `UTC`, which wins over everything else.
    Utc,
    /// Seconds east of UTC.
    Offset(i64),
    /// An abbreviation, which only a location can explain.
    Name(String),
}

impl ZoneSeen {
    /// Of two statements in one text, the one that Go believes: UTC, then an offset, then a name.
    fn or(self, later: Self) -> Self {
        let rank = |zone: &Self| match zone {
            Self::None => 0,
            Self::Name(_) => 1,
            Self::Offset(_) => 2,
            Self::Utc => 3,
        };
        if rank(&later) >= rank(&self) { later } else { self }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Layout {
    /// Nanoseconds since the epoch, or nothing if `text` does not follow the layout or is out of the range.
    pub(crate) fn parse(&self, text: &str, location: Option<&Location>) -> Option<i64> {
        let (civil, zone) = self.parse_civil(text)?;
        to_nanos(&civil, &zone, location)
    }

    /// The same for a layout without a year: the year is that of `now_ns`, or the next or last one around New Year.
    pub(crate) fn parse_without_year(&self, text: &str, location: Option<&Location>, now_ns: i64) -> Option<i64> {
        let (mut civil, zone) = self.parse_civil(text)?;
        if civil.year != 0 {
            return None;
        }
        let offset = location.map_or(0, |l| l.offset_at(now_ns.div_euclid(NANOS_PER_SECOND)));
        let now = Civil::from_nanos(now_ns.saturating_add(offset.saturating_mul(NANOS_PER_SECOND)));
        civil.year = match (civil.month, now.month) {
            (12, 1) => now.year - 1,
            (1, 12) => now.year + 1,
            _ => now.year,
        };
        // The 29th of February of a year that has none is the first of March, as Go adds years.
        to_nanos(&civil, &zone, location)
    }

    /// The fields as written. Year 0 when there is none.
    pub(crate) fn parse_civil(&self, text: &str) -> Option<(Civil, ZoneSeen)> {
        let mut reader = Reader { rest: text };
        let mut civil = Civil { year: 0, month: -1, day: -1, hour: 0, minute: 0, second: 0, nanosecond: 0 };
        let mut year_day = None;
        let mut afternoon = None;
        let mut zone = ZoneSeen::None;
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(text) => reader.skip(text)?,
                Part::LongYear => civil.year = reader.fixed_digits(4)?,
                Part::ShortYear => {
                    let short = reader.fixed_digits(2)?;
                    civil.year = if short >= 69 { 1900 + short } else { 2000 + short };
                }
                Part::LongMonth => civil.month = reader.word(&MONTHS, false)? + 1,
                Part::ShortMonth => civil.month = reader.word(&MONTHS, true)? + 1,
                Part::Month | Part::ZeroMonth => {
                    civil.month = reader.number(*part == Part::ZeroMonth).filter(|m| (1..=12).contains(m))?;
                }
                Part::LongWeekday => {
                    reader.word(&WEEKDAYS, false)?;
                }
                Part::ShortWeekday => {
                    reader.word(&WEEKDAYS, true)?;
                }
                Part::Day | Part::UnderDay | Part::ZeroDay => {
                    if *part == Part::UnderDay {
                        reader.one_space();
                    }
                    civil.day = reader.number(*part == Part::ZeroDay)?;
                }
                Part::UnderYearDay | Part::ZeroYearDay => {
                    if *part == Part::UnderYearDay {
                        reader.one_space();
                        reader.one_space();
                    }
                    year_day = Some(reader.up_to_three_digits(*part == Part::ZeroYearDay)?);
                }
                Part::Hour => civil.hour = reader.number(false).filter(|h| *h < 24)?,
                Part::Hour12 | Part::ZeroHour12 => {
                    civil.hour = reader.number(*part == Part::ZeroHour12).filter(|h| *h <= 12)?;
                }
                Part::Minute | Part::ZeroMinute => {
                    civil.minute = reader.number(*part == Part::ZeroMinute).filter(|m| *m < 60)?;
                }
                Part::Second | Part::ZeroSecond => {
                    civil.second = reader.number(*part == Part::ZeroSecond).filter(|s| *s < 60)?;
                    // A fraction that the layout does not mention is taken all the same.
                    if !matches!(self.parts.get(at + 1), Some(Part::Fraction { .. })) {
                        civil.nanosecond = reader.any_fraction().unwrap_or(civil.nanosecond);
                    }
                }
                Part::UpperHalf => afternoon = Some(reader.half("AM", "PM")?),
                Part::LowerHalf => afternoon = Some(reader.half("am", "pm")?),
                Part::Fraction { digits, fixed: true, .. } => civil.nanosecond = reader.fraction(*digits)?,
                Part::Fraction { .. } => civil.nanosecond = reader.any_fraction().unwrap_or(0),
                Part::Offset { zulu, colons, fields } => {
                    zone = zone.or(reader.offset(*zulu, *colons, *fields)?);
                }
                Part::ZoneName => zone = zone.or(reader.zone_name()?),
            }
        }
        if !reader.rest.is_empty() {
            return None;
        }
        match afternoon {
            Some(true) if civil.hour < 12 => civil.hour += 12,
            Some(false) if civil.hour == 12 => civil.hour = 0,
            _ => {}
        }
        place_day(&mut civil, year_day)?;
        Some((civil, zone))
    }
}

/// Makes month and day agree with the day of the year, fills what is missing and checks the day.
fn place_day(civil: &mut Civil, year_day: Option<i64>) -> Option<()> {
    if let Some(year_day) = year_day {
        let length = if is_leap(civil.year) { 366 } else { 365 };
        let mut day = Some(year_day).filter(|d| (1..=length).contains(d))?;
        let mut month = 1;
        while day > days_in(month, civil.year) {
            day -= days_in(month, civil.year);
            month += 1;
        }
        if (civil.month >= 0 && civil.month != month) || (civil.day >= 0 && civil.day != day) {
            return None;
        }
        (civil.month, civil.day) = (month, day);
    }
    if civil.month < 0 {
        civil.month = 1;
    }
    if civil.day < 0 {
        civil.day = 1;
    }
    (1..=days_in(civil.month, civil.year)).contains(&civil.day).then_some(())
}

fn to_nanos(civil: &Civil, zone: &ZoneSeen, location: Option<&Location>) -> Option<i64> {
    let wall = civil.seconds_as_utc();
    let seconds = match (zone, location) {
        (ZoneSeen::Utc, _) => wall,
        (ZoneSeen::Offset(offset), _) => wall - offset,
        // An unknown abbreviation says nothing: Go invents a zone of that name with offset zero.
        (ZoneSeen::Name(name), location) => wall - location.and_then(|l| l.offset_named(name, wall)).unwrap_or(0),
        (ZoneSeen::None, Some(location)) => location.moment(wall),
        (ZoneSeen::None, None) => wall,
    };
    seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(civil.nanosecond)
}

impl<'a> Reader<'a> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.rest.as_bytes().get(at).copied()
    }

    fn is_digit(&self, at: usize) -> bool {
        self.byte(at).is_some_and(|b| b.is_ascii_digit())
    }

    /// Takes `length` bytes.
    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    /// Text of the layout; a run of spaces there matches any run here, also none at the end.
    fn skip(&mut self, text: &str) -> Option<()> {
        let mut text = text;
        while let Some(c) = text.chars().next() {
            if c == ' ' {
                if !self.rest.is_empty() && !self.rest.starts_with(' ') {
                    return None;
                }
                text = text.trim_start_matches(' ');
                self.rest = self.rest.trim_start_matches(' ');
            } else {
                self.rest = self.rest.strip_prefix(c)?;
                text = text.get(c.len_utf8()..)?;
            }
        }
        Some(())
    }

    fn one_space(&mut self) {
        self.rest = self.rest.strip_prefix(' ').unwrap_or(self.rest);
    }

    fn fixed_digits(&mut self, count: usize) -> Option<i64> {
        if (0..count).any(|i| !self.is_digit(i)) {
            return None;
        }
        self.take(count)?.parse().ok()
    }

    /// One or two digits; two only if `fixed`.
    fn number(&mut self, fixed: bool) -> Option<i64> {
        match (self.is_digit(0), self.is_digit(1)) {
            (true, true) => self.fixed_digits(2),
            (true, false) if !fixed => self.fixed_digits(1),
            _ => None,
        }
    }

    fn up_to_three_digits(&mut self, fixed: bool) -> Option<i64> {
        let count = (0..3).take_while(|i| self.is_digit(*i)).count();
        if count == 0 || (fixed && count != 3) { None } else { self.fixed_digits(count) }
    }

    /// One of the words, or of their first three letters; any case.
    fn word(&mut self, words: &[&str], short: bool) -> Option<i64> {
        for (i, word) in words.iter().enumerate() {
            let length = if short { 3 } else { word.len() };
            if let (Some(word), Some(here)) = (word.get(..length), self.rest.get(..length))
                && word.eq_ignore_ascii_case(here)
            {
                self.take(length)?;
                return i64::try_from(i).ok();
            }
        }
        None
    }

    fn half(&mut self, morning: &str, afternoon: &str) -> Option<bool> {
        let word = self.take(2)?;
        if word == afternoon { Some(true) } else { (word == morning).then_some(false) }
    }

    /// A point or comma and exactly so many digits, as nanoseconds.
    fn fraction(&mut self, digits: usize) -> Option<i64> {
        self.byte(0).filter(|b| matches!(b, b'.' | b','))?;
        let text = self.rest.get(1..=digits)?;
        let nanos = fraction_nanos(text)?;
        self.take(digits + 1)?;
        Some(nanos)
    }

    /// As many digits as there are; nothing if there is no fraction.
    fn any_fraction(&mut self) -> Option<i64> {
        let digits = self.rest.bytes().skip(1).take_while(u8::is_ascii_digit).count();
        if digits == 0 { None } else { self.fraction(digits) }
    }

    fn offset(&mut self, zulu: bool, colons: bool, fields: u8) -> Option<ZoneSeen> {
        if zulu && let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Some(ZoneSeen::Utc);
        }
        let sign = match self.take(1)? {
            "+" => 1,
            "-" => -1,
            _ => return None,
        };
        let mut seconds = self.fixed_digits(2).filter(|h| *h <= 24)? * 3600;
        for unit in [60, 1].into_iter().take(usize::from(fields).saturating_sub(1)) {
            if colons {
                self.rest = self.rest.strip_prefix(':')?;
            }
            seconds += self.fixed_digits(2).filter(|n| *n <= 60)? * unit;
        }
        Some(ZoneSeen::Offset(sign * seconds))
    }

    /// `UTC`, `CEST`, `GMT+3`, `+03`.
    fn zone_name(&mut self) -> Option<ZoneSeen> {
        if self.rest.starts_with("UTC") {
            self.take(3)?;
            return Some(ZoneSeen::Utc);
        }
        let length = zone_name_length(self.rest)?;
        Some(ZoneSeen::Name(self.take(length)?.to_owned()))
    }
}

/// How much of `text` Go takes for the name of a zone.
fn zone_name_length(text: &str) -> Option<usize> {
    if text.len() < 3 {
        return None;
    }
    if text.starts_with("ChST") || text.starts_with("MeST") {
        return Some(4);
    }
    if let Some(rest) = text.strip_prefix("GMT") {
        return Some(3 + signed_hours_length(rest));
    }
    if text.starts_with(['+', '-']) {
        return Some(signed_hours_length(text)).filter(|n| *n > 0);
    }
    let letters = text.bytes().take(6).take_while(u8::is_ascii_uppercase).count();
    let letter = |at: usize| text.as_bytes().get(at).copied();
    match letters {
        3 => Some(3),
        4 if letter(3) == Some(b'T') || text.starts_with("WITA") => Some(4),
        5 if letter(4) == Some(b'T') => Some(5),
        _ => None,
    }
}

/// The length of a sign and a number up to 23; 0 if there is none.
fn signed_hours_length(text: &str) -> usize {
    let Some(digits) = text.strip_prefix(['+', '-']) else { return 0 };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    match digits.get(..count).and_then(|d| d.parse::<u32>().ok()) {
        Some(0..=23) => count + 1,
        _ => 0,
    }
}

/// Digits after the point as nanoseconds; those beyond the ninth are cut.
fn fraction_nanos(digits: &str) -> Option<i64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kept = digits.get(..digits.len().min(9))?;
    let mut nanos: i64 = kept.parse().ok()?;
    for _ in kept.len()..9 {
        nanos *= 10;
    }
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(layout: &str, text: &str) -> Option<i64> {
        Layout::new(super::super::named(layout).unwrap_or(layout)).parse(text, None)
    }

    #[test]
    fn gos_own_examples_parse() {
        // 2010-02-04T21:00:57 UTC+0
        let wall = 1_265_317_257 * NANOS_PER_SECOND;
        let same = [
            ("ANSIC", "Thu Feb  4 21:00:57 2010"),
            ("UnixDate", "Thu Feb  4 21:00:57 UTC 2010"),
            ("UnixDate", "Thu Feb  4 21:00:57 PST 2010"),
            ("RubyDate", "Thu Feb 04 21:00:57 +0000 2010"),
            ("RFC850", "Thursday, 04-Feb-10 21:00:57 GMT"),
            ("RFC1123", "Thu, 04 Feb 2010 21:00:57 UTC"),
            ("RFC1123", "Thu, 04 Feb 2010 21:00:57 GMT+3"),
            ("RFC3339", "2010-02-04T21:00:57Z"),
            ("RFC3339", "2010-02-04T13:00:57-08:00"),
            ("2006-01-02 15:04:05", "2010-02-04 21:00:57"),
            ("2006-002 15:04:05", "2010-035 21:00:57"),
            ("01/02/06 03:04:05PM -07", "02/04/10 09:00:57PM +00"),
            ("Jan 2, 2006 at 3:04:05 pm (Z070000)", "feb 4, 2010 at 9:00:57 pm (-000000)"),
        ];
        for (layout, text) in same {
            assert_eq!(parse(layout, text), Some(wall), "{layout}: {text}");
        }
        let milli = wall + 12_000_000;
        for (layout, text) in [
            ("ANSIC", "Thu Feb  4 21:00:57.012 2010"),
            ("RFC3339", "2010-02-04T21:00:57.012Z"),
            ("RFC3339Nano", "2010-02-04T21:00:57.01200Z"),
            ("2006-01-02T15:04:05,000", "2010-02-04T21:00:57,012"),
            ("2006-01-02T15:04:05.999", "2010-02-04T21:00:57.012"),
        ] {
            assert_eq!(parse(layout, text), Some(milli), "{layout}: {text}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for (layout, text) in [
            ("RFC3339", "2010-02-30T21:00:57Z"),
            ("RFC3339", "2010-02-04T21:60:57Z"),
            ("RFC3339", "2010-02-04T21:00:57Zx"),
            ("RFC3339", "2010-02-04T21:00:57"),
            ("2006-01-02", "2010-2-4"),
            ("2006-01-02", "2010-13-04"),
            ("15:04", "24:00"),
            ("2006-01-02 15:04:05.000", "2010-02-04 21:00:57.01"),
            ("2006-01-02 MST", "2010-02-04 Mst"),
            ("2006-01-02 -0700", "2010-02-04 +9900"),
            ("2006", "99999"),
        ] {
            assert_eq!(parse(layout, text), None, "{layout}: {text}");
        }
        assert_eq!(parse("2006-01-02", "9999-01-01"), None, "beyond 64-bit nanoseconds");
    }

    #[test]
    fn a_missing_year_is_guessed_around_new_year() {
        let layout = Layout::new("Jan _2 15:04:05");
        let at = |text: &str, now: &str| {
            let now = parse("RFC3339", now).unwrap();
            Civil::from_nanos(layout.parse_without_year(text, None, now).unwrap()).year
        };
        assert_eq!(at("Jul 15 01:02:03", "2019-07-15T00:00:00Z"), 2019);
        assert_eq!(at("Dec 31 23:59:59", "2020-01-01T00:00:01Z"), 2019);
        assert_eq!(at("Jan  1 00:00:01", "2019-12-31T23:59:59Z"), 2020);
        let leap =
            layout.parse_without_year("Feb 29 00:00:00", None, parse("RFC3339", "2019-03-01T00:00:00Z").unwrap());
        assert_eq!(Civil::from_nanos(leap.unwrap()).month, 3);
    }

    #[test]
    fn a_location_explains_wall_time_and_abbreviations() {
        let berlin = Location::named("Europe/Berlin").unwrap();
        let layout = Layout::new("2006-01-02 15:04:05");
        assert_eq!(layout.parse("2021-07-01 12:00:00", Some(&berlin)), parse("RFC3339", "2021-07-01T10:00:00Z"));
        let named = Layout::new("2006-01-02 15:04:05 MST");
        assert_eq!(named.parse("2021-07-01 12:00:00 CEST", Some(&berlin)), parse("RFC3339", "2021-07-01T10:00:00Z"));
        assert_eq!(named.parse("2021-07-01 12:00:00 PST", Some(&berlin)), parse("RFC3339", "2021-07-01T12:00:00Z"));
    }
}
