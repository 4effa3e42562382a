//! The functions that templates may call: Promtail's own and the pure part of sprig.
//!
//! Functions that look at the machine (`env`, `getHostByName`) or roll dice (`randAlpha`, `uuidv4`) are left out: what a
//! stage makes of a line depends on the line, the configuration and the time it is given. Every result is bounded by
//! [`MAX_RESULT`]; a function that would exceed it fails, as one does that is called with the wrong kind of value.

mod dates;
mod digests;
mod lists;
mod math;
mod patterns;
mod texts;
mod values;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use gotmpl::{FuncMap, TemplateError, Value};

pub(crate) use patterns::{PATTERN_FIRST, Patterns};

type Outcome = Result<Value, TemplateError>;

/// Most bytes of one function's text.
pub(crate) const MAX_RESULT: usize = 8 << 20;
/// Most items of one function's list.
pub(crate) const MAX_ITEMS: usize = 10_000;

/// The time that `now` tells; set before each execution.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub fn set(&self, now_ns: i64) {
        self.0.store(now_ns, Ordering::Relaxed);
    }

    fn now_ns(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All functions by name.
pub(crate) fn functions(clock: &Clock, patterns: &Patterns) -> FuncMap {
    let mut table = Table(FuncMap::new());
    texts::fill(&mut table);
    patterns::fill(&mut table, patterns);
    digests::fill(&mut table);
    math::fill(&mut table);
    lists::fill(&mut table);
    values::fill(&mut table);
    dates::fill(&mut table, clock);
    table.0
}

/// Functions under construction.
struct Table(FuncMap);

impl Table {
    /// A function of exactly `arity` arguments.
    fn add(&mut self, name: &'static str, arity: usize, f: impl Fn(Args<'_>) -> Outcome + Send + Sync + 'static) {
        self.between(name, arity, arity, f);
    }

    /// A function of at least `least` arguments.
    fn at_least(&mut self, name: &'static str, least: usize, f: impl Fn(Args<'_>) -> Outcome + Send + Sync + 'static) {
        self.between(name, least, usize::MAX, f);
    }

    fn between(
        &mut self,
        name: &'static str,
        least: usize,
        most: usize,
        f: impl Fn(Args<'_>) -> Outcome + Send + Sync + 'static,
    ) {
        let call = move |args: &[Value]| {
            if args.len() < least || args.len() > most {
                return Err(TemplateError::ArgCount { name: name.to_owned(), expected: least, got: args.len() });
            }
            f(Args { name, args })
        };
        self.0.insert(name.to_owned(), Arc::new(call));
    }

    /// The same function under another name.
    fn alias(&mut self, name: &str, of: &str) {
        if let Some(f) = self.0.get(of).cloned() {
            self.0.insert(name.to_owned(), f);
        }
    }
}

/// The arguments of one call.
#[derive(Clone, Copy)]
struct Args<'a> {
    name: &'static str,
    args: &'a [Value],
}

impl<'a> Args<'a> {
    fn fail<T>(&self, reason: &str) -> Result<T, TemplateError> {
        Err(TemplateError::Exec(format!("{}: {reason}", self.name)))
    }

    fn value(&self, at: usize) -> &'a Value {
        self.args.get(at).unwrap_or(&Value::Nil)
    }

    fn all(&self) -> &'a [Value] {
        self.args
    }

    fn from(&self, at: usize) -> &'a [Value] {
        self.args.get(at..).unwrap_or_default()
    }

    fn last(&self) -> &'a Value {
        self.args.last().unwrap_or(&Value::Nil)
    }

    /// A parameter of Go's type `string`: nothing else will do.
    fn text(&self, at: usize) -> Result<&'a str, TemplateError> {
        match self.value(at) {
            Value::String(text) => Ok(text),
            other => self.fail(&format!("a string is expected, not {}", other.type_name())),
        }
    }

    /// A parameter of Go's type `int`.
    fn int(&self, at: usize) -> Result<i64, TemplateError> {
        match self.value(at) {
            Value::Int(n) => Ok(*n),
            Value::Uint(n) => i64::try_from(*n).or_else(|_| self.fail("the number is too large")),
            other => self.fail(&format!("an integer is expected, not {}", other.type_name())),
        }
    }

    /// A length or position: negative ones are 0.
    fn size(&self, at: usize) -> Result<usize, TemplateError> {
        Ok(usize::try_from(self.int(at)?.max(0)).unwrap_or(usize::MAX))
    }

    fn list(&self, at: usize) -> Result<&'a [Value], TemplateError> {
        match self.value(at) {
            Value::List(items) => Ok(items),
            other => self.fail(&format!("a list is expected, not {}", other.type_name())),
        }
    }
}

