//! RFC 3164, the BSD syslog: `<PRI>Mmm dd hh:mm:ss HOSTNAME TAG[PID]: MSG`, and what its many dialects leave out.
//!
//! Never refuses: what has no priority is a message of `user.notice` (section 4.3.3), what has no time has none.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::message::{SyslogMessage, priority};

/// `user.notice`.
const DEFAULT_PRIORITY: u8 = 13;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads a message.
pub(super) fn parse(text: &str, now_ns: i64) -> SyslogMessage<'_> {
    let (priority, rest) = priority(text).unwrap_or((DEFAULT_PRIORITY, text));
    let mut message = SyslogMessage { priority, text: rest, ..SyslogMessage::default() };
    let timed = bsd_time(rest, now_ns).or_else(|| {
        let (time, rest) = rest.split_once(' ')?;
        Some((super::rfc5424::nanoseconds(time)?, rest))
    });
    let Some((timestamp_ns, rest)) = timed else {
        tag(rest, &mut message);
        return message;
    };
    message.timestamp_ns = Some(timestamp_ns);
    // A host name has no colon and no bracket; where the first word has, the host was left out.
    match rest.split_once(' ') {
        Some((host, after)) if is_host(host) => {
            message.hostname = host;
            tag(after, &mut message);
        }
        _ => tag(rest, &mut message),
    }
    message
}

fn is_host(word: &str) -> bool {
    let is_ip = word.parse::<std::net::IpAddr>().is_ok();
    !word.is_empty()
        && word.len() <= 255
        && (is_ip
            || (!word.ends_with(':') && word.bytes().all(|b| (33..=126).contains(&b) && !matches!(b, b'[' | b']'))))
}

/// `TAG: `, `TAG[PID]: `; anything else is all text.
fn tag<'a>(rest: &'a str, message: &mut SyslogMessage<'a>) {
    message.text = rest;
    let Some(end) = rest.find([' ', '[', ':']) else { return };
    let Some((name, after)) = rest.split_at_checked(end) else { return };
    let is_tag = (1..=48).contains(&name.len()) && name.bytes().all(|b| (33..=126).contains(&b));
    if !is_tag {
        return;
    }
    let (pid, after) = match after.strip_prefix('[') {
        None => ("", after),
        Some(inner) => match inner.split_once(']') {
            Some((pid, after)) if pid.len() <= 128 && !pid.contains(' ') => (pid, after),
            _ => return,
        },
    };
    let Some(text) = after.strip_prefix(':') else { return };
    (message.app_name, message.proc_id) = (name, pid);
    message.text = text.strip_prefix(' ').unwrap_or(text);
}

/// What a clock of another time zone, or a wrong one, may be ahead.
const AHEAD_NS: i64 = 2 * 86_400_000_000_000;

/// `Oct 11 22:14:15 `, in local time and of the latest year in which it is not ahead of us.
fn bsd_time(text: &str, now_ns: i64) -> Option<(i64, &str)> {
    let (head, rest) = text.split_at_checked(15)?;
    if !head.is_ascii() || !(rest.is_empty() || rest.starts_with(' ')) {
        return None;
    }
    let month = MONTHS.iter().position(|name| head.starts_with(name))?;
    let month = i8::try_from(month + 1).ok()?;
    let number = |range: std::ops::Range<usize>| head.get(range)?.trim_start().parse::<i8>().ok();
    let marks = [(3, b' '), (6, b' '), (9, b':'), (12, b':')];
    if marks.iter().any(|(at, mark)| head.as_bytes().get(*at) != Some(mark)) {
        return None;
    }
    let (day, hour, minute, second) = (number(4..6)?, number(7..9)?, number(10..12)?, number(13..15)?);
    let now = Timestamp::from_nanosecond(i128::from(now_ns)).ok()?;
    let zone = TimeZone::system();
    let year = now.to_zoned(zone.clone()).year();
    let of = |year: i16| {
        let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        i64::try_from(zone.to_timestamp(time).ok()?.as_nanosecond()).ok()
    };
    let years = [year.checked_add(1)?, year, year.checked_sub(1)?];
    let written = years.into_iter().filter_map(of).find(|at| *at <= now_ns.saturating_add(AHEAD_NS))?;
    Some((written, rest.strip_prefix(' ').unwrap_or(rest)))
}
