//! Which file names rotation may have made of one another: `app.log`, `app.log.1`, `app.log-20260131.gz`, `app-2.log`.
//!
//! A family alone proves nothing; contents are compared as well.

/// Endings of compressed files.
const PACKED: [&str; 6] = [".gz", ".bz2", ".zst", ".xz", ".z", ".Z"];

/// The name without what rotation adds: compression endings, and numbers or dates set off by `.`, `-` or `_`.
pub(crate) fn family(name: &str) -> String {
    let (name, _) = unpacked(name);
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let len = first.len_utf8();
        if matches!(first, '.' | '-' | '_') {
            let after = rest.get(len..).unwrap_or("");
            let digits = after.bytes().take_while(|b| b.is_ascii_digit() || matches!(b, b'T' | b':')).count();
            let ends = after.as_bytes().get(digits).is_none_or(|b| !b.is_ascii_alphanumeric());
            if digits > 0 && ends {
                rest = after.get(digits..).unwrap_or("");
                continue;
            }
        }
        out.push(first);
        rest = rest.get(len..).unwrap_or("");
    }
    out
}

/// How rotation may have made one name of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Making {
    /// `app.log.1` of `app.log`, or of `app.log.2`: nobody names a live file so. `live`: `app.log`.
    Behind { live: String },
    /// `app-20260131.log`, `app.1.log.gz` of `app.log`: others name live files so too. `live`: the name without what may have
    /// come to it behind the ending, which such a file would have.
    Amid { live: String },
}

/// How rotation may have made `name` of `original`, if so: it begins as that does up to its last ending, and adds only what
/// rotation adds. `worker-2.log` is of the family of `worker-1.log` and is not made of it; neither is `access-8080.log` of
/// `access.log`: before the ending rotation puts a date or a small number.
pub(crate) fn making(original: &str, name: &str) -> Option<Making> {
    let (whole, packed) = unpacked(original);
    let (plain, packed_too) = unpacked(name);
    let unnumbered = whole.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_'));
    let base = if unnumbered.is_empty() { whole } else { unnumbered };
    // Of what lies there compressed rotation makes nothing but other numbers.
    if name == original || (!packed.is_empty() && (base.len() == whole.len() || packed != packed_too)) {
        return None;
    }
    if family(name) != family(original) {
        return None;
    }
    let boundary = |rest: &str| rest.bytes().next().is_none_or(|b| !b.is_ascii_alphanumeric());
    let made = plain.strip_prefix(base).filter(|rest| boundary(rest));
    if let Some(added) = made {
        // Without an ending, `access-8080` is to `access` what `access-8080.log` is to `access.log`.
        let sure = base.contains('.') || added.starts_with('.') || added.is_empty() || is_date_or_counter(added);
        return sure.then(|| Making::Behind { live: base.to_owned() });
    }
    let (stem, ending) = base.rsplit_once('.').filter(|(stem, _)| !stem.is_empty())?;
    let ending = format!(".{ending}");
    let after = plain.strip_prefix(stem)?;
    let at = after.find(&ending).filter(|at| boundary(after.get(at + ending.len()..).unwrap_or("")))?;
    let live = plain.get(..stem.len() + at + ending.len())?;
    is_date_or_counter(after.get(..at)?).then(|| Making::Amid { live: live.to_owned() })
}

/// A name without compression endings, and those.
fn unpacked(name: &str) -> (&str, &str) {
    let mut whole = name;
    while let Some(shorter) = PACKED.iter().find_map(|ending| whole.strip_suffix(ending)) {
        whole = shorter;
    }
    (whole, name.get(whole.len()..).unwrap_or(""))
}

