//! What a process has used so far, from /proc.

use std::{fs, io};

/// CPU seconds (user + system) and memory of one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub cpu_seconds: f64,
    pub peak_rss_bytes: u64,
    pub rss_bytes: u64,
    /// Anonymous memory, without file pages such as the program's own text.
    pub anonymous_bytes: u64,
}

/// Reads `/proc/<pid>`. Linux only.
pub fn of(pid: u32) -> io::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name in parentheses and may hold blanks; fields 14 and 15 are utime and stime.
    let after = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    // USER_HZ is 100 on every Linux that Rust runs on.
    let cpu_seconds = (ticks(11) + ticks(12)) / 100.0;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |key: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(key))
            .and_then(|v| v.trim().trim_end_matches(" kB").trim().parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    };
    Ok(Usage { cpu_seconds, peak_rss_bytes: kib("VmHWM:"), rss_bytes: kib("VmRSS:"), anonymous_bytes: kib("RssAnon:") })
}
