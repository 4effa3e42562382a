//! A run of comment lines: `# HELP`, `# TYPE`, `# UNIT`, remarks and empty lines up to the next sample.
//!
//! Each line says one thing of one family, by name; what it describes may stand anywhere in the body. Which samples are
//! a family's is told by their names ([`FamilyText::owns`]), not by where they stand.

use model::{FamilyView, MetricType};

use super::{
    Fault, Format,
    series::{bare_name, quoted_end, unescape},
};

/// Bytes of a description that are kept. It goes into every table that has a series of the family; what is longer is no
/// description.
const HELP_BYTES: usize = 1024;

/// One thing said of a family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub name: &'a str,
    pub fact: Fact<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fact<'a> {
    /// Unescaped.
    Help(&'a str),
    Kind(MetricType),
    Unit(&'a str),
}

/// What comments say of a family.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct FamilyText {
    pub name: String,
    pub kind: MetricType,
    pub help: String,
    pub unit: String,
}

impl FamilyText {
    /// Forgets what was said of any other family.
    pub(crate) fn follow(&mut self, statement: Statement<'_>) {
        if self.name != statement.name {
            self.clear();
            self.name.push_str(statement.name);
        }
        self.learn(statement.fact);
    }

    pub(crate) fn learn(&mut self, fact: Fact<'_>) {
        match fact {
            Fact::Help(help) => {
                help.get(..help.floor_char_boundary(HELP_BYTES)).unwrap_or(help).clone_into(&mut self.help);
            }
            Fact::Kind(kind) => self.kind = kind,
            Fact::Unit(unit) => unit.clone_into(&mut self.unit),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.kind = MetricType::Unknown;
        self.name.clear();
        self.help.clear();
        self.unit.clear();
    }

    pub(crate) fn view(&self) -> FamilyView<'_> {
        FamilyView { name: &self.name, kind: self.kind, help: &self.help, unit: &self.unit }
    }

    /// Whether a sample of this name is one of the family's, by the suffixes its type allows.
    pub(crate) fn owns(&self, sample: &str) -> bool {
        let Some(suffix) = sample.strip_prefix(self.name.as_str()) else {
            // `# TYPE x_total counter` of the text format describes `x_total`; of `x_created` it says so as well.
            let stem = self.name.strip_suffix("_total").filter(|_| self.kind == MetricType::Counter);
            return stem.is_some_and(|stem| sample.strip_prefix(stem) == Some("_created"));
        };
        match suffix {
            "" => !self.name.is_empty(),
            "_total" => self.kind == MetricType::Counter,
            "_created" => {
                matches!(self.kind, MetricType::Counter | MetricType::Histogram | MetricType::Summary)
            }
            "_bucket" => matches!(self.kind, MetricType::Histogram | MetricType::GaugeHistogram),
            "_sum" | "_count" => matches!(self.kind, MetricType::Histogram | MetricType::Summary),
            "_gsum" | "_gcount" => self.kind == MetricType::GaugeHistogram,
            "_info" => self.kind == MetricType::Info,
            _ => false,
        }
    }
}

/// Whether a run of comments starts at `at`, the start of a line.
#[inline]
pub(crate) fn starts(body: &[u8], at: usize, format: Format) -> bool {
    match body.get(at) {
        Some(b'#') => true,
        Some(b'\n') => format == Format::Text004,
        Some(b' ' | b'\t') if format == Format::Text004 => {
            matches!(body.get(format.skip_blanks(body, at)), None | Some(b'#' | b'\n'))
        }
        _ => false,
    }
}

/// Whether the line at `at` is the end mark of OpenMetrics; then the offset behind it.
pub(crate) fn end_mark(body: &[u8], at: usize) -> Option<usize> {
    let rest = body.get(at..)?.strip_prefix(b"# EOF")?;
    match rest.first() {
        None => Some(at + 5),
        Some(b'\n') => Some(at + 6),
        Some(_) => None,
    }
}

/// Reads the run of comments at `at` and tells `hear` what it says; returns the offset of the first line that is not one
/// of them.
pub(crate) fn read(
    body: &[u8],
    at: usize,
    format: Format,
    hear: &mut impl FnMut(Statement<'_>),
) -> Result<usize, Fault> {
    let mut at = at;
    while at < body.len() && starts(body, at, format) {
        if format.is_open_metrics() && end_mark(body, at).is_some() {
            break;
        }
        let end = body.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)).map_or(body.len(), |len| at + len);
        read_line(body, at, end, format, hear)?;
        at = (end + 1).min(body.len());
    }
    Ok(at)
}