/// A text, unless it is too long.
fn text(text: impl AsRef<str>) -> Outcome {
    let text = text.as_ref();
    if text.len() > MAX_RESULT {
        return Err(TemplateError::Exec(format!("a text of {} bytes is too long", text.len())));
    }
    Ok(Value::String(Arc::from(text)))
}

/// A list, unless it is too long.
fn list(items: Vec<Value>) -> Outcome {
    if items.len() > MAX_ITEMS {
        return Err(TemplateError::Exec(format!("a list of {} items is too long", items.len())));
    }
    Ok(Value::List(items.into()))
}

fn texts<T: AsRef<str>>(items: impl Iterator<Item = T>) -> Outcome {
    list(items.take(MAX_ITEMS + 1).map(|t| Value::String(Arc::from(t.as_ref()))).collect())
}

/// As sprig's `toInt64`: texts and floats are converted, what cannot be is 0.
#[allow(clippy::cast_possible_truncation, reason = "saturates, which is what is wanted of numbers out of range")]
fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(n) => *n,
        Value::Uint(n) => i64::try_from(*n).unwrap_or(i64::MAX),
        Value::Float(f) => *f as i64,
        Value::Bool(b) => i64::from(*b),
        Value::String(text) => {
            let (sign, digits) = match text.strip_prefix('-') {
                Some(digits) => (-1, digits),
                None => (1, &**text),
            };
            integer(digits).map_or(0, |n| n.saturating_mul(sign))
        }
        _ => 0,
    }
}

/// Go's `ParseInt` with base 0, after the zeros of a fraction of zeros were cut off.
fn integer(digits: &str) -> Option<i64> {
    let digits = match digits.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') => whole,
        _ => digits,
    };
    let lower = digits.to_ascii_lowercase();
    let bases = [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)];
    match bases.iter().find_map(|(prefix, base)| Some((lower.strip_prefix(prefix)?, *base))) {
        Some(("", _)) if lower == "0" => Some(0),
        Some((digits, base)) => i64::from_str_radix(digits, base).ok(),
        None => lower.parse().ok(),
    }
}

/// As sprig's `toFloat64`.
#[allow(clippy::cast_precision_loss, reason = "as in Go")]
fn to_float(value: &Value) -> f64 {
    match value {
        Value::Int(n) => *n as f64,
        Value::Uint(n) => *n as f64,
        Value::Float(f) => *f,
        Value::Bool(b) => f64::from(u8::from(*b)),
        Value::String(text) => text.parse().unwrap_or(0.0),
        _ => 0.0,
    }
}

/// As sprig's `strval`.
fn to_text(value: &Value) -> String {
    value.to_string()
}

