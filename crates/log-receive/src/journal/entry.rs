//! What a journal entry becomes: labels, a time, a line.
//!
//! Names are Promtail's: `__journal_` and the field's name in small letters. Fields that begin with `__` are the journal's
//! addresses, not the entry's fields, and make no label.

use model::Labels;

use super::export::{Fields, JournalEntry};

/// An entry that has a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JournalLine {
    /// Nanoseconds since the Unix epoch.
    pub timestamp_ns: Option<i64>,
    pub line: Vec<u8>,
    pub labels: Labels,
}

/// The entry's place in the journal.
pub(super) fn cursor(entry: &JournalEntry) -> Option<&str> {
    entry.fields.get("__CURSOR").and_then(|value| str::from_utf8(value).ok()).filter(|text| !text.is_empty())
}

/// When a cursor's entry was written, microseconds since the epoch: its part `t`, hexadecimal.
pub(super) fn cursor_us(cursor: &str) -> Option<i64> {
    let part = cursor.split(';').find_map(|part| part.strip_prefix("t="))?;
    i64::from_str_radix(part, 16).ok()
}

/// `None`: it has no message.
pub(super) fn line(entry: JournalEntry, json: bool, extra: &Labels) -> Option<JournalLine> {
    let timestamp_ns = entry
        .fields
        .get("__REALTIME_TIMESTAMP")
        .and_then(|value| str::from_utf8(value).ok()?.parse::<i64>().ok())
        .and_then(|us| us.checked_mul(1000));
    let labels = labels(&entry.fields, extra);
    let line = if json {
        let fields: serde_json::Map<String, serde_json::Value> = own(&entry.fields)
            .map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned().into()))
            .collect();
        serde_json::to_vec(&fields).ok()?
    } else {
        let mut fields = entry.fields;
        fields.remove("MESSAGE")?
    };
    Some(JournalLine { timestamp_ns, line, labels })
}

fn own(fields: &Fields) -> impl Iterator<Item = (&str, &[u8])> {
    fields.iter().filter(|(name, _)| !name.starts_with("__")).map(|(name, value)| (name.as_str(), value.as_slice()))
}

fn labels(fields: &Fields, extra: &Labels) -> Labels {
    let mut pairs: Vec<(String, String)> = Vec::with_capacity(fields.len() + 2);
    for (name, value) in own(fields) {
        if name == "PRIORITY" {
            pairs.push(("__journal_priority_keyword".to_owned(), keyword(value).to_owned()));
        }
        // A message is no label of use, and may be a megabyte.
        let value = crate::forward::cut(value, LONGEST_LABEL);
        pairs.push((format!("__journal_{}", name.to_ascii_lowercase()), String::from_utf8_lossy(value).into_owned()));
    }
    pairs.extend(extra.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

/// Longer values are cut where they serve as labels.
const LONGEST_LABEL: usize = 64 << 10;

fn keyword(priority: &[u8]) -> &'static str {
    match priority {
        b"0" => "emerg",
        b"1" => "alert",
        b"2" => "crit",
        b"3" => "error",
        b"4" => "warning",
        b"5" => "notice",
        b"6" => "info",
        b"7" => "debug",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &str)]) -> JournalEntry {
        let fields = fields.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
        JournalEntry { fields, cut: false }
    }

    #[test]
    fn fields_become_labels_and_the_message_the_line() {
        let read = line(
            entry(&[
                ("__CURSOR", "s=x"),
                ("__REALTIME_TIMESTAMP", "1700000000000001"),
                ("_SYSTEMD_UNIT", "ssh.service"),
                ("PRIORITY", "4"),
                ("MESSAGE", "hello"),
            ]),
            false,
            &[("job", "j")].into_iter().collect(),
        )
        .unwrap();
        assert_eq!(read.timestamp_ns, Some(1_700_000_000_000_001_000));
        assert_eq!(read.line, b"hello");
        let expected: Labels = [
            ("__journal__systemd_unit", "ssh.service"),
            ("__journal_message", "hello"),
            ("__journal_priority", "4"),
            ("__journal_priority_keyword", "warning"),
            ("job", "j"),
        ]
        .into_iter()
        .collect();
        assert_eq!(read.labels, expected);
    }

    #[test]
    fn the_whole_entry_as_json_needs_no_message() {
        let fields = [("__CURSOR", "s=x"), ("B", "2"), ("A", "1")];
        assert_eq!(line(entry(&fields), false, &Labels::new()), None);
        assert_eq!(line(entry(&fields), true, &Labels::new()).unwrap().line, br#"{"A":"1","B":"2"}"#);
    }

    #[test]
    fn a_cursor_tells_its_time() {
        assert_eq!(cursor_us("s=ab;i=1;b=cd;m=3;t=60a24181e4000;x=5"), Some(0x0006_0a24_181e_4000));
        assert_eq!(cursor_us("s=ab"), None);
        assert_eq!(cursor_us("t=zz"), None);
    }
}
