//! The house keeps its own rules: arrows, file sizes, documents that name what exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn crates() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("crates"))
        .expect("crates/ exists")
        .map(|e| e.expect("readable").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

/// The names of our own crates under `[dependencies]` of a manifest.
fn own_dependencies(manifest: &str, ours: &BTreeSet<String>) -> BTreeSet<String> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]" {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if ours.contains(name) {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

#[test]
fn crates_name_those_that_the_architecture_says() {
    let ours: BTreeSet<String> = crates().into_iter().collect();
    let table: BTreeMap<String, BTreeSet<String>> = read("docs/ARCHITECTURE.md")
        .lines()
        .skip_while(|l| !l.starts_with("| crate | may name |"))
        .skip(2)
        .take_while(|l| l.starts_with('|'))
        .map(|l| {
            let cells: Vec<&str> = l.trim_matches('|').split('|').map(str::trim).collect();
            let names =
                cells.get(1).unwrap_or(&"").split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned);
            (cells[0].to_owned(), names.collect())
        })
        .collect();
    for name in &ours {
        let allowed = table.get(name).unwrap_or_else(|| panic!("crate {name} has no row in docs/ARCHITECTURE.md"));
        let named = own_dependencies(&read(format!("crates/{name}/Cargo.toml")), &ours);
        assert_eq!(&named, allowed, "what {name} names, and what docs/ARCHITECTURE.md says it names");
    }
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Lines before the file's own `mod tests`.
fn production_lines(text: &str) -> usize {
    text.lines().take_while(|l| !l.starts_with("mod tests") && !l.starts_with("#[cfg(test)]")).count()
}

#[test]
fn no_production_file_is_longer_than_800_lines_and_each_says_its_job() {
    let mut files = Vec::new();
    for name in crates() {
        rust_files(&root().join("crates").join(name).join("src"), &mut files);
    }
    assert!(files.len() > 50, "the search found only {} files", files.len());
    for path in files {
        let text = fs::read_to_string(&path).expect("readable");
        let lines = production_lines(&text);
        assert!(lines <= 800, "{} has {lines} production lines", path.display());
        assert!(text.starts_with("//!"), "{} does not open with what it is for", path.display());
    }
}

#[test]
fn every_crate_is_described_in_the_architecture() {
    let page = read("docs/ARCHITECTURE.md");
    for name in crates() {
        assert!(page.contains(&format!("  {name}/")), "crates/{name} is missing from docs/ARCHITECTURE.md");
    }
}

#[test]
fn relative_links_in_the_documents_lead_somewhere() {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    fn markdown(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                markdown(&path, found);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    markdown(&root().join("docs"), &mut pages);
    for page in pages {
        let text = fs::read_to_string(&page).expect("readable");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = page.parent().expect("a page lies in a folder").join(target);
            assert!(path.exists(), "{} links to {target}, which does not exist", page.display());
        }
    }
}

#[test]
fn no_forbidden_words_are_in_production_code() {
    let mut files = Vec::new();
    for name in crates() {
        rust_files(&root().join("crates").join(name).join("src"), &mut files);
    }
    for path in files {
        let text = fs::read_to_string(&path).expect("readable");
        let production: Vec<&str> = text.lines().take(production_lines(&text)).collect();
        for (i, line) in production.iter().enumerate() {
            for word in ["todo!(", "unimplemented!(", "FIXME", "XXX", "dbg!("] {
                assert!(!line.contains(word), "{}:{} has {word}", path.display(), i + 1);
            }
        }
    }
}
