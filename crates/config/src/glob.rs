//! Shell patterns for `${NAME#pattern}` and its kin: `*`, `?`, `[set]`, `\\`.

/// Removes the shortest or longest non-empty end that matches `pattern`; both are read backwards, as the original does.
pub(crate) fn trim_suffix(value: &str, pattern: &str, longest: bool) -> String {
    reversed(&trim_prefix(&reversed(value), &reversed(pattern), longest))
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// Removes the shortest or longest non-empty prefix that matches `pattern`.
pub(crate) fn trim_prefix(value: &str, pattern: &str, longest: bool) -> String {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = value.chars().collect();
    let matches = |length: &usize| matches_glob(&pattern, text.get(..*length).unwrap_or_default());
    let mut lengths = 1..=text.len();
    let found = if longest { lengths.rev().find(matches) } else { lengths.find(matches) };
    text.get(found.unwrap_or(0)..).unwrap_or_default().iter().collect()
}

/// `*`, `?`, `[set]` with `^` and ranges, `\` before a literal. Iterative: linear memory, quadratic time at worst.
fn matches_glob(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
            continue;
        }
        let step = match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(_), Some(c)) => one(pattern, p, *c),
            _ => None,
        };
        match (step, star) {
            (Some(next), _) => {
                p = next;
                t += 1;
            }
            (None, Some((at, taken))) if taken < text.len() => {
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
            _ => return false,
        }
    }
}

/// Matches one character against the element at `p`; the place after the element if it matches.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match pattern.get(p)? {
        '?' => Some(p + 1),
        '\\' => pattern.get(p + 1).filter(|e| **e == c).map(|_| p + 2),
        '[' => {
            let end = p + pattern.get(p..)?.iter().position(|e| *e == ']')?;
            let set = pattern.get(p + 1..end)?;
            let (negated, set) = match set.split_first() {
                Some(('^' | '!', rest)) => (true, rest),
                _ => (false, set),
            };
            let mut member = false;
            let mut i = 0;
            while let Some(low) = set.get(i) {
                match (set.get(i + 1), set.get(i + 2)) {
                    (Some('-'), Some(high)) => {
                        member |= (*low..=*high).contains(&c);
                        i += 3;
                    }
                    _ => {
                        member |= *low == c;
                        i += 1;
                    }
                }
            }
            (member != negated).then_some(end + 1)
        }
        e => (*e == c).then_some(p + 1),
    }
}
