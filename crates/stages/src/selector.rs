//! The part of LogQL that `match` knows: a stream selector followed by line filters.
//!
//! `{job="nginx", env=~"prod|stage"} |= "error" !~ "time(d)?out"`. Label matchers are anchored, line filters are not; a
//! label that is not there is the empty string. Parsers and formatters of LogQL (`| json`, `| line_format`) are refused:
//! stages do that here.

use memchr::memmem::Finder;
use model::Labels;
use regex::Regex;
use relabel::{go_regex, go_regex_unanchored};

use crate::StageFault;

/// Longest selector, in bytes; what is longer was not written by hand.
const MAX_SELECTOR: usize = 64 * 1024;

/// A compiled selector.
#[derive(Debug, Clone)]
pub(crate) struct Selector {
    matchers: Vec<Matcher>,
    filters: Vec<Filter>,
}

#[derive(Debug, Clone)]
struct Matcher {
    name: String,
    wanted: bool,
    test: LabelTest,
}

#[derive(Debug, Clone)]
enum LabelTest {
    Equal(String),
    Regex(Regex),
}

/// Holds if any of the tests does (`|= "a" or "b"`), or if none does for the negative ones.
#[derive(Debug, Clone)]
struct Filter {
    wanted: bool,
    tests: Vec<LineTest>,
}

#[derive(Debug, Clone)]
enum LineTest {
    Contains(Box<Finder<'static>>),
    Regex(Regex),
}

impl Selector {
    pub fn parse(text: &str) -> Result<Self, StageFault> {
        if text.len() > MAX_SELECTOR {
            return Err(StageFault::Selector { reason: "it is too long".to_owned(), at: MAX_SELECTOR });
        }
        let mut reader = Reader { text, rest: text };
        let matchers = reader.matchers()?;
        let filters = reader.filters()?;
        Ok(Self { matchers, filters })
    }

    pub fn matches(&self, labels: &Labels, line: &str) -> bool {
        self.matchers.iter().all(|m| m.holds(labels)) && self.filters.iter().all(|f| f.holds(line))
    }
}

impl Matcher {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name).unwrap_or_default();
        let met = match &self.test {
            LabelTest::Equal(text) => text == value,
            LabelTest::Regex(regex) => regex.is_match(value),
        };
        met == self.wanted
    }
}

impl Filter {
    fn holds(&self, line: &str) -> bool {
        let met = self.tests.iter().any(|test| match test {
            LineTest::Contains(finder) => finder.find(line.as_bytes()).is_some(),
            LineTest::Regex(regex) => regex.is_match(line),
        });
        met == self.wanted
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Reader<'_> {
    fn fault<T>(&self, reason: impl Into<String>) -> Result<T, StageFault> {
        let read = self.text.len() - self.rest.len();
        let at = self.text.get(..read).map_or(0, |t| t.chars().count()) + 1;
        Err(StageFault::Selector { reason: reason.into(), at })
    }

    fn space(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            // A comment reaches to the end of the line.
            match self.rest.strip_prefix('#') {
                Some(comment) => self.rest = comment.split_once('\n').map_or("", |(_, rest)| rest),
                None => return,
            }
        }
    }

