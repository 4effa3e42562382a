//! What a person sees when the file is wrong: exit code 1, file:line:column, the key, what to write; never a secret.

use anyhow::Result;
use e2e::agent::command;

/// (what is wrong, the file, what the message must contain besides its place)
const BROKEN: &[(&str, &str, &[&str])] = &[
    ("yaml", "metrics:\n  configs:\n   - name: a\n  - name: b\n", &[":4:"]),
    (
        "unknown key",
        "metrics:\n  configs:\n    - name: a\n      scrape_configs:\n        - job_name: n\n          scrape_intervall: 15s\n",
        &[":6:", "scrape_intervall", "scrape_interval"],
    ),
    (
        "bad regex",
        "metrics:\n  configs:\n    - name: a\n      scrape_configs:\n        - job_name: n\n          relabel_configs:\n            - {source_labels: [a], regex: '(', target_label: b}\n",
        &[":7:", "regex", "RE2"],
    ),
    ("bad duration", "metrics:\n  global:\n    scrape_interval: 15 apples\n", &[":3:", "scrape_interval", "15 apples"]),
    (
        "missing region",
        "metrics:\n  configs:\n    - name: a\n      remote_write:\n        - url: https://metrics.example.org/api/v1/write\n          sigv4:\n            access_key: AKIDEXAMPLE\n            secret_key: s3cr3tMARKER\n",
        &[":6:", "add `region: us-east-1`"],
    ),
    (
        "empty variable in a key",
        "metrics:\n  configs:\n    - name: a\n      remote_write:\n        - url: https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write\n          sigv4:\n            region: us-east-1\n            access_key: ${SIGPOST_TEST_UNSET}\n            secret_key: s3cr3tMARKER\n",
        &[":8:", "access_key", "set SIGPOST_TEST_UNSET"],
    ),
    (
        "two kinds of authentication",
        "metrics:\n  configs:\n    - name: a\n      remote_write:\n        - url: http://127.0.0.1:1/api/v1/write\n          basic_auth: {username: u, password: s3cr3tMARKER}\n          sigv4: {region: us-east-1}\n",
        &[":6:", "`basic_auth` and `sigv4` are both given", "keep the identity block"],
    ),
];

#[test]
fn a_broken_file_ends_with_code_1_and_says_where_and_what() -> Result<()> {
    for (what, text, expected) in BROKEN {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("agent.yaml");
        std::fs::write(&file, text)?;
        let path = file.display().to_string();
        for args in [vec!["check", &path], vec!["-config.file", &path, "-config.expand-env"]] {
            let (code, printed) = command(&args, &[("AWS_EC2_METADATA_DISABLED", "true")], dir.path())?;
            assert_eq!(code, Some(1), "{what}: {printed}");
            assert!(printed.contains("agent.yaml:"), "{what} names no place: {printed}");
            for part in *expected {
                assert!(printed.contains(part), "{what}: {part:?} is missing in: {printed}");
            }
            assert!(!printed.contains("s3cr3tMARKER"), "{what} shows a secret: {printed}");
        }
    }
    Ok(())
}

#[test]
fn a_missing_file_and_a_missing_flag_are_told_apart() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (code, printed) = command(&["-config.file=none.yaml"], &[], dir.path())?;
    assert_eq!(code, Some(1));
    assert!(printed.contains("none.yaml"), "{printed}");
    let (code, _) = command(&["-no.such.flag"], &[], dir.path())?;
    assert_eq!(code, Some(2));
    let (code, printed) = command(&["-version"], &[], dir.path())?;
    assert_eq!(code, Some(0));
    assert!(printed.starts_with("sigpost "), "{printed}");
    Ok(())
}
