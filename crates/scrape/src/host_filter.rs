//! `host_filter`: only the targets that run on this machine.
//!
//! Decides on labels as discovered, before the job's own relabelling; its own rules only serve the decision.

use model::Labels;
use relabel::Rule;

/// Labels that name the machine a target runs on.
const MACHINE_LABELS: [&str; 7] = [
    "__meta_consul_node",
    "__meta_dockerswarm_node_id",
    "__meta_dockerswarm_node_hostname",
    "__meta_dockerswarm_node_address",
    "__meta_kubernetes_pod_node_name",
    "__meta_kubernetes_node_name",
    "__host__",
];

/// Keeps targets of one machine.
#[derive(Debug, Clone, PartialEq)]
pub struct HostFilter {
    /// This machine's name, as the labels have it.
    pub hostname: String,
    /// `host_filter_relabel_configs`.
    pub rules: Vec<Rule>,
}

impl HostFilter {
    /// Whether a target with these labels (its own over its group's) runs here.
    pub fn keeps(&self, discovered: &Labels) -> bool {
        let mut labels = discovered.clone();
        if !relabel::process(&mut labels, &self.rules) {
            return false;
        }
        let address = labels.get("__address__").unwrap_or("");
        let host = match crate::address::split(address) {
            Some((host, _)) => host,
            None => address,
        };
        host == "localhost"
            || host == "127.0.0.1"
            || host == self.hostname
            || MACHINE_LABELS.iter().any(|name| labels.get(name) == Some(&self.hostname))
    }
}

#[cfg(test)]
mod tests {
    use relabel::RuleSource;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    #[test]
    fn targets_of_this_machine_are_kept() {
        let filter = HostFilter { hostname: "box-1".into(), rules: vec![] };
        for address in ["localhost:9100", "127.0.0.1:80", "box-1:1", "box-1", "localhost"] {
            assert!(filter.keeps(&labels(&[("__address__", address)])), "{address}");
        }
        assert!(!filter.keeps(&labels(&[("__address__", "box-2:80")])));
        for name in MACHINE_LABELS {
            assert!(filter.keeps(&labels(&[("__address__", "10.0.0.1:80"), (name, "box-1")])), "{name}");
            assert!(!filter.keeps(&labels(&[("__address__", "10.0.0.1:80"), (name, "box-2")])), "{name}");
        }
    }

    #[test]
    fn its_rules_serve_the_decision() {
        let rule = RuleSource {
            source_labels: vec!["__meta_machine".into()],
            target_label: "__host__".into(),
            ..RuleSource::default()
        };
        let filter = HostFilter { hostname: "box-1".into(), rules: vec![Rule::new(rule).unwrap()] };
        assert!(filter.keeps(&labels(&[("__address__", "10.0.0.1:80"), ("__meta_machine", "box-1")])));
    }
}