    fn accept(&mut self, token: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn matchers(&mut self) -> Result<Vec<Matcher>, StageFault> {
        if !self.accept("{") {
            return self.fault("`{` is expected");
        }
        let mut matchers = Vec::new();
        if self.accept("}") {
            return Ok(matchers);
        }
        loop {
            matchers.push(self.matcher()?);
            if self.accept("}") {
                return Ok(matchers);
            }
            if !self.accept(",") {
                return self.fault("`,` or `}` is expected");
            }
            if self.accept("}") {
                return Ok(matchers);
            }
        }
    }

    fn matcher(&mut self) -> Result<Matcher, StageFault> {
        self.space();
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
        let Some((name, rest)) = self.rest.split_at_checked(end).filter(|(name, _)| is_label_name(name)) else {
            return self.fault("a label name is expected");
        };
        let name = name.to_owned();
        self.rest = rest;
        let (wanted, is_regex) = if self.accept("=~") {
            (true, true)
        } else if self.accept("!~") {
            (false, true)
        } else if self.accept("!=") {
            (false, false)
        } else if self.accept("=") {
            (true, false)
        } else {
            return self.fault("`=`, `!=`, `=~` or `!~` is expected");
        };
        let value = self.string()?;
        let test = if is_regex { LabelTest::Regex(go_regex(&value)?) } else { LabelTest::Equal(value) };
        Ok(Matcher { name, wanted, test })
    }

    fn filters(&mut self) -> Result<Vec<Filter>, StageFault> {
        let mut filters = Vec::new();
        loop {
            self.space();
            if self.rest.is_empty() {
                return Ok(filters);
            }
            let (wanted, is_regex) = if self.accept("|=") {
                (true, false)
            } else if self.accept("|~") {
                (true, true)
            } else if self.accept("!=") {
                (false, false)
            } else if self.accept("!~") {
                (false, true)
            } else if self.rest.starts_with("|>") || self.rest.starts_with("!>") {
                return self
                    .fault("patterns (|>, !>) are no test of this program: write a regular expression after |~ or !~");
            } else if self.rest.starts_with('|') {
                return self.fault(
                    "only the line filters |=, !=, |~ and !~ can follow the selector; use stages to parse and format",
                );
            } else {
                return self.fault("a line filter is expected");
            };
            let mut tests = vec![self.line_test(is_regex)?];
            while self.accept("or ") || self.accept("or\"") || self.accept("or`") {
                // The quote belongs to the string.
                let taken = self.text.len() - self.rest.len();
                if self.text.get(..taken).is_some_and(|t| t.ends_with(['"', '`'])) {
                    self.rest = self.text.get(taken - 1..).unwrap_or_default();
                }
                tests.push(self.line_test(is_regex)?);
            }
            filters.push(Filter { wanted, tests });
        }
    }

    fn line_test(&mut self, is_regex: bool) -> Result<LineTest, StageFault> {
        if self.rest.starts_with("ip(") {
            return self
                .fault("ip() is no test of this program: write the addresses as a regular expression after |~ or !~");
        }
        let value = self.string()?;
        Ok(if is_regex {
            LineTest::Regex(go_regex_unanchored(&value)?)
        } else {
            LineTest::Contains(Box::new(Finder::new(value.as_bytes()).into_owned()))
        })
    }

    /// A Go string: quoted with escapes, or raw between backquotes.
    fn string(&mut self) -> Result<String, StageFault> {
        if self.accept("`") {
            return match self.rest.split_once('`') {
                Some((raw, rest)) => {
                    self.rest = rest;
                    Ok(raw.replace('\r', ""))
                }
                None => self.fault("the string has no closing backquote"),
            };
        }
        if !self.accept("\"") {
            return self.fault("a string is expected");
        }
        let mut bytes = Vec::new();
        loop {
            let Some(c) = self.rest.chars().next() else { return self.fault("the string has no closing quote") };
            self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
            match c {
                '"' => break,
                '\n' => return self.fault("the string has no closing quote"),
                '\\' => self.escape(&mut bytes)?,
                c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => self.fault("the string is not UTF-8"),
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), StageFault> {
        let Some(c) = self.rest.chars().next() else { return self.fault("the string has no closing quote") };
        let (digits, radix) = match c {
            'x' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='7' => (3, 8),
            _ => {
                let plain = match c {
                    'a' => 7,
                    'b' => 8,
                    'f' => 12,
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    'v' => 11,
                    '\\' => b'\\',
                    '"' => b'"',
                    _ => return self.fault(format!("the escape \\{c} does not exist")),
                };
                bytes.push(plain);
                self.rest = self.rest.get(1..).unwrap_or_default();
                return Ok(());
            }
        };
        let skip = usize::from(radix == 16);
        let code = self.rest.get(skip..skip + digits).and_then(|d| u32::from_str_radix(d, radix).ok());
        let Some(code) = code else { return self.fault("an escape has too few digits") };
        if matches!(c, 'u' | 'U') {
            let Some(c) = char::from_u32(code) else { return self.fault("an escape is not a character") };
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            let Ok(byte) = u8::try_from(code) else { return self.fault("an escape is not a byte") };
            bytes.push(byte);
        }
        self.rest = self.rest.get(skip + digits..).unwrap_or_default();
        Ok(())
    }
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`
pub(crate) fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(selector: &str, line: &str) -> bool {
        let labels: Labels = [("app", "loki"), ("env", "prod")].into_iter().collect();
        Selector::parse(selector).unwrap().matches(&labels, line)
    }

    #[test]
    fn selectors_and_filters_match_as_in_logql() {
        for (selector, line, expected) in [
            (r#"{app="loki"}"#, "x", true),
            (r#"{app="promtail"}"#, "x", false),
            (r#"{app=~"lo"}"#, "x", false),
            (r#"{app=~"lo.*",env!="dev"}"#, "x", true),
            (r#"{ app !~ "p.*" , }"#, "x", true),
            (r#"{missing=""}"#, "x", true),
            (r#"{missing!=""}"#, "x", false),
            ("{}", "x", true),
            (r#"{app="loki"} |= "error""#, "an error", true),
            (r#"{app="loki"} |= "error""#, "fine", false),
            (r#"{app="loki"} != "error" |~ "f.ne""#, "so fine!", true),
            (r#"{app="loki"} !~ "^f""#, "fine", false),
            (r#"{app="loki"} |= "a" or "b""#, "b", true),
            (r#"{app="loki"} |= "a" or "b""#, "c", false),
            ("{app=\"loki\"} |~ `\\d+ ms`", "took 12 ms", true),
            (r#"{app="loki"} |= "tab\there\x41\u00e9""#, "tab\thereAé", true),
            ("{app=\"loki\"} # note\n |= \"e\"", "e", true),
        ] {
            assert_eq!(holds(selector, line), expected, "{selector} on {line:?}");
        }
    }

    #[test]
    fn what_is_not_a_selector_says_where() {
        for (selector, at) in [
            ("", 1),
            ("app=\"x\"", 1),
            ("{app=\"x\"", 9),
            ("{app==\"x\"}", 6),
            ("{1a=\"x\"}", 2),
            ("{app=\"x\"} | json", 11),
            ("{app=\"x\"} |= error", 14),
            ("{app=\"x} ", 10),
            (r#"{app="\q"}"#, 8),
        ] {
            match Selector::parse(selector) {
                Err(StageFault::Selector { at: found, .. }) => assert_eq!(found, at, "{selector}"),
                other => panic!("{selector}: {other:?}"),
            }
        }
        assert!(matches!(Selector::parse("{a=~\"(\"}"), Err(StageFault::Regex(_))));
    }
}
