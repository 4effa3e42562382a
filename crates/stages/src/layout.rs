//! Go's time layouts: `2006-01-02T15:04:05.000Z07:00` taken apart into its parts, once.
//!
//! The reference time of a layout is Mon Jan 2 15:04:05 MST 2006; what does not look like one of its parts is text. The
//! rules are those of Go's package `time` (`nextStdChunk`), oddities included.

mod civil;
mod format;
mod parse;
mod zone;

pub(crate) use civil::{Civil, NANOS_PER_SECOND};
pub use zone::Location;

/// One part of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    LongYear,
    ShortYear,
    LongMonth,
    ShortMonth,
    Month,
    ZeroMonth,
    LongWeekday,
    ShortWeekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    UpperHalf,
    LowerHalf,
    ZoneName,
    Offset {
        /// `Z` stands for zero.
        zulu: bool,
        colons: bool,
        /// 1 hours, 2 and minutes, 3 and seconds.
        fields: u8,
    },
    Fraction {
        digits: usize,
        /// `.000`: always so many digits. Otherwise `.999`: any number, also none.
        fixed: bool,
        separator: char,
    },
}

/// A layout, ready to parse and format with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    parts: Vec<Part>,
    /// The text contains a year as Promtail looks for it: the digits `06` anywhere.
    has_year: bool,
}

/// Names that Promtail and sprig take for layouts.
const NAMED: [(&str, &str); 10] = [
    ("ANSIC", "Mon Jan _2 15:04:05 2006"),
    ("UnixDate", "Mon Jan _2 15:04:05 MST 2006"),
    ("RubyDate", "Mon Jan 02 15:04:05 -0700 2006"),
    ("RFC822", "02 Jan 06 15:04 MST"),
    ("RFC822Z", "02 Jan 06 15:04 -0700"),
    ("RFC850", "Monday, 02-Jan-06 15:04:05 MST"),
    ("RFC1123", "Mon, 02 Jan 2006 15:04:05 MST"),
    ("RFC1123Z", "Mon, 02 Jan 2006 15:04:05 -0700"),
    ("RFC3339", "2006-01-02T15:04:05Z07:00"),
    ("RFC3339Nano", "2006-01-02T15:04:05.999999999Z07:00"),
];

/// The layout behind one of Go's names.
pub(crate) fn named(name: &str) -> Option<&'static str> {
    NAMED.iter().find(|(n, _)| *n == name).map(|(_, layout)| *layout)
}

impl Layout {
    /// Any text is a layout; [`Layout::has_parts`] tells whether it says anything.
    pub fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            match standard(rest) {
                Some((part, length)) => {
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    // `_2006` is an underscore and a year.
                    parts.extend(part);
                    rest = rest.get(length..).unwrap_or_default();
                }
                None => {
                    literal.push(c);
                    rest = rest.get(c.len_utf8()..).unwrap_or_default();
                }
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Self { parts, has_year: text.contains("06") }
    }

    pub(crate) fn has_year(&self) -> bool {
        self.has_year
    }

    /// Whether there is anything but text.
    pub fn has_parts(&self) -> bool {
        self.parts.iter().any(|p| !matches!(p, Part::Text(_)))
    }
}

/// The standard part at the start of `rest` and its length in bytes.
fn standard(rest: &str) -> Option<(Vec<Part>, usize)> {
    let offset = |zulu, colons, fields| Part::Offset { zulu, colons, fields };
    let starts_lower = |text: &str| text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    let table: &[(&str, Part)] = &[
        ("January", Part::LongMonth),
        ("Jan", Part::ShortMonth),
        ("Monday", Part::LongWeekday),
        ("Mon", Part::ShortWeekday),
        ("MST", Part::ZoneName),
        ("002", Part::ZeroYearDay),
        ("01", Part::ZeroMonth),
        ("02", Part::ZeroDay),
        ("03", Part::ZeroHour12),
        ("04", Part::ZeroMinute),
        ("05", Part::ZeroSecond),
        ("06", Part::ShortYear),
        ("15", Part::Hour),
        ("1", Part::Month),
        ("2006", Part::LongYear),
        ("2", Part::Day),
        ("__2", Part::UnderYearDay),
        ("_2", Part::UnderDay),
        ("3", Part::Hour12),
        ("4", Part::Minute),
        ("5", Part::Second),
        ("PM", Part::UpperHalf),
        ("pm", Part::LowerHalf),
        ("-070000", offset(false, false, 3)),
        ("-07:00:00", offset(false, true, 3)),
        ("-0700", offset(false, false, 2)),
        ("-07:00", offset(false, true, 2)),
        ("-07", offset(false, false, 1)),
        ("Z070000", offset(true, false, 3)),
        ("Z07:00:00", offset(true, true, 3)),
        ("Z0700", offset(true, false, 2)),
        ("Z07:00", offset(true, true, 2)),
        ("Z07", offset(true, false, 1)),
    ];
    if rest.starts_with("_2006") {
        return Some((vec![Part::Text("_".to_owned()), Part::LongYear], 5));
    }
    for (text, part) in table {
        let Some(after) = rest.strip_prefix(text) else { continue };
        // `January` and `Monday` come first in the table; `Janus` and `Month` are words.
        if matches!(part, Part::ShortMonth | Part::ShortWeekday) && starts_lower(after) {
            continue;
        }
        return Some((vec![part.clone()], text.len()));
    }
    fraction(rest)
}

/// `.000`, `,000`, `.999`, `,999`, not followed by another digit.
fn fraction(rest: &str) -> Option<(Vec<Part>, usize)> {
    let separator = rest.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let after = rest.get(1..)?;
    let digit = after.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let digits = after.bytes().take_while(|b| char::from(*b) == digit).count();
    if after.as_bytes().get(digits).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    Some((vec![Part::Fraction { digits, fixed: digit == '0', separator }], digits + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_come_apart_as_in_go() {
        let parts = |text| Layout::new(text).parts;
        assert_eq!(
            parts("2006-01-02T15:04:05.000Z07:00"),
            [
                Part::LongYear,
                Part::Text("-".into()),
                Part::ZeroMonth,
                Part::Text("-".into()),
                Part::ZeroDay,
                Part::Text("T".into()),
                Part::Hour,
                Part::Text(":".into()),
                Part::ZeroMinute,
                Part::Text(":".into()),
                Part::ZeroSecond,
                Part::Fraction { digits: 3, fixed: true, separator: '.' },
                Part::Offset { zulu: true, colons: true, fields: 2 },
            ]
        );
        assert_eq!(parts("Month"), [Part::Text("Month".into())]);
        assert_eq!(parts("_2006"), [Part::Text("_".into()), Part::LongYear]);
        assert_eq!(parts("_2 Jan"), [Part::UnderDay, Part::Text(" ".into()), Part::ShortMonth]);
        assert_eq!(parts(".0001"), [Part::Text(".00".into()), Part::ZeroMonth]);
        assert!(!Layout::new("no date here").has_parts());
    }
}
