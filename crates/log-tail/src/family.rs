//! Which file names rotation may have made of one another: `app.log`, `app.log.1`, `app.log-20260131.gz`, `app-2.log`.
//!
//! A family alone proves nothing; contents are compared as well.

/// Endings of compressed files.
const PACKED: [&str; 6] = [".gz", ".bz2", ".zst", ".xz", ".z", ".Z"];

/// The name without what rotation adds: compression endings, and numbers or dates set off by `.`, `-` or `_`.
pub(crate) fn family(name: &str) -> String {
    let mut name = name;
    while let Some(shorter) = PACKED.iter().find_map(|ending| name.strip_suffix(ending)) {
        name = shorter;
    }
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

/// Whether rotation may have made `name` of `original`: it begins as that does up to its last ending, and adds only what
/// rotation adds. `worker-2.log` is of the family of `worker-1.log` and is not made of it.
pub(crate) fn derived(original: &str, name: &str) -> bool {
    let mut whole = original;
    while let Some(shorter) = PACKED.iter().find_map(|ending| whole.strip_suffix(ending)) {
        whole = shorter;
    }
    let unnumbered = whole.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_'));
    let stem = match whole.rsplit_once('.') {
        _ if unnumbered.len() < whole.len() && !unnumbered.is_empty() => unnumbered,
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => whole,
    };
    let boundary = |rest: &str| rest.bytes().next().is_none_or(|b| !b.is_ascii_alphanumeric());
    name != original && name.strip_prefix(stem).is_some_and(boundary) && family(name) == family(original)
}

#[cfg(test)]
mod tests {
    use super::{derived, family};

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
            assert!(derived(original, name), "{original} {name}");
        }
        for (original, name) in [
            ("worker-1.log", "worker-2.log"),
            ("worker-1.log", "worker-2.log.1"),
            ("0.log", "1.log"),
            ("app.log", "app.log"),
            ("app.log", "apple.log.1"),
            ("app.log", "app-error.log"),
        ] {
            assert!(!derived(original, name), "{original} {name}");
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
