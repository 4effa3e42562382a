//! The positions file of Promtail and Grafana Agent: a YAML map of path to quoted decimal. Read once, when we have no
//! state of our own; written for tools.

use std::{collections::BTreeMap, fmt::Write, fs, io, path::Path};

use serde::Deserialize;

use crate::TailError;

#[derive(Deserialize, Default)]
struct Written {
    #[serde(default)]
    positions: Option<BTreeMap<String, Text>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    String(String),
    Integer(u64),
}

/// Longest file that is read, bytes.
const LIMIT: u64 = 64 << 20;

/// Entries by key: paths, and `cursor-<job>` and the like. A file that is not there has none.
pub(crate) fn read(path: &Path, ignore_invalid: bool) -> Result<BTreeMap<String, String>, TailError> {
    let bytes = match fs::metadata(path) {
        Ok(meta) if meta.len() > LIMIT => Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large")),
        Ok(_) => fs::read(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => Err(error),
    };
    let bytes = bytes.map_err(|source| TailError::Io { op: "read positions file", path: path.to_owned(), source })?;
    let parsed = str::from_utf8(&bytes).map_err(|_| "it is not UTF-8".to_owned()).and_then(|text| {
        if text.trim().is_empty() {
            return Ok(Written::default());
        }
        serde_yaml::from_str::<Written>(text).map_err(|error| error.to_string())
    });
    let entries = match parsed {
        Ok(written) => written.positions.unwrap_or_default(),
        Err(why) if ignore_invalid => {
            tracing::warn!(path = %path.display(), %why, "the positions file is not valid and is ignored: files are read from their beginning");
            BTreeMap::new()
        }
        Err(why) => return Err(TailError::Positions { path: path.to_owned(), why }),
    };
    let text = |value| match value {
        Text::String(text) => text,
        Text::Integer(number) => number.to_string(),
    };
    Ok(entries.into_iter().map(|(key, value)| (key, text(value))).collect())
}

/// The file's text.
pub(crate) fn render(entries: &BTreeMap<String, String>) -> String {
    if entries.is_empty() {
        return "positions: {}\n".to_owned();
    }
    let mut out = "positions:\n".to_owned();
    for (key, value) in entries {
        let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-'))
            && key.starts_with(|c: char| c == '/' || c.is_ascii_alphabetic());
        if plain {
            let _ = writeln!(out, "  {key}: {}", quoted(value));
        } else {
            let _ = writeln!(out, "  {}: {}", quoted(key), quoted(value));
        }
    }
    out
}

/// A JSON string is a double-quoted YAML scalar.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("positions.yaml");
        let entries: BTreeMap<String, String> =
            [("/var/log/a.log", "12"), ("/odd: \"name\"\u{e9}", "0"), ("cursor-journal", "s=1;i=2")]
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
        fs::write(&path, render(&entries)).unwrap();
        assert_eq!(read(&path, false).unwrap(), entries);
        assert!(render(&entries).contains("  /var/log/a.log: \"12\"\n"));
        fs::write(&path, render(&BTreeMap::new())).unwrap();
        assert!(read(&path, false).unwrap().is_empty());
    }

    #[test]
    fn an_invalid_file_stops_the_start_unless_told_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("positions.yaml");
        assert!(read(&path, false).unwrap().is_empty());
        fs::write(&path, "positions: [1, 2").unwrap();
        assert!(matches!(read(&path, false), Err(TailError::Positions { .. })));
        assert!(read(&path, true).unwrap().is_empty());
    }
}