/// `-20260131`, `-2026013112`, `.2026-01-31T12:00:00.1`, `.1`, `_012`: not `-8080`.
fn is_date_or_counter(added: &str) -> bool {
    let Some(added) = added.strip_prefix(['.', '-', '_']) else {
        return false;
    };
    let parts: Vec<&str> = added.split(['.', '-', '_', 'T', ':']).collect();
    let number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let within = |text: Option<&str>, most: u8| {
        text.filter(|text| text.len() == 2)
            .and_then(|text| text.parse::<u8>().ok())
            .is_some_and(|n| (1..=most).contains(&n))
    };
    let day = |month: Option<&str>, day: Option<&str>| within(month, 12) && within(day, 31);
    // A time, a counter, or the seconds that logrotate's %s writes.
    let short = |rest: &[&str]| rest.iter().all(|part| part.len() <= 10);
    if !parts.iter().all(number) {
        return false;
    }
    match parts.as_slice() {
        [counter] if counter.len() <= 3 => true,
        [year, month, date, rest @ ..] if year.len() == 4 && day(Some(month), Some(date)) => short(rest),
        [date, rest @ ..] if date.len() == 8 => day(date.get(4..6), date.get(6..8)) && short(rest),
        // Seconds since the epoch, or a date with the hour.
        [hour, rest @ ..] if hour.len() == 10 => {
            (hour.starts_with('1') || day(hour.get(4..6), hour.get(6..8))) && short(rest)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{Making, family, making};

    #[test]
    fn what_rotation_makes_of_a_name_begins_with_it() {
        for (original, name) in [
            ("app.log", "app.log.1"),
            ("app.log", "app.log.12.gz"),
            ("app.log", "app-20260131.log"),
            ("app.log", "app.1.log"),
            ("app.log.1", "app.log.2.gz"),
            ("app.log.1.gz", "app.log.2.gz"),
            ("syslog", "syslog.1"),
            ("worker-1.log", "worker-1.log.1"),
            ("0.log", "0.log.20260131-120000.gz"),
        ] {
            assert!(making(original, name).is_some(), "{original} {name}");
        }
        for (original, name) in [
            ("worker-1.log", "worker-2.log"),
            ("worker-1.log", "worker-2.log.1"),
            ("0.log", "1.log"),
            ("app.log", "app.log"),
            ("app.log", "apple.log.1"),
            ("app.log", "app-error.log"),
            ("access.log", "access-8080.log"),
            ("access.log", "access-8443.log.1"),
            ("access.log", "access-99999999.log"),
            ("access", "access-8080"),
            ("day.log", "day-2026.log"),
            ("a.gz", "a.zst"),
            ("a.gz", "a.1.gz"),
            ("a.gz", "a"),
        ] {
            assert_eq!(making(original, name), None, "{original} {name}");
        }
    }

    #[test]
    fn what_is_added_before_the_ending_may_be_a_live_file_of_its_own() {
        let amid = |live: &str| Some(Making::Amid { live: live.to_owned() });
        for (name, live) in [
            ("app-20260131.log", "app-20260131.log"),
            ("app.1.log.gz", "app.1.log"),
            ("app-2.log.3", "app-2.log"),
            ("app-2026-01-31T12-00-00.000.log.gz", "app-2026-01-31T12-00-00.000.log"),
            ("app_2026013112.log", "app_2026013112.log"),
        ] {
            assert_eq!(making("app.log", name), amid(live), "{name}");
        }
        for name in ["app.log.1", "app.log-20260131.gz", "app.log.gz"] {
            assert_eq!(making("app.log", name), Some(Making::Behind { live: "app.log".to_owned() }), "{name}");
        }
    }

    #[test]
    fn rotated_names_are_of_one_family_and_others_are_not() {
        for name in [
            "app.log",
            "app.log.1",
            "app.log.12.gz",
            "app.log-20260131",
            "app.log-20260131-1769817600.zst",
            "app-2026-01-31.log",
            "app.1.log",
            "app.log.2026-01-31T12:00:00",
        ] {
            assert_eq!(family(name), "app.log", "{name}");
        }
        for name in ["app-error.log", "app2.log", "app.log.old", "app.log.1a", "apq.log"] {
            assert_ne!(family(name), "app.log", "{name}");
        }
    }
}
