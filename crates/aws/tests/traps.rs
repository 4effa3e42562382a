//! The table of traps is real: every test that it names is among those that run, and every trap of the field has a row.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
}

/// Trap and test of each row, by chapter.
fn rows() -> BTreeMap<String, Vec<(String, String)>> {
    let page = fs::read_to_string(root().join("TRAPS.md")).unwrap();
    let mut chapters: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut chapter = String::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            chapter = title.to_owned();
        }
        let row =
            line.strip_prefix("| ").and_then(|row| row.strip_suffix("` |")).and_then(|row| row.split_once(" | `"));
        if let Some((trap, test)) = row {
            chapters.entry(chapter.clone()).or_default().push((trap.to_owned(), test.to_owned()));
        }
    }
    chapters
}

/// What a function of this name is, as far as its text tells.
#[derive(Debug, PartialEq)]
enum Written {
    /// The attributes in front of it make a test of it, and it checks something.
    Test(PathBuf),
    /// The name without a test.
    NoTest(PathBuf, String),
}

fn written(name: &str, files: &[PathBuf]) -> Option<Written> {
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let Some(at) = text.find(&format!("fn {name}(")) else { continue };
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let is_head = |line: &&str| line.trim_start().starts_with("#[") || line.trim_start().starts_with("//");
        let head: Vec<&str> = text[..start].lines().rev().take_while(is_head).collect();
        let is_test = head.iter().any(|line| line.contains("#[test]") || line.contains("#[tokio::test"));
        let is_off = head.iter().any(|line| line.contains("#[ignore") || line.contains("#[cfg"));
        let indent = text[start..at].len() - text[start..at].trim_start().len();
        let end = text[at..].find(&format!("\n{}}}\n", " ".repeat(indent))).map_or(text.len(), |end| at + end);
        let body = &text[at..end];
        let checks = ["assert", "unwrap_err(", "panic!", "check("].iter().any(|word| body.contains(word));
        if is_test && !is_off && checks {
            return Some(Written::Test(file.clone()));
        }
        return Some(Written::NoTest(
            file.clone(),
            format!("test: {is_test}, switched off: {is_off}, checks: {checks}"),
        ));
    }
    None
}

#[test]
fn every_trap_names_a_test_that_is_one() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    let rows: Vec<(String, String)> = rows().into_values().flatten().collect();
    assert!(rows.len() > 40, "the table was not read: {rows:?}");
    for (trap, test) in rows {
        match written(&test, &files) {
            Some(Written::Test(_)) => {}
            other => panic!("{trap}: {test} is no test that runs: {other:?}"),
        }
    }
}

/// What binaries of this package's tests, built together with this one, say that they would run. Another package may have tests
/// of the same name: then those are in it too.
fn listed() -> Option<BTreeSet<String>> {
    let here = std::env::current_exe().unwrap();
    let folder = here.parent().unwrap();
    let built = fs::metadata(&here).unwrap().modified().unwrap();
    let mut wanted = BTreeMap::from([("aws".to_owned(), root().join("src/lib.rs"))]);
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "rs") {
            wanted.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), path);
        }
    }
    let mut names = BTreeSet::new();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap_or_default();
        let Some((stem, hash)) = name.rsplit_once('-') else { continue };
        if hash.len() != 16 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            continue;
        }
        let Some(source) = wanted.get(stem) else { continue };
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        // Older than its source: it was not built this time.
        if time < fs::metadata(source).unwrap().modified().unwrap() && time < built {
            continue;
        }
        let run = |flags: &[&str]| {
            let out = Command::new(&path).args(["--list", "--format=terse"]).args(flags).output().ok()?;
            let text = String::from_utf8(out.stdout).ok()?;
            let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
            Some(names.map(|name| name.rsplit("::").next().unwrap_or(name).to_owned()).collect::<BTreeSet<String>>())
        };
        let (Some(all), Some(off)) = (run(&[]), run(&["--ignored"])) else { continue };
        names.extend(all.difference(&off).cloned());
        found.insert(stem.to_owned());
    }
    (found.len() == wanted.len()).then_some(names)
}

#[test]
fn every_trap_is_among_the_tests_that_the_binaries_run() {
    let Some(listed) = listed() else {
        println!(
            "SKIPPED: the package's other test binaries are not built beside this one (cargo test -p aws builds them)"
        );
        return;
    };
    assert!(listed.contains("every_trap_names_a_test_that_is_one"));
    for (trap, test) in rows().into_values().flatten() {
        assert!(listed.contains(&test), "{trap}: no binary of this package runs {test}");
    }
}

/// What is known to go wrong, by chapter: a word of each row that has to be there.
const KNOWN: &[(&str, &[&str])] = &[
    (
        "One provider per destination",
        &[
            "environment keys win",
            "parsed once for ever",
            "falls through to instance metadata",
            "mfa_serial",
            "duration_seconds",
            "flood CloudTrail",
            "durations out of bounds",
            "a call each time",
            "one identity for the whole process",
            "SSO",
        ],
    ),
    (
        "STS",
        &[
            "signing region is used for STS",
            "AWS_ENDPOINT_URL_STS",
            "AWS_ENDPOINT_URL`",
            "services` section",
            "FIPS with a custom endpoint",
            "China and GovCloud",
        ],
    ),
    (
        "Caching and refresh",
        &[
            "cleared before",
            "no background refresh",
            "windows longer than the life",
            "tight loop",
            "hammered",
            "wrong clock",
            "cancels the fetch",
            "expired credentials are called in use",
        ],
    ),
    (
        "Messages",
        &[
            "nothing configured",
            "no region, found",
            "no region to ask STS",
            "unknown profile",
            "without path and line",
            "token file without its path",
            "role is refused",
            "captures loopback",
            "newline",
            "refuses is called silent",
            "two lines",
            "which certificate",
        ],
    ),
];

#[test]
fn what_is_known_to_go_wrong_has_its_row() {
    let rows = rows();
    for (chapter, words) in KNOWN {
        let of_chapter = rows.get(*chapter).unwrap_or_else(|| panic!("no chapter {chapter}"));
        for word in *words {
            assert!(of_chapter.iter().any(|(trap, _)| trap.contains(word)), "{chapter}: no row about {word:?}");
        }
    }
}
