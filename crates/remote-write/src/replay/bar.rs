//! A replay's progress as one line of a terminal, written over and over.
//!
//! Makes text, writes none. Keeps true: it is one line whatever the terminal's width and whatever the far end says.

use super::ReplayProgress;

const WIDTH: usize = 30;
/// Back to the line's begin, and nothing left of what stood there.
const AGAIN: &str = "\r\x1b[K";
/// What does not fit is cut by the terminal; wrapped, it would stay behind when the line is written again.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

impl ReplayProgress {
    /// The line, with the control sequences that put it in the place of the former one.
    pub fn bar(&self) -> String {
        let share = self.objects.saturating_mul(WIDTH as u64).checked_div(self.found).unwrap_or(0);
        let part = usize::try_from(share).unwrap_or(WIDTH).min(WIDTH);
        let more = if self.found_all { "" } else { "+" };
        let waiting = match &self.waiting {
            Some(why) => {
                let why: String = why.chars().filter(|c| !c.is_control()).take(120).collect();
                format!("  waiting: {why}")
            }
            None => String::new(),
        };
        format!(
            "{AGAIN}{NO_WRAP}[{:<WIDTH$}] {}/{}{more} objects  {} samples{waiting}{WRAP}",
            "#".repeat(part),
            self.objects,
            self.found,
            self.delivered,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal of `columns` shows after these writes, one string a row.
    fn screen(writes: &[String], columns: usize) -> Vec<String> {
        let mut rows = vec![String::new()];
        let (mut at, mut wraps) = (0, true);
        for write in writes {
            let mut rest = write.as_str();
            while let Some(next) = rest.chars().next() {
                let line = rows.last_mut().unwrap();
                if let Some(after) = rest.strip_prefix("\x1b[K") {
                    line.truncate(at);
                    rest = after;
                } else if let Some(after) = rest.strip_prefix(NO_WRAP) {
                    (wraps, rest) = (false, after);
                } else if let Some(after) = rest.strip_prefix(WRAP) {
                    (wraps, rest) = (true, after);
                } else if next == '\r' {
                    (at, rest) = (0, &rest[1..]);
                } else {
                    assert!(!next.is_control(), "{next:?} in {write:?}");
                    rest = &rest[next.len_utf8()..];
                    if at == columns && wraps {
                        rows.push(String::new());
                        at = 0;
                    }
                    // Without wrapping, the last column takes all that comes after it.
                    at = at.min(columns - 1);
                    let line = rows.last_mut().unwrap();
                    line.truncate(at);
                    line.push(next);
                    at += 1;
                }
            }
        }
        rows
    }

    fn progress(objects: u64, found: u64, found_all: bool) -> ReplayProgress {
        ReplayProgress { objects, found, found_all, delivered: objects * 2000, ..ReplayProgress::default() }
    }

    #[test]
    fn the_bar_grows_with_the_objects_and_each_line_replaces_the_one_before() {
        let hashes = |n: usize| format!("[{}{}]", "#".repeat(n), " ".repeat(30 - n));
        let cases = [
            (progress(0, 0, false), format!("{} 0/0+ objects  0 samples", hashes(0))),
            (progress(10, 30, false), format!("{} 10/30+ objects  20000 samples", hashes(10))),
            (progress(999, 1000, true), format!("{} 999/1000 objects  1998000 samples", hashes(29))),
            (progress(30, 30, true), format!("{} 30/30 objects  60000 samples", hashes(30))),
        ];
        let mut writes = Vec::new();
        for (progress, line) in cases {
            writes.push(progress.bar());
            assert_eq!(screen(&writes, 80), [line]);
        }
    }

    #[test]
    fn what_it_waits_for_stays_on_the_line_and_goes_with_it() {
        let why = format!("503: \x1b[2J\nslow {}", "down ".repeat(100));
        let waiting = ReplayProgress { waiting: Some(why), ..progress(1, 2, true) };
        let lines = screen(&[waiting.bar()], 80);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains(" samples  waiting: 503: [2Jsl"), "{lines:?}");
        assert_eq!(lines[0].chars().count(), 80, "the terminal cuts it");
        let after = screen(&[waiting.bar(), progress(2, 2, true).bar()], 80);
        assert_eq!(after, [format!("[{}] 2/2 objects  4000 samples", "#".repeat(30))], "nothing of it is left");
    }

    #[test]
    fn counts_of_any_size_are_shown() {
        let line = progress(u64::MAX / 2000, 1, true).bar();
        assert!(line.contains(&"#".repeat(30)) && !line.contains(&"#".repeat(31)), "{line}");
    }
}
