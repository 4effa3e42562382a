//! docs/GUARANTEES.md names a test for each promise: every one of them exists, and every invariant of the queue is named.

use std::{collections::BTreeSet, fs, path::Path};

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/GUARANTEES.md");
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_test_that_a_promise_names_exists() {
    let page = page();
    let named: BTreeSet<(&str, &str)> =
        page.split('`').filter_map(|word| word.split_once(".rs::")).filter(|(_, name)| !name.is_empty()).collect();
    assert!(named.len() > 40, "only {} tests are named", named.len());
    for (file, name) in named {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(format!("{file}.rs"));
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}.rs: {e}"));
        let at = text.find(&format!("fn {name}(")).unwrap_or_else(|| panic!("{file}.rs has no test {name}"));
        // Attributes and comments lie between the last `}` or `;` of what is before and the function.
        let before = text[..at].rsplit("\n\n").next().unwrap_or_default();
        assert!(before.contains("test") || text.contains("proptest!"), "{file}.rs: {name} is not a test");
        assert!(!before.contains("#[ignore"), "{file}.rs: {name} does not run");
    }
}

#[test]
fn every_promise_names_a_test() {
    for line in page().lines().skip_while(|line| *line != "## The book") {
        let is_row = line.starts_with("| ") && line != "| promise | proof |";
        assert!(!is_row || line.contains(".rs::"), "no test in: {line}");
    }
}

#[test]
fn every_invariant_of_the_queue_is_among_the_promises() {
    let mut found = BTreeSet::new();
    for bracket in page().split('[').skip(1).filter_map(|rest| rest.split(']').next()) {
        for part in bracket.split(',').map(str::trim) {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(from), Ok(to)) = (from.parse::<u32>(), to.parse::<u32>()) {
                found.extend(from..=to);
            }
        }
    }
    let missing: Vec<u32> = (1..=25).filter(|number| !found.contains(number)).collect();
    assert!(missing.is_empty(), "docs/GUARANTEES.md does not name invariants {missing:?}");
}
