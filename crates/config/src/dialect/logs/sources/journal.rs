//! `journal`: the systemd journal.

use log_receive::JournalConfig;

use crate::{
    block::{Block, Shape},
    dialect::metrics,
};

pub(in crate::dialect) const JOURNAL: Shape =
    Shape { name: "journal", keys: &[&["path", "max_age", "json", "labels", "matches"]] };

pub(super) fn read(block: &Block<'_>) -> Option<JournalConfig> {
    let defaults = JournalConfig::default();
    let path = block.path("path");
    if path.as_ref().is_some_and(|path| !path.is_absolute()) {
        block.error_at("path", "`path` is not an absolute path", Some("path: /var/log/journal"));
    }
    let max_age = block.duration("max_age").unwrap_or(defaults.max_age);
    if max_age.is_zero() {
        block.error_at("max_age", "`max_age` must be longer than 0", Some("max_age: 7h is the default"));
    }
    let matches = match JournalConfig::split_matches(&block.text("matches").unwrap_or_default()) {
        Ok(matches) => Some(matches),
        Err(error) => {
            let help = "such as _TRANSPORT=kernel or _SYSTEMD_UNIT=ssh.service PRIORITY=3; all of them must hold";
            block.error_at("matches", error.to_string(), Some(help));
            None
        }
    };
    Some(JournalConfig {
        path,
        max_age,
        json: block.flag("json").unwrap_or(false),
        labels: metrics::labels(block, "labels"),
        matches: matches?,
        ..defaults
    })
}
