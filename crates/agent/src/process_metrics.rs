//! `process_*` and `agent_build_info`: what every Prometheus client library reports of its own process.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::Registry,
};

/// Registers build information and the process figures.
pub fn register(registry: &mut Registry) {
    registry.register(
        "agent_build",
        "Version of the running agent",
        Info::new(vec![("version", env!("CARGO_PKG_VERSION")), ("agent", "sigpost")]),
    );
    registry.register_collector(Box::new(Process));
}

#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(figures) = Figures::read() else { return Ok(()) };
        let mut gauge = |name: &str, help: &str, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        gauge(
            "process_start_time_seconds",
            "Start time of the process since the Unix epoch in seconds",
            figures.start_seconds,
        )?;
        gauge("process_resident_memory_bytes", "Resident memory size in bytes", figures.rss_bytes)?;
        gauge("process_open_fds", "Number of open file descriptors", figures.open_fds)?;
        gauge("process_threads", "Number of threads", figures.threads)?;
        let cpu = ConstCounter::new(figures.cpu_seconds);
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            "Total user and system CPU time spent in seconds",
            None,
            cpu.metric_type(),
        )?)
    }
}

struct Figures {
    cpu_seconds: f64,
    start_seconds: f64,
    rss_bytes: f64,
    threads: f64,
    open_fds: f64,
}

impl Figures {
    /// From /proc/self; `None` elsewhere than on Linux.
    fn read() -> Option<Self> {
        // USER_HZ and page size: constants of every Linux that Rust supports on x86-64 and arm64 with 4 KiB pages.
        const TICKS: f64 = 100.0;
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<f64> = stat.rsplit_once(')')?.1.split_whitespace().map(|f| f.parse().unwrap_or(0.0)).collect();
        let field = |i: usize| fields.get(i).copied().unwrap_or(0.0);
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = boot.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let rss: f64 = status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))?
            .trim()
            .trim_end_matches(" kB")
            .trim()
            .parse()
            .ok()?;
        Some(Self {
            cpu_seconds: (field(11) + field(12)) / TICKS,
            start_seconds: boot + field(19) / TICKS,
            rss_bytes: rss * 1024.0,
            threads: field(17),
            open_fds: fs::read_dir("/proc/self/fd").map_or(0.0, |d| d.count() as f64),
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_has_the_names_that_dashboards_use() {
        let mut registry = prometheus_client::registry::Registry::default();
        super::register(&mut registry);
        let (page, _) = crate::exposition::render(&registry, None);
        for name in [
            "agent_build_info{version=",
            "process_start_time_seconds ",
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
        ] {
            assert!(page.lines().any(|l| l.starts_with(name)), "{name} is missing in\n{page}");
        }
    }
}
