//! What a resource says of its points' series: `job`, `instance`, and `target_info`.

use proto::otlp_common::{InstrumentationScope, KeyValue, Resource};

use crate::{name::label_name, text::text_of};

const IDENTIFYING: [&str; 3] = ["service.name", "service.namespace", "service.instance.id"];

/// A resource, read.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// `service.namespace/service.name`, or the name alone.
    pub job: String,
    /// `service.instance.id`.
    pub instance: String,
    /// Labels of `target_info`; empty: there is nothing to tell.
    pub info: Vec<(String, String)>,
}

impl Source {
    pub(crate) fn new(resource: Option<&Resource>) -> Self {
        let attributes = resource.map(|resource| resource.attributes.as_slice()).unwrap_or_default();
        let of = |key: &str| {
            let found = attributes.iter().find(|attribute| attribute.key == key);
            found.map(|attribute| text_of(attribute.value.as_ref())).unwrap_or_default()
        };
        let [name, namespace, instance] = IDENTIFYING.map(of);
        let job = if namespace.is_empty() || name.is_empty() { name } else { format!("{namespace}/{name}") };
        let rest = attributes.iter().filter(|attribute| !IDENTIFYING.contains(&attribute.key.as_str()));
        let mut info = labels(rest);
        // Without a job or an instance nothing could be joined to it.
        if info.is_empty() || job.is_empty() && instance.is_empty() {
            info.clear();
        }
        Self { job, instance, info }
    }
}

/// Labels of every series of a scope, without empty ones ("Instrumentation Scope" of the compatibility page).
pub(crate) fn scope_labels(scope: Option<&InstrumentationScope>) -> Vec<(String, String)> {
    let Some(scope) = scope else { return Vec::new() };
    let own = scope.attributes.iter().filter(|attribute| !["name", "version", "schema_url"].contains(&&*attribute.key));
    let prefixed: Vec<KeyValue> = own
        .map(|attribute| KeyValue { key: format!("otel_scope_{}", attribute.key), value: attribute.value.clone() })
        .collect();
    let told = [("otel_scope_name", &scope.name), ("otel_scope_version", &scope.version)];
    let told = told.into_iter().map(|(name, value)| (name.to_owned(), value.clone()));
    labels(prefixed.iter()).into_iter().chain(told).filter(|(_, value)| !value.is_empty()).collect()
}

/// Attributes as labels, sorted by name; of several that have one name all values are kept, joined by `;` in the order of the
/// attributes' own names.
pub(crate) fn labels<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> Vec<(String, String)> {
    let mut sorted: Vec<&KeyValue> = attributes.filter(|attribute| !attribute.key.is_empty()).collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut found: Vec<(String, String)> = Vec::with_capacity(sorted.len());
    for attribute in sorted {
        found.push((label_name(&attribute.key), text_of(attribute.value.as_ref())));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1.push(';');
            earlier.1.push_str(&later.1);
        }
        same
    });
    found
}