fn read_line(
    body: &[u8],
    at: usize,
    end: usize,
    format: Format,
    hear: &mut impl FnMut(Statement<'_>),
) -> Result<(), Fault> {
    let strict = format.is_open_metrics();
    let line = body.get(..end).unwrap_or_default();
    let start = format.skip_blanks(line, at);
    if start == end {
        return Ok(());
    }
    let word_at = match line.get(start + 1) {
        Some(b' ') if strict => start + 2,
        _ if strict => {
            return Err(Fault::new(at, "expected HELP, TYPE, UNIT or EOF after '# '"));
        }
        Some(b' ' | b'\t') => format.skip_blanks(line, start + 1),
        _ => return Ok(()),
    };
    let word_len =
        line.get(word_at..).unwrap_or_default().iter().take_while(|byte| !matches!(byte, b' ' | b'\t')).count();
    let word_end = word_at + word_len;
    let word = match (line.get(word_at..word_end).unwrap_or_default(), line.get(word_end)) {
        (word @ (b"HELP" | b"TYPE"), Some(_)) => word,
        (word @ b"UNIT", Some(_)) if strict => word,
        _ if strict => {
            return Err(Fault::new(at, "expected HELP, TYPE, UNIT or EOF after '# '"));
        }
        _ => return Ok(()),
    };
    let name_at = if strict { word_end + 1 } else { format.skip_blanks(line, word_end) };
    let mut quoted = String::new();
    let (name, name_end) = read_name(line, name_at, format, &mut quoted)?;
    if strict && line.get(name_end) != Some(&b' ') {
        return Err(Fault::new(name_end, "expected a space after the metric name"));
    }
    if !strict && line.get(name_end).is_some_and(|byte| !matches!(byte, b' ' | b'\t')) {
        return Err(Fault::new(name_end, "expected a blank after the metric name"));
    }
    let rest_at = (name_end + 1).min(end);
    let rest = std::str::from_utf8(line.get(rest_at..).unwrap_or_default())
        .map_err(|_| Fault::new(rest_at, "a comment is not UTF-8"))?;
    let mut unescaped = String::new();
    let fact = match word {
        b"HELP" if rest.contains('\\') => {
            unescape(rest, strict, &mut unescaped);
            Fact::Help(&unescaped)
        }
        b"HELP" => Fact::Help(rest),
        b"TYPE" => {
            let kind = if strict { rest } else { rest.trim_matches([' ', '\t']) };
            Fact::Kind(read_kind(kind, strict).ok_or_else(|| Fault::new(rest_at, "unknown metric type"))?)
        }
        _ => {
            let is_suffix = name.strip_suffix(rest).is_some_and(|stem| stem.ends_with('_'));
            if !rest.is_empty() && !is_suffix {
                return Err(Fault::new(rest_at, "the unit is not a suffix of the metric name"));
            }
            Fact::Unit(rest)
        }
    };
    hear(Statement { name, fact });
    Ok(())
}

fn read_name<'a>(line: &'a [u8], at: usize, format: Format, quoted: &'a mut String) -> Result<(&'a str, usize), Fault> {
    const EXPECTED: &str = "expected a metric name in the comment";
    if line.get(at) == Some(&b'"') {
        let end = quoted_end(line, at, format)?;
        let raw = std::str::from_utf8(line.get(at + 1..end - 1).unwrap_or_default())
            .map_err(|_| Fault::new(at, "a quoted string is not UTF-8"))?;
        unescape(raw, true, quoted);
        return if quoted.is_empty() { Err(Fault::new(at, EXPECTED)) } else { Ok((quoted, end)) };
    }
    let end = bare_name(line, at, true);
    match line.get(at..end).map(std::str::from_utf8) {
        Some(Ok(name)) if !name.is_empty() => Ok((name, end)),
        _ => Err(Fault::new(at, EXPECTED)),
    }
}

fn read_kind(word: &str, strict: bool) -> Option<MetricType> {
    Some(match word {
        "counter" => MetricType::Counter,
        "gauge" => MetricType::Gauge,
        "histogram" => MetricType::Histogram,
        "summary" => MetricType::Summary,
        "untyped" if !strict => MetricType::Unknown,
        "unknown" if strict => MetricType::Unknown,
        "gaugehistogram" if strict => MetricType::GaugeHistogram,
        "info" if strict => MetricType::Info,
        "stateset" if strict => MetricType::StateSet,
        _ => return None,
    })
}
