//! What tailing counts, under Promtail's names where it has them.

use std::sync::Arc;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use stages::StageMetrics;

use crate::lines::Counts;

type Route = [(&'static str, String); 1];
type RoutePath = [(&'static str, String); 2];

/// Made per registry; shared by all routes that report to it.
#[derive(Debug, Clone)]
pub struct TailMetrics {
    read_bytes: Family<RoutePath, Gauge>,
    file_bytes: Family<RoutePath, Gauge>,
    read_lines: Family<RoutePath, Counter>,
    files_active: Family<Route, Gauge>,
    targets_active: Family<Route, Gauge>,
    targets_failed: Family<RoutePath, Counter>,
    truncated_lines: Family<Route, Counter>,
    split_lines: Family<Route, Counter>,
    hole_bytes: Family<Route, Counter>,
    rotations: Family<RoutePath, Counter>,
    unreadable: Family<Route, Gauge>,
    surveys: Family<Route, Counter>,
    panics: Family<Route, Counter>,
    stages: StageMetrics,
}

impl TailMetrics {
    /// Registers everything, what stages count too (the registry adds `_total` to counters).
    pub fn registered(registry: &mut Registry) -> Arc<Self> {
        let stages = StageMetrics::registered(registry);
        Self::with_stages(registry, stages)
    }

    /// The same, where other sources count in `stages` as well.
    pub fn with_stages(registry: &mut Registry, stages: StageMetrics) -> Arc<Self> {
        let m = Self {
            read_bytes: Family::default(),
            file_bytes: Family::default(),
            read_lines: Family::default(),
            files_active: Family::default(),
            targets_active: Family::default(),
            targets_failed: Family::default(),
            truncated_lines: Family::default(),
            split_lines: Family::default(),
            hole_bytes: Family::default(),
            rotations: Family::default(),
            unreadable: Family::default(),
            surveys: Family::default(),
            panics: Family::default(),
            stages,
        };
        registry.register("promtail_read_bytes_total", "Bytes of a file that were read", m.read_bytes.clone());
        registry.register("promtail_file_bytes_total", "Bytes of a file", m.file_bytes.clone());
        registry.register("promtail_read_lines", "Lines of a file that were read", m.read_lines.clone());
        registry.register("promtail_files_active_total", "Files that are followed", m.files_active.clone());
        registry.register(
            "promtail_targets_active_total",
            "Targets with a path that are read",
            m.targets_active.clone(),
        );
        registry.register("promtail_targets_failed", "Discovered targets that are not read", m.targets_failed.clone());
        registry.register("sigpost_tail_lines_truncated", "Lines cut to max_line_size", m.truncated_lines.clone());
        registry.register(
            "sigpost_tail_lines_split",
            "Pieces of lines that were longer than one entry may be",
            m.split_lines.clone(),
        );
        registry.register(
            "sigpost_tail_hole_bytes",
            "Zero bytes passed over that a writer left who went on behind a truncation",
            m.hole_bytes.clone(),
        );
        registry.register(
            "sigpost_tail_rotations",
            "Files that were renamed, truncated, found again, not found where they were looked for, or given up",
            m.rotations.clone(),
        );
        registry.register(
            "sigpost_tail_unreadable_files",
            "Files that match and cannot be opened or read now, damaged compressed ones and those without decompression too",
            m.unreadable.clone(),
        );
        registry.register(
            "sigpost_tail_panics",
            "Turns at a file that failed by a mistake of this program; the file is read again",
            m.panics.clone(),
        );
        registry.register("sigpost_tail_surveys", "How often paths were looked up", m.surveys.clone());
        Arc::new(m)
    }

    /// The part of one route.
    pub(crate) fn of_route(self: &Arc<Self>, route: &str) -> RouteMetrics {
        RouteMetrics { all: self.clone(), route: route.to_owned(), stages: self.stages.of_instance(route) }
    }
}

/// Counts of one route.
#[derive(Debug, Clone)]
pub(crate) struct RouteMetrics {
    all: Arc<TailMetrics>,
    route: String,
    /// What stages of the route count.
    pub stages: StageMetrics,
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl RouteMetrics {
    fn route(&self) -> Route {
        [("logs_config", self.route.clone())]
    }

    fn with(&self, name: &'static str, value: &str) -> RoutePath {
        [("logs_config", self.route.clone()), (name, value.to_owned())]
    }

    /// After a turn at a file that read something.
    pub(crate) fn read(&self, path: &str, offset: u64, size: u64, counts: Counts) {
        let file = self.with("path", path);
        self.all.read_bytes.get_or_create(&file).set(gauge(offset));
        self.all.file_bytes.get_or_create(&file).set(gauge(size));
        self.all.read_lines.get_or_create(&file).inc_by(counts.lines);
        let route = self.route();
        if counts.too_long > 0 {
            self.stages.count_dropped("line_too_long", counts.too_long);
        }
        if counts.refused > 0 {
            self.stages.count_dropped("refused", counts.refused);
        }
        for (family, number) in [
            (&self.all.truncated_lines, counts.truncated),
            (&self.all.split_lines, counts.split),
            (&self.all.hole_bytes, counts.holes),
        ] {
            if number > 0 {
                family.get_or_create(&route).inc_by(number);
            }
        }
    }

    /// A path is not read any more.
    pub(crate) fn forget(&self, path: &str) {
        let file = self.with("path", path);
        self.all.read_bytes.remove(&file);
        self.all.file_bytes.remove(&file);
        self.all.read_lines.remove(&file);
    }

    pub(crate) fn panicked(&self) {
        self.all.panics.get_or_create(&self.route()).inc();
    }

    pub(crate) fn rotated(&self, how: &'static str) {
        self.all.rotations.get_or_create(&self.with("kind", how)).inc();
    }

    pub(crate) fn targets(&self, active: usize, dropped: &[&'static str]) {
        self.all.targets_active.get_or_create(&self.route()).set(gauge(active as u64));
        for reason in dropped {
            self.all.targets_failed.get_or_create(&self.with("reason", reason)).inc();
        }
    }

    pub(crate) fn surveyed(&self, active: usize, unreadable: usize) {
        let route = self.route();
        self.all.surveys.get_or_create(&route).inc();
        self.all.files_active.get_or_create(&route).set(gauge(active as u64));
        self.all.unreadable.get_or_create(&route).set(gauge(unreadable as u64));
    }
}
