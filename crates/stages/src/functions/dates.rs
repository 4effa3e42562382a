//! Dates. A time is the text that Go prints for one (`2006-01-02 15:04:05.999999999 -0700 MST`), because templates have no
//! type for it; an integer is seconds since the epoch, as in sprig. Times are shown in UTC unless a zone is named.

use gotmpl::{TemplateError, Value};

use super::{Args, Clock, Outcome, Table, text, to_int};
use crate::{
    duration::{go_duration, go_duration_text},
    layout::{Layout, Location, NANOS_PER_SECOND},
};

const PRINTED: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

fn time(nanos: i64) -> Outcome {
    text(Layout::new(PRINTED).format(nanos, &Location::utc()))
}

/// Nanoseconds of a time, of seconds, or now.
fn nanos(value: &Value, clock: &Clock) -> i64 {
    match value {
        Value::String(text) => Layout::new(PRINTED).parse(text, None).unwrap_or_else(|| clock.now_ns()),
        Value::Int(_) | Value::Uint(_) => to_int(value).saturating_mul(NANOS_PER_SECOND),
        _ => clock.now_ns(),
    }
}

/// sprig takes UTC for a zone it does not know.
fn zone(name: &str) -> Location {
    Location::named(name).unwrap_or_else(Location::utc)
}

pub(super) fn fill(table: &mut Table, clock: &Clock) {
    let c = clock.clone();
    table.add("now", 0, move |_| time(c.now_ns()));
    let c = clock.clone();
    table.add("date", 2, move |a| text(Layout::new(a.text(0)?).format(nanos(a.value(1), &c), &Location::utc())));
    let c = clock.clone();
    table.add("dateInZone", 3, move |a| text(Layout::new(a.text(0)?).format(nanos(a.value(1), &c), &zone(a.text(2)?))));
    table.alias("date_in_zone", "dateInZone");
    let c = clock.clone();
    table.add("htmlDate", 1, move |a| text(Layout::new("2006-01-02").format(nanos(a.value(0), &c), &Location::utc())));
    let c = clock.clone();
    table.add("htmlDateInZone", 2, move |a| {
        text(Layout::new("2006-01-02").format(nanos(a.value(0), &c), &zone(a.text(1)?)))
    });
    let c = clock.clone();
    table.add("unixEpoch", 1, move |a| text(nanos(a.value(0), &c).div_euclid(NANOS_PER_SECOND).to_string()));
    let c = clock.clone();
    table.add("ago", 1, move |a| {
        let seconds = c.now_ns().saturating_sub(nanos(a.value(0), &c)) / NANOS_PER_SECOND;
        text(go_duration_text(seconds.saturating_mul(NANOS_PER_SECOND)))
    });
    let c = clock.clone();
    table.add("dateModify", 2, move |a| {
        let moved = go_duration(a.text(0)?).unwrap_or(0);
        time(nanos(a.value(1), &c).saturating_add(moved))
    });
    table.alias("date_modify", "dateModify");
    table.add("toDate", 2, |a| time(parsed(&a).unwrap_or(0)));
    table.add("mustToDate", 2, |a| time(parsed(&a)?));
    table.add("duration", 1, |a| text(go_duration_text(to_int(a.value(0)).saturating_mul(NANOS_PER_SECOND))));
    let c = clock.clone();
    table.add("durationRound", 1, move |a| {
        let nanos = match a.value(0) {
            Value::String(text) => {
                go_duration(text).unwrap_or_else(|| c.now_ns().saturating_sub(nanos(a.value(0), &c)))
            }
            Value::Int(n) => *n,
            _ => 0,
        };
        text(rounded(nanos))
    });
}

fn parsed(args: &Args<'_>) -> Result<i64, TemplateError> {
    match Layout::new(args.text(0)?).parse(args.text(1)?, None) {
        Some(nanos) => Ok(nanos),
        None => args.fail("the text does not follow the layout"),
    }
}

/// The largest unit that fits, whole.
fn rounded(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let seconds = nanos.unsigned_abs() / 1_000_000_000;
    let units = [(31_536_000, "y"), (2_592_000, "mo"), (86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    match units.iter().find(|(unit, _)| seconds >= *unit) {
        Some((unit, name)) => format!("{sign}{}{name}", seconds / unit),
        None => "0s".to_owned(),
    }
}
