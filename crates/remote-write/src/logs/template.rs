//! Texts with `{label}` in them: log groups, streams, partition keys, prefixes.
//!
//! It knows no service's rules; who uses it cleans the result. It keeps true: the result is a function of the labels and of
//! the time at which the frame entered the queue, so a retry after a restart goes to the same place.

use model::Labels;
use sha2::{Digest, Sha256};

/// See the file's head. `{hostname}` is filled in when it is made; `{year}`, `{month}`, `{day}` and `{hour}` are UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Label(String),
    Date(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Month,
    Day,
    Hour,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its other half.
    #[error("`{text}` has a brace without its other half; write `{{label}}` where a label's value goes")]
    Brace {
        /// The template.
        text: String,
    },
    /// `{}`, or something between braces that is no label's name.
    #[error(
        "`{{{name}}}` is no label's name; write `{{label}}`, `{{hostname}}`, `{{year}}`, `{{month}}`, `{{day}}` or `{{hour}}`"
    )]
    Name {
        /// What stands between the braces.
        name: String,
    },
}

impl Template {
    /// Reads a template; `hostname` is what `{hostname}` stands for.
    pub fn parse(text: &str, hostname: &str) -> Result<Self, TemplateError> {
        let brace = || TemplateError::Brace { text: text.to_owned() };
        let mut parts = Vec::new();
        let put = |parts: &mut Vec<Part>, text: &str| match parts.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(before)) => before.push_str(text),
            _ => parts.push(Part::Text(text.to_owned())),
        };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(brace)?;
            if before.contains('}') || name.contains('{') {
                return Err(brace());
            }
            put(&mut parts, before);
            match name {
                "hostname" => put(&mut parts, hostname),
                "year" => parts.push(Part::Date(Field::Year)),
                "month" => parts.push(Part::Date(Field::Month)),
                "day" => parts.push(Part::Date(Field::Day)),
                "hour" => parts.push(Part::Date(Field::Hour)),
                name => {
                    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
                    let valid = name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit());
                    if !valid {
                        return Err(TemplateError::Name { name: name.to_owned() });
                    }
                    parts.push(Part::Label(name.to_owned()));
                }
            }
            rest = after;
        }
        if rest.contains('}') {
            return Err(brace());
        }
        put(&mut parts, rest);
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names of the labels in it.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Label(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether the result changes with the hour.
    pub(crate) fn is_dated(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Date(_)))
    }

    /// Fills it in; a label that is not there is empty. `clean` sees what comes from labels.
    pub(crate) fn fill(&self, labels: &Labels, at_ms: i64, clean: impl Fn(&str) -> String) -> String {
        let time = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let time = time.to_zoned(jiff::tz::TimeZone::UTC);
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Label(name) => out.push_str(&clean(labels.get(name).unwrap_or_default())),
                Part::Date(Field::Year) => out.push_str(&format!("{:04}", time.year())),
                Part::Date(Field::Month) => out.push_str(&format!("{:02}", time.month())),
                Part::Date(Field::Day) => out.push_str(&format!("{:02}", time.day())),
                Part::Date(Field::Hour) => out.push_str(&format!("{:02}", time.hour())),
            }
        }
        out
    }
}

/// A name of at most `most`, as `length` counts its characters. What is longer ends in a hash of all of it, so that two long names
/// stay two, and one stays the same at every start. `most` is more than 17.
pub(crate) fn shortened(name: String, most: usize, length: impl Fn(char) -> usize) -> String {
    if name.chars().map(&length).sum::<usize>() <= most {
        return name;
    }
    let digest = Sha256::digest(name.as_bytes());
    let mut left = most.saturating_sub(17);
    let fits = |c: &char| {
        let taken = length(*c);
        let fits = taken <= left;
        left = left.saturating_sub(taken);
        fits
    };
    let begin: String = name.chars().take_while(fits).collect();
    format!("{begin}-{}", hex::encode(&digest[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_keeps_its_beginning_and_stays_apart_from_others() {
        let long = |end: &str| shortened(format!("{}{end}", "é😀".repeat(300)), 100, char::len_utf16);
        assert_eq!(long("a"), long("a"));
        assert_ne!(long("a"), long("b"));
        assert!(long("a").encode_utf16().count() <= 100 && long("a").starts_with("é😀é😀"));
        assert_eq!(shortened("x".repeat(100), 100, char::len_utf8), "x".repeat(100));
        assert_eq!(shortened("x".repeat(101), 100, char::len_utf8).len(), 100);
    }

    fn fill(text: &str) -> String {
        let labels: Labels = [("job", "varlogs"), ("filename", "/var/log/a b")].into_iter().collect();
        Template::parse(text, "web-1").unwrap().fill(&labels, 1_700_000_000_000, |v| v.replace(' ', "_"))
    }

    #[test]
    fn labels_the_host_and_the_date_are_filled_in() {
        assert_eq!(fill("/sigpost/{job}"), "/sigpost/varlogs");
        assert_eq!(fill("{hostname}{filename}"), "web-1/var/log/a_b");
        assert_eq!(fill("{year}/{month}/{day}/{hour}-{missing}x"), "2023/11/14/22-x");
        assert_eq!(fill(""), "");
        assert!(Template::parse("a{hour}", "h").unwrap().is_dated());
    }

    #[test]
    fn a_template_that_cannot_be_meant_is_refused() {
        for text in ["{job", "job}", "{a}b}", "{a{b}}"] {
            assert!(matches!(Template::parse(text, ""), Err(TemplateError::Brace { .. })), "{text}");
        }
        for text in ["{}", "{a b}", "{0a}", "{a-b}"] {
            assert!(matches!(Template::parse(text, ""), Err(TemplateError::Name { .. })), "{text}");
        }
    }
}
