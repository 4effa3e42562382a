//! Which file names rotation may have made of one another: `app.log`, `app.log.1`, `app.log-20260131.gz`, `app-2.log`.
//!
//! A family alone proves nothing; contents are compared as well.

/// Endings of compressed files.
const PACKED: [&str; 6] = [".gz", ".bz2", ".zst", ".xz", ".z", ".Z"];

/// Words that are set behind a name without a number.
const ASIDE: [&str; 26] = [
    ".old", "-old", "_old", ".bak", "-bak", "_bak", ".save", "-save", "_save", ".saved", "-saved", "_saved", ".prev",
    "-prev", ".orig", "-orig", ".backup", "-backup", "_backup", ".rotated", "-rotated", ".copy", "-copy", "_copy",
    ".tmp", "~",
];

/// The name without what rotation adds: compression endings, words such as `.old`, and numbers or dates set off by `.`, `-`
/// or `_`.
pub(crate) fn family(name: &str) -> String {
    let (name, _) = set_aside(unpacked(name).0);
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        if let Some(len) = group(rest) {
            rest = rest.get(len..).unwrap_or("");
            continue;
        }
        out.push(first);
        rest = rest.get(first.len_utf8()..).unwrap_or("");
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
    let (plain, was_set_aside) = set_aside(plain);
    if was_set_aside && plain == whole {
        return Some(Making::Behind { live: whole.to_owned() });
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

/// What rotation added behind a name, as far as it tells an age: greater is newer. Numbers of up to three digits count up
/// with each rotation, so that the greatest is the oldest; dates and longer numbers are greater the newer they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Age(Vec<i64>);

impl Age {
    /// Nothing was added.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

/// The name that rotation made this one of, by what was added behind it; whether it lies compressed; and its age.
pub(crate) fn age(name: &str) -> (String, bool, Age) {
    let (whole, packed) = unpacked(name);
    let (whole, was_set_aside) = set_aside(whole);
    let alone = if was_set_aside { Age(vec![-1]) } else { Age::default() };
    // Where the numbers begin that are the end of the name.
    let (mut at, mut from) = (0, None);
    while let Some(first) = whole.get(at..).and_then(|rest| rest.chars().next()) {
        match group(whole.get(at..).unwrap_or("")) {
            Some(len) => {
                from.get_or_insert(at);
                at += len;
            }
            None => {
                from = None;
                at += first.len_utf8();
            }
        }
    }
    let base = whole.get(..from.unwrap_or(whole.len())).unwrap_or(whole);
    let added = whole.get(base.len()..).unwrap_or("");
    let sure = base.contains('.') || added.starts_with('.') || is_date_or_counter(added);
    if base.is_empty() || !sure {
        return (whole.to_owned(), !packed.is_empty(), alone);
    }
    if added.is_empty() {
        return (base.to_owned(), !packed.is_empty(), alone);
    }
    let parts = added.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let numbers: Vec<(usize, i64)> = parts.map(|part| (part.len(), part.parse().unwrap_or(i64::MAX))).collect();
    let age = match numbers.as_slice() {
        [(1..=3, counter)] => vec![-counter],
        _ => numbers.into_iter().map(|(_, number)| number).collect(),
    };
    (base.to_owned(), !packed.is_empty(), Age(age))
}

/// The length of what rotation may have added at the beginning of `rest`: a separator and digits, up to the next separator.
fn group(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix(['.', '-', '_'])?;
    let digits = after.bytes().take_while(|b| b.is_ascii_digit() || matches!(b, b'T' | b':')).count();
    let ends = after.as_bytes().get(digits).is_none_or(|b| !b.is_ascii_alphanumeric());
    (digits > 0 && ends).then_some(1 + digits)
}

/// A name without such a word, and whether it had one.
fn set_aside(name: &str) -> (&str, bool) {
    let bare = ASIDE.iter().find_map(|word| name.strip_suffix(word)).filter(|bare| !bare.is_empty());
    (bare.unwrap_or(name), bare.is_some())
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
    use super::{Age, Making, age, family, making};

    #[test]
    fn what_was_added_behind_a_name_tells_its_age() {
        let of = |name: &str| age(name).2;
        for (older, newer) in [
            ("app.log.2", "app.log.1"),
            ("app.log.12.gz", "app.log.2"),
            ("app.log-20260131", "app.log-20260201"),
            ("app.log-20260131-1769817600.zst", "app.log-20260131-1769817601"),
            ("app.log.2026-01-31T12:00:00", "app.log.2026-01-31T12:00:01"),
        ] {
            assert!(of(older) < of(newer), "{older} {newer}");
            assert_eq!(age(older).0, "app.log");
            assert_eq!(age(newer).0, "app.log");
        }
        for name in ["app.log", "worker-1.log", "access-8080", "app-20260131.log"] {
            assert_eq!(age(name), (name.to_owned(), false, Age::default()));
        }
        assert_eq!(age("worker-1.log.3.gz").0, "worker-1.log");
        assert_eq!((age("syslog.1").0, age("syslog.1.gz").1), ("syslog".to_owned(), true));
    }

    #[test]
    fn what_rotation_makes_of_a_name_begins_with_it() {
        for (original, name) in [
            ("app.log", "app.log.1"),
            ("app.log", "app.log.old"),
            ("app.log", "app.log.save.gz"),
            ("app.log", "app.log-copy"),
            ("app.log", "app.log.1.tmp"),
            ("app.log", "app.log_saved"),
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
            ("app.log.old", "app.log"),
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
            "app.log.old",
            "app.log.bak.gz",
            "app.log~",
        ] {
            assert_eq!(family(name), "app.log", "{name}");
        }
        for name in ["app-error.log", "app2.log", "app.log.new", "app.log.1a", "apq.log"] {
            assert_ne!(family(name), "app.log", "{name}");
        }
    }
}