/// As sprig's `empty`.
fn is_empty(value: &Value) -> bool {
    !value.is_truthy()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn run(template: &str) -> String {
        let clock = Clock::default();
        clock.set(1_700_000_000_123_456_789);
        let data = gotmpl::tmap! { "Value" => "Hello World", "n" => "42" };
        let parsed = gotmpl::Template::new("t").funcs(functions(&clock, &Patterns::default())).parse(template).unwrap();
        parsed.execute_to_string(&data).unwrap_or_else(|e| format!("error: {e}"))
    }

    /// Expected results are sprig's documented ones, or what Go prints.
    #[test]
    fn functions_answer_as_in_go() {
        for (template, expected) in [
            ("{{ ToLower .Value }}", "hello world"),
            ("{{ .Value | ToUpper }}", "HELLO WORLD"),
            (r#"{{ Replace .Value "l" "L" 2 }}"#, "HeLLo World"),
            (r#"{{ Replace .Value "l" "L" -1 }}"#, "HeLLo WorLd"),
            (r#"{{ Trim "xxabcxx" "x" }}"#, "abc"),
            (r#"{{ TrimLeft "xxabcxx" "x" }}"#, "abcxx"),
            (r#"{{ TrimRight "xxabcxx" "x" }}"#, "xxabc"),
            (r#"{{ TrimPrefix "xxabc" "x" }}"#, "xabc"),
            (r#"{{ TrimSuffix "abcxx" "x" }}"#, "abcx"),
            (r#"{{ TrimSpace "  abc " }}"#, "abc"),
            (r#"{{ regexReplaceAll "(a)(b)" "abab" "${2}${1}" }}"#, "baba"),
            (r#"{{ regexReplaceAllLiteral "a(b)" "abx" "${1}" }}"#, "${1}x"),
            (r#"{{ "foo" | default "bar" }}{{ "" | default "bar" }}"#, "foobar"),
            (r#"{{ coalesce "" 0 "x" }}"#, "x"),
            (r#"{{ ternary "yes" "no" true }}"#, "yes"),
            (r#"{{ trunc 5 "hello world" }}|{{ trunc -5 "hello world" }}"#, "hello|world"),
            (r#"{{ substr 0 5 "hello world" }}"#, "hello"),
            (r#"{{ abbrev 5 "hello world" }}"#, "he..."),
            (r#"{{ title "hello world" }}|{{ untitle "Hello World" }}"#, "Hello World|hello world"),
            (
                r#"{{ snakecase "FirstName" }}|{{ camelcase "http_server" }}|{{ kebabcase "FirstName" }}"#,
                "first_name|HttpServer|first-name",
            ),
            (r#"{{ repeat 3 "ab" }}|{{ nospace "a b c" }}|{{ initials "First Try" }}"#, "ababab|abc|FT"),
            (
                r#"{{ contains "cat" "catch" }}|{{ hasPrefix "ca" "catch" }}|{{ hasSuffix "x" "catch" }}"#,
                "true|true|false",
            ),
            (
                r#"{{ quote "a\"b" }}|{{ squote "a" }}|{{ cat "a" "b" }}|{{ indent 2 "a\nb" }}"#,
                "\"a\\\"b\"|'a'|a b|  a\n  b",
            ),
            (r#"{{ replace " " "-" "a b c" }}|{{ plural "one" "many" 2 }}"#, "a-b-c|many"),
            (
                r#"{{ add 1 2 3 }}|{{ sub 5 3 }}|{{ mul 2 3 4 }}|{{ div 10 3 }}|{{ mod 10 3 }}|{{ add1 .n }}"#,
                "6|2|24|3|1|43",
            ),
            (
                r#"{{ max 1 5 3 }}|{{ min 1 5 3 }}|{{ floor 123.9 }}|{{ ceil 123.1 }}|{{ round 123.5555 3 }}"#,
                "5|1|123|124|123.556",
            ),
            (r#"{{ div 1 0 }}"#, "error: execution error: div: division by zero"),
            (r#"{{ list 1 2 3 | join "-" }}|{{ splitList "," "a,b" | last }}|{{ (split "$" "a$b")._1 }}"#, "1-2-3|b|b"),
            (
                r#"{{ first (list 1 2) }}{{ rest (list 1 2) }}{{ reverse (list 1 2) }}{{ uniq (list 1 1) }}{{ has 1 (list 1) }}"#,
                "1[2][2 1][1]true",
            ),
            (r#"{{ sortAlpha (list "b" "a") }}{{ until 3 }}{{ untilStep 3 9 3 }}"#, "[a b][0 1 2][3 6]"),
            (
                r#"{{ b64enc "abc" }}|{{ b64dec "YWJj" }}|{{ sha256sum "" | trunc 8 }}|{{ adler32sum "abc" }}"#,
                "YWJj|abc|e3b0c442|38600999",
            ),
            (
                r#"{{ toJson (dict "a" 1) }}|{{ get (dict "a" 1) "a" }}|{{ hasKey (dict "a" 1) "b" }}"#,
                r#"{"a":1}|1|false"#,
            ),
            (r#"{{ int "12" }}|{{ float64 "1.5" }}|{{ atoi "7" }}|{{ toString 3 }}"#, "12|1.5|7|3"),
            (r#"{{ date "2006-01-02" 0 }}|{{ dateInZone "15:04" 0 "Europe/Berlin" }}"#, "1970-01-01|01:00"),
            (r#"{{ now | date "2006-01-02T15:04:05" }}|{{ now | unixEpoch }}"#, "2023-11-14T22:13:20|1700000000"),
            (r#"{{ now }}"#, "2023-11-14 22:13:20.123456789 +0000 UTC"),
            (r#"{{ toDate "2006-01-02" "2017-12-31" | date "02/01/2006" }}|{{ duration 95 }}"#, "31/12/2017|1m35s"),
            (r#"{{ now | dateModify "-1h" | date "15:04" }}|{{ durationRound "2400h" }}"#, "21:13|3mo"),
            (
                r#"{{ regexMatch "^a.*" "abc" }}|{{ regexFind "[0-9]+" "a12b3" }}|{{ regexFindAll "[0-9]" "1a2b3" 2 }}|{{ regexSplit "z+" "pizza" -1 }}"#,
                "true|12|[1 2]|[pi a]",
            ),
            (r#"{{ ToLower 5 }}"#, "error: execution error: ToLower: a string is expected, not int"),
        ] {
            let found = run(template);
            assert_eq!(found, expected, "{template}");
        }
    }

    #[test]
    fn hashes_are_sha3_and_sha2_over_salt_and_input() {
        // NIST's vectors for "abc".
        assert_eq!(run(r#"{{ Hash "a" "bc" }}"#), "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
        assert_eq!(
            run(r#"{{ Sha2Hash "ab" "c" }}"#),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn results_are_bounded() {
        assert!(run(r#"{{ repeat 999999999 "abcdefgh" }}"#).starts_with("error"));
        assert!(run(r#"{{ until 999999999 }}"#).starts_with("error"));
        assert!(run(r#"{{ indent 999999999 "a\nb" }}"#).starts_with("error"));
    }
}
