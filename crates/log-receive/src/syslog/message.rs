//! A syslog message: what it says of itself and what it says.
//!
//! Names of severities and facilities are those of Promtail's parser (long severities, short facilities).

use model::Labels;

use super::{rfc3164, rfc5424};

/// `syslog_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyslogFormat {
    /// RFC 5424 where the message has its version number, else RFC 3164.
    #[default]
    Either,
    /// RFC 5424; others are counted and dropped.
    Rfc5424,
    Rfc3164,
}

/// A message, taken apart. Borrows from its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SyslogMessage<'a> {
    /// Facility times eight plus severity; below 192.
    pub priority: u8,
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: Option<i64>,
    pub hostname: &'a str,
    pub app_name: &'a str,
    pub proc_id: &'a str,
    pub msg_id: &'a str,
    /// Structured data: `<id>_<name>` and value.
    pub structured: Vec<(String, String)>,
    pub text: &'a str,
}

/// Reads a message. `now_ns` tells the year of a time that has none. `None`: it is not of that format.
pub(super) fn parse(text: &str, format: SyslogFormat, now_ns: i64) -> Option<SyslogMessage<'_>> {
    match format {
        SyslogFormat::Rfc5424 => rfc5424::parse(text),
        SyslogFormat::Rfc3164 => Some(rfc3164::parse(text, now_ns)),
        SyslogFormat::Either => Some(rfc5424::parse(text).unwrap_or_else(|| rfc3164::parse(text, now_ns))),
    }
}

/// Takes `<PRI>` off: one to three digits, at most 191.
pub(super) fn priority(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    let number = digits.parse::<u8>().ok().filter(|number| is_number && *number <= 191)?;
    Some((number, rest))
}

impl SyslogMessage<'_> {
    /// The labels that rules see.
    pub(super) fn labels(&self, structured: bool) -> Vec<(String, String)> {
        let mut labels: Vec<(String, String)> = [
            ("severity", severity(self.priority)),
            ("facility", facility(self.priority)),
            ("hostname", self.hostname),
            ("app_name", self.app_name),
            ("proc_id", self.proc_id),
            ("msg_id", self.msg_id),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (format!("__syslog_message_{name}"), value.to_owned()))
        .collect();
        if structured {
            labels.extend(
                self.structured
                    .iter()
                    .map(|(name, value)| (format!("__syslog_message_sd_{}", label_part(name)), value.clone())),
            );
        }
        labels
    }
}

/// `@` becomes `_`, and so does whatever no label name may hold.
fn label_part(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

pub(super) fn labels(pairs: Vec<(String, String)>, extra: &Labels) -> Labels {
    let extra = extra.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    pairs.into_iter().chain(extra).filter(|(_, value)| !value.is_empty()).collect()
}

fn severity(priority: u8) -> &'static str {
    match priority % 8 {
        0 => "emergency",
        1 => "alert",
        2 => "critical",
        3 => "error",
        4 => "warning",
        5 => "notice",
        6 => "informational",
        _ => "debug",
    }
}

fn facility(priority: u8) -> &'static str {
    const NAMES: [&str; 24] = [
        "kern",
        "user",
        "mail",
        "daemon",
        "auth",
        "syslog",
        "lpr",
        "news",
        "uucp",
        "cron",
        "authpriv",
        "ftp",
        "ntp",
        "security",
        "console",
        "solaris-cron",
        "local0",
        "local1",
        "local2",
        "local3",
        "local4",
        "local5",
        "local6",
        "local7",
    ];
    NAMES.get(usize::from(priority / 8)).copied().unwrap_or_default()
}
