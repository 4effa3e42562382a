//! What of a line is shown: as much as is certain to hold no secret.

use config::{LoadOptions, load};

const MARKER: &str = "s3cr3tMARKER";

/// Everything that is said of `text`.
fn said(text: &str) -> String {
    let none = |_: &str| None;
    match load(text, LoadOptions { expand_env: true, ..LoadOptions::new("f.yaml", &none) }) {
        Ok(plan) => plan.warnings.iter().map(ToString::to_string).collect(),
        Err(problems) => {
            let warnings: String = problems.warnings.iter().map(ToString::to_string).collect();
            format!("{problems}{problems:?}{warnings}")
        }
    }
}

const HEAD: &str = "metrics:\n  configs:\n    - name: a\n      remote_write:\n        - url: https://h/w\n";

#[test]
fn known_harmless_shapes_are_shown() {
    for (text, shown) in [
        ("# ${FOO-bar}\nmetrics: {}\n", "| # ${FOO-bar}\n"),
        ("# don't\nmetrics: {} # see ${FOO-bar}\n", "| metrics: {} # see ${FOO-bar}\n"),
        ("# don't\nmetrics: {}\n# the port of ${FOO\n", "| # the port of ${FOO\n"),
        ("# scrape_interval: ${FOO-15s}\n", "| # scrape_interval: ${FOO-15s}\n"),
        ("server:\n  http_listen_port: 12345\n", "|   http_listen_port: 12345\n"),
        ("server:\n  shiny: true # yes\n", "|   shiny: true # yes\n"),
        ("server:\n  grace: 30s\n", "|   grace: 30s\n"),
        ("server:\n  grpc: {}\n", "|   grpc: {}\n"),
        ("metrics:\n  global:\n    external_labels:\n      \"a-b\": prod\n", "|       \"a-b\": prod\n"),
        ("metrics:\n  global:\n    external_labels: {x: y, \"a-b\": us-east-1}\n", "{x: y, \"a-b\": us-east-1}\n"),
        ("metrics:\n  configs:\n    - text\n", "|     - text\n"),
        ("metrics:\n  configs:\n    - name default\n", "|     - name default\n"),
        (
            "metrics:\n  configs:\n    - name: a\n      remote_write:\n        - https://h.example/write\n",
            "|         - https://h.example/write\n",
        ),
        ("metrics:\n  configs:\n    - name: a\n    job_name node\n    - name: b\n", "|     job_name node\n"),
    ] {
        assert!(said(text).contains(shown), "{shown}\n{}", said(text));
    }
    let token = format!("{HEAD}          bearer_token: ${{TOKEN-{MARKER}}}\n");
    assert!(said(&token).contains("bearer_token: ${TOKEN-<hidden>}\n"), "{}", said(&token));
    let role =
        format!("{HEAD}          sigv4:\n            external_id: '${{X:-{MARKER}}}'\n            external_id: ''\n");
    let role = role.replace("external_id: ''", "external_id: \"${X:-a b}\"");
    assert!(said(&role).contains("external_id: \"${X:-<hidden>}\"\n"), "{}", said(&role));
    let unclosed = format!("{HEAD}          bearer_token: ${{TOKEN\n");
    assert!(said(&unclosed).contains("bearer_token: ${TOKEN\n"), "{}", said(&unclosed));
}

#[test]
fn secrets_in_odd_places_are_hidden() {
    let lines = [
        "# s3cr3tMARKER ${FOO",
        "# ${FOO-s3cr3tMARKER}",
        "# password: s3cr3tMARKER ${FOO",
        "# the password is swordfish ${FOO",
        "# token=s3cr3tMARKER ${FOO",
        "# admin:swordfish ${FOO",
        "# https://user:s3cr3tMARKER@h/w?x=s3cr3tMARKER ${FOO",
        "          remote_timeout: 30x # s3cr3tMARKER",
        "          remote_timeout: 30x # password: swordfish",
        "          remote_timeout: 30x # key swordfish",
        "          pin_code: 123456",
        "          pasword: 123456",
        "          unknown: swordfish",
        "          unknown: [swordfish]",
        "          unknown: {a: swordfish}",
        "          unknown: [1, s3cr3tMARKER]",
        "          unknown: {n: 1, t: swordfish}",
        "          headers: {X-Num: [123456]}\n          headers: {X-Num: 123456}",
        "          basic_auth:\n            - s3cr3tMARKER",
        "          basic_auth:\n            - swordfish",
        "          headers:\n            - swordfish",
        "          headers:\n            X: >-\n              swordfish\n              # swordfish ${FOO",
        "          bearer_token: >-\n            swordfish\n         swordfish\n",
        "          bearer_token: |\n         swordfish\n",
        "          bearer_token: |\n         # swordfish ${FOO\n",
        "          bearer_token: |\n            a\n            # swordfish ${FOO\n",
        "          bearer_token: \"a\n  swordfish",
        "          bearer_token: \"a\n# swordfish ${FOO\n\"",
        "          bearer_token:\n  swordfish",
        "          bearer_token swordfish",
        "          - swordfish1\n",
        "          {bearer_token: swordfish, bearer_token: swordfish, ",
        "          basic_auth: {username: swordfish, password: swordfish, x: 1, swordfish: 3}",
        "          basic_auth: swordfish",
        "          basic_auth swordfish",
        "          sigv4: {region: '', access_key: swordfish, secret_key: ''}",
        "          sigv4:\n            secret_key: ${FOO-swordfish}\n",
        "          bearer_token: x${FOO-swordfish}\n",
        "          bearer_token: ${swordfish\n",
    ];
    for line in lines {
        let text = format!("{HEAD}{line}\n");
        let said = said(&text);
        assert!(!said.is_empty(), "nothing is said of {line:?}");
        for secret in [MARKER, "swordfish", "123456"] {
            let as_key = line.contains("swordfish: 3") && secret == "swordfish";
            let name = line.contains("${swordfish") && secret == "swordfish";
            let snippets: String = said.lines().filter(|l| l.contains(" | ")).collect();
            let place = if as_key || name { &snippets } else { &said };
            assert!(!place.contains(secret) || as_key, "{line:?}:\n{said}");
        }
    }
}
