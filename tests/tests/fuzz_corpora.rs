//! Replays what fuzzing has found: every file of `fuzz/corpora/<target>/` through its target, on a stable compiler.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use fuzz::TARGETS;

/// All corpora together; they are part of every clone.
const MOST_BYTES: u64 = 2 << 20;

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    entries.map(|e| e.expect("readable").file_name().into_string().expect("UTF-8")).collect()
}

/// Replays one target's corpus; each input that fails is named.
fn replay(name: &str) {
    let target =
        TARGETS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no target is called {name}")).1;
    let corpus = package().join("corpora").join(name);
    let mut failed = Vec::new();
    let files = names(&corpus);
    assert!(!files.is_empty(), "{name} has no corpus");
    for file in &files {
        let bytes = fs::read(corpus.join(file)).expect("readable");
        if std::panic::catch_unwind(|| target(&bytes)).is_err() {
            failed.push(file);
        }
    }
    assert!(failed.is_empty(), "{name}: {failed:?} of tests/fuzz/corpora/{name} fail; their messages are above");
    println!("{name}: {} inputs", files.len());
}

macro_rules! replayed {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*
        const REPLAYED: &[&str] = &[$(stringify!($name)),*];
    };
}

replayed! {
    docker_output, log_objects, loki_push_json, loki_push_message, syslog_stream,
    base_vector, certificate, config_text, credentials, cursor_slot, exposition, frame, go_regex, jaeger, log_batch, metric_batch,
    no_proxy, otlp_json, otlp_outgoing, otlp_packed, otlp_protobuf, otlp_translate, remote_write, replay_object, segment_header, segment_scan, series_table, service_error, verdict, zipkin,
}

#[test]
fn every_target_has_a_program_a_corpus_and_a_replay() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(REPLAYED.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), targets);
    assert_eq!(names(&package().join("corpora")), targets);
    let programs =
        names(&package().join("fuzz_targets")).iter().map(|n| n.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(targets, programs);
    let manifest = fs::read_to_string(package().join("Cargo.toml")).expect("readable");
    for name in &targets {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is not in tests/fuzz/Cargo.toml");
        let program = fs::read_to_string(package().join(format!("fuzz_targets/{name}.rs"))).expect("readable");
        assert!(program.contains(&format!("fuzz::{name}(data)")), "{name}'s program calls something else");
    }
}

#[test]
fn the_corpora_stay_small() {
    let corpora = package().join("corpora");
    let mut bytes = 0;
    for target in names(&corpora) {
        for file in names(&corpora.join(&target)) {
            bytes += fs::metadata(corpora.join(&target).join(file)).expect("readable").len();
        }
    }
    assert!(bytes <= MOST_BYTES, "{bytes} bytes: minimise them (`make fuzz` says how)");
}
