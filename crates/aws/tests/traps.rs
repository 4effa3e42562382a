//! The table of traps names tests that exist.

use std::{fs, path::Path};

fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_trap_has_the_test_that_it_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    sources(&root.join("tests"), &mut all);
    let page = fs::read_to_string(root.join("TRAPS.md")).unwrap();
    let rows: Vec<&str> =
        page.lines().filter_map(|l| l.strip_suffix("` |")?.rsplit_once("| `").map(|(_, t)| t)).collect();
    assert!(rows.len() > 30, "the table was not read: {rows:?}");
    for test in rows {
        assert!(all.contains(&format!("fn {test}(")), "{test} is named in TRAPS.md and does not exist");
    }
}
