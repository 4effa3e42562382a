//! The report series of a target: `up` and its kin. A small table of their own; no relabelling, no limits.

use model::{BaseVector, EncodedTable, Labels, MetricChunk, MetricType, Presence, SeriesTableBuilder, Timestamps};

#[derive(Debug)]
pub(super) struct Report {
    target_labels: Labels,
    names: Vec<Box<str>>,
    table: Option<EncodedTable>,
    base: BaseVector,
    values: Vec<f64>,
}

impl Report {
    pub(super) fn new(target_labels: &Labels) -> Self {
        let mut target_labels = target_labels.clone();
        target_labels.retain(|name, _| !name.starts_with("__"));
        Self { target_labels, names: Vec::new(), table: None, base: BaseVector::none(), values: Vec::new() }
    }

    /// Takes the values of a scrape; the table is made anew only if the names are others.
    pub(super) fn set(&mut self, report: &[(&str, f64)]) {
        let same = self.names.len() == report.len()
            && self.names.iter().zip(report).all(|(known, (name, _))| **known == **name);
        if !same {
            self.names = report.iter().map(|(name, _)| Box::from(*name)).collect();
            let mut builder = SeriesTableBuilder::new();
            for (name, _) in report {
                let mut labels = self.target_labels.clone();
                labels.set("__name__", name);
                let family = builder.family(name, MetricType::Gauge, "", "");
                // A handful of series, each the target's labels and a name.
                if builder.push(family, &labels).is_err() {
                    break;
                }
            }
            self.table = (!builder.is_empty()).then(|| builder.build());
        }
        self.values.clear();
        self.values.extend(report.iter().map(|(_, value)| *value));
    }

    /// Every report series ever named last ends.
    pub(super) fn set_stale(&mut self) {
        self.values.clear();
        self.values.resize(self.names.len(), model::stale_marker());
    }

    pub(super) fn columns(&self, stamp: i64) -> Option<MetricChunk<'_>> {
        let table = self.table.as_ref()?;
        Some(MetricChunk {
            table,
            base: &self.base,
            present: Presence::All,
            timestamps: Timestamps::Common(stamp),
            values: self.values.get(..table.series() as usize)?,
        })
    }
}
