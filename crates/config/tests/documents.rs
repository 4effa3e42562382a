//! What people copy from works, and what is accepted is described.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use config::{LoadOptions, Plan, SHAPES, load};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
}

fn environment(name: &str) -> Option<String> {
    name.starts_with("AWS_").then(|| "EXAMPLE".to_owned())
}

fn plan(name: &str, text: &str) -> Plan {
    load(text, LoadOptions { expand_env: true, ..LoadOptions::new(name, &environment) })
        .unwrap_or_else(|e| panic!("{e}"))
}

fn examples() -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(&root().join("config"), "yaml", &mut found);
    assert!(found.len() > 5);
    found.into_iter().map(|p| (p.display().to_string(), fs::read_to_string(p).unwrap())).collect()
}

#[test]
fn every_file_under_config_loads_and_collects_something() {
    for (name, text) in examples() {
        let plan = plan(&name, &text);
        assert!(!plan.metrics.is_empty() || !plan.logs.is_empty() || !plan.traces.is_empty(), "{name}");
        assert!(plan.metrics.iter().all(|r| !r.jobs.is_empty() && !r.destinations.is_empty()), "{name}");
        assert!(plan.logs.iter().all(|r| !r.jobs.is_empty() && !r.destinations.is_empty()), "{name}");
        let receives = |r: &config::TracesRoute| !r.receivers.is_empty() || r.part_of.is_some();
        assert!(plan.traces.iter().all(|r| receives(r) && !r.destinations.is_empty()), "{name}");
        let quiet = name.contains("mixed-agent-file") || plan.warnings.is_empty();
        assert!(quiet, "{name}: {:?}", plan.warnings);
    }
}

#[test]
fn every_configuration_under_deploy_loads_without_a_warning() {
    let mut found = Vec::new();
    files(&root().join("deploy"), "yaml", &mut found);
    found.retain(|p| p.ends_with("agent.yaml"));
    assert!(found.len() >= 2);
    for path in found {
        let plan = plan(&path.display().to_string(), &fs::read_to_string(&path).unwrap());
        assert!(plan.warnings.is_empty(), "{}: {:?}", path.display(), plan.warnings);
        assert!(plan.metrics.iter().all(|r| !r.jobs.is_empty() && !r.destinations.is_empty()), "{}", path.display());
    }
}

#[test]
fn every_yaml_file_under_deploy_parses() {
    let mut found = Vec::new();
    files(&root().join("deploy"), "yaml", &mut found);
    assert!(found.len() > 5);
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        for document in text.split("\n---\n") {
            let value: Result<serde::de::IgnoredAny, _> = serde_yaml::from_str(document);
            assert!(value.is_ok(), "{}: {value:?}", path.display());
        }
    }
}

/// Kubernetes manifests and the like are none of ours.
#[test]
fn every_yaml_block_of_the_documents_loads() {
    let mut documents = Vec::new();
    files(&root().join("docs"), "md", &mut documents);
    documents.extend(Some(root().join("README.md")).filter(|p| p.exists()));
    let mut blocks = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let mut lines = text.lines();
        while lines.by_ref().any(|l| l.trim() == "```yaml") {
            let block: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != "```").collect();
            if !block.iter().any(|l| l.trim_start().starts_with("apiVersion:")) {
                plan(&document.display().to_string(), &block.join("\n"));
                blocks += 1;
            }
        }
    }
    assert!(blocks > 0);
}

/// `check` prints the plan in the file's own dialect: it loads again, to the same plan but for the secrets.
#[test]
fn a_rendered_plan_loads_again() {
    for (name, text) in examples() {
        let plan_before = plan(&name, &text);
        let rendered = plan_before.render_masked();
        let plan_after = plan(&format!("{name} as rendered"), &rendered);
        assert_eq!(rendered, plan_after.render_masked(), "{name}");
        let has_no_secret = !rendered.contains("<secret>");
        if has_no_secret {
            assert_eq!(
                (&plan_before.metrics, &plan_before.logs, &plan_before.traces, &plan_before.queue, &plan_before.server),
                (&plan_after.metrics, &plan_after.logs, &plan_after.traces, &plan_after.queue, &plan_after.server),
                "{name}"
            );
        }
    }
}

/// Adding a key is a line in its shape and a line in the page, in the section that bears the shape's name or one that this
/// section links to.
#[test]
fn every_key_is_described_in_the_reference() {
    let page = fs::read_to_string(root().join("docs/reference/configuration.md")).unwrap();
    let mut sections: BTreeMap<String, (String, String)> = BTreeMap::new();
    for section in page.split("\n## ").flat_map(|s| s.split("\n### ")) {
        let title = section.lines().next().unwrap_or_default().trim_start_matches('#').trim();
        let anchor: String = title
            .to_lowercase()
            .replace(' ', "-")
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
            .collect();
        sections.insert(anchor, (title.to_owned(), section.to_owned()));
    }
    let mut missing = Vec::new();
    for shape in SHAPES {
        let Some((_, own)) = sections.values().find(|(title, _)| *title == format!("`{}`", shape.name)) else {
            missing.push(format!("a section with the title `{}`", shape.name));
            continue;
        };
        let linked: String = sections
            .iter()
            .filter(|(anchor, _)| own.contains(&format!("](#{anchor})")))
            .map(|(_, (_, text))| text.as_str())
            .collect();
        missing.extend(
            shape
                .all_keys()
                .filter(|key| !own.contains(&format!("`{key}`")) && !linked.contains(&format!("`{key}`")))
                .map(|key| format!("`{key}` of `{}`", shape.name)),
        );
    }
    assert!(missing.is_empty(), "docs/reference/configuration.md lacks {}", missing.join(", "));
    for (_, text) in sections.values() {
        for link in text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(
                sections.contains_key(link),
                "docs/reference/configuration.md links to #{link}, which it does not have"
            );
        }
    }
}
