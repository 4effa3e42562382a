//! The agent's own log on standard error: logfmt by default, JSON on request.
//!
//! Does not decide what is worth a line; keeps true that a value can neither break its line nor forge another field.

use std::fmt::{self, Write as _};

use crate::complaint::complaint;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Logfmt,
    Json,
}

type Reload = reload::Handle<EnvFilter, tracing_subscriber::Registry>;

/// Changes the level of the running logger.
#[derive(Clone)]
pub struct LogLevel(Reload);

impl LogLevel {
    /// `level` is one of debug, info, warn, error.
    pub fn set(&self, level: &str) {
        // Fails only when the subscriber is gone, that is at exit.
        let _ = self.0.reload(filter(level));
    }
}

/// Installs the process-wide logger. Call once.
pub fn install(level: &str, format: Format) -> LogLevel {
    let (filter, handle) = reload::Layer::new(filter(level));
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).event_format(Line(format)).with_filter(filter);
    // A second call (tests) keeps the first logger.
    let _ = tracing_subscriber::registry().with(layer).try_init();
    LogLevel(handle)
}

/// Libraries stay quiet; aws-sigv4 and hyper print headers at trace and must never be that verbose.
fn filter(level: &str) -> EnvFilter {
    let level = match level {
        "debug" | "info" | "warn" | "error" => level,
        _ => "info",
    };
    let quiet = "aws_sigv4=warn,aws_config=warn,aws_runtime=warn,aws_smithy_runtime=warn,aws_credential_types=warn,hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,h2=warn,notify=warn";
    EnvFilter::new(format!("{level},{quiet}"))
}

struct Line(Format);

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields { message: String::new(), rest: Vec::new() };
        event.record(&mut fields);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let mut line = String::with_capacity(160);
        let ts = jiff::Timestamp::now();
        match self.0 {
            Format::Logfmt => {
                write!(line, "ts={ts:.3} level={level} msg=")?;
                logfmt_value(&mut line, &fields.message);
                for (name, value) in &fields.rest {
                    line.push(' ');
                    line.push_str(name);
                    line.push('=');
                    match value {
                        Value::Text(text) => logfmt_value(&mut line, text),
                        Value::Bare(text) => line.push_str(text),
                    }
                }
            }
            Format::Json => {
                write!(line, "{{\"ts\":\"{ts:.3}\",\"level\":\"{level}\",\"msg\":{}", json_string(&fields.message))?;
                for (name, value) in &fields.rest {
                    write!(line, ",{}:", json_string(name))?;
                    match value {
                        Value::Text(text) => line.push_str(&json_string(text)),
                        Value::Bare(text) => line.push_str(text),
                    }
                }
                line.push('}');
            }
        }
        writeln!(out, "{line}")
    }
}

struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

/// A field's value: JSON keeps numbers and booleans what they are.
enum Value {
    Text(String),
    Bare(String),
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.rest.push((field.name(), Value::Text(value)));
        }
    }

    fn bare(&mut self, field: &Field, value: String) {
        self.rest.push((field.name(), Value::Bare(value)));
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value.to_string());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value.to_string());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value.to_string());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for infinity and NaN.
        if value.is_finite() { self.bare(field, value.to_string()) } else { self.put(field, value.to_string()) }
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, complaint(value));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

fn logfmt_value(out: &mut String, value: &str) {
    let plain = !value.is_empty() && value.bytes().all(|b| b > b' ' && b < 0x7f && !matches!(b, b'"' | b'=' | b'\\'));
    if plain {
        out.push_str(value);
    } else {
        out.push_str(&json_string(value));
    }
}

fn json_string(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_break_its_line_or_forge_a_field() {
        let mut out = String::new();
        logfmt_value(&mut out, "a b\nlevel=error msg=\"x\"");
        assert_eq!(out, "\"a b\\nlevel=error msg=\\\"x\\\"\"");
        out.clear();
        logfmt_value(&mut out, "127.0.0.1:9100");
        assert_eq!(out, "127.0.0.1:9100");
        out.clear();
        logfmt_value(&mut out, "");
        assert_eq!(out, "\"\"");
    }
}
