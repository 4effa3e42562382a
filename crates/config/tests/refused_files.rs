//! Files that are refused, and what a person is told: each `refused/NAME.yaml` has its output in `refused/NAME.txt`.
//!
//! `UPDATE=1 cargo test -p config` writes the outputs anew; read the difference before you commit it.

use std::{collections::BTreeMap, fs, path::PathBuf};

use config::{LoadOptions, Problems, load};

/// Every secret of every broken file here.
const MARKER: &str = "s3cr3tMARKER";

fn refused() -> Vec<(PathBuf, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/refused");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files.into_iter().map(|p| (p.clone(), fs::read_to_string(p).unwrap())).collect()
}

/// Comments at the top may say `# flags: -config.expand-env` and `# env: NAME=value`.
fn problems(name: &str, text: &str) -> Problems {
    let expand_env = text.lines().any(|l| l == "# flags: -config.expand-env");
    let variables: BTreeMap<&str, &str> =
        text.lines().filter_map(|l| l.strip_prefix("# env: ")?.split_once('=')).collect();
    let environment = |name: &str| variables.get(name).map(|v| (*v).to_owned());
    match load(text, LoadOptions { expand_env, ..LoadOptions::new(name, &environment) }) {
        Ok(_) => panic!("{name} is accepted"),
        Err(problems) => problems,
    }
}

#[test]
fn each_refused_file_is_explained() {
    for (path, text) in refused() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let shown = format!("{}\n", problems(&name, &text));
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &shown).unwrap();
        }
        assert_eq!(
            shown,
            fs::read_to_string(&golden).unwrap_or_default(),
            "{name}: run with UPDATE=1 and read the difference"
        );
    }
}

#[test]
fn every_problem_has_a_place_in_the_file() {
    for (path, text) in refused() {
        for problem in problems("f", &text).errors {
            let line = text.lines().nth(problem.line - 1);
            assert!(line.is_some_and(|l| problem.column <= l.chars().count() + 1), "{}: {problem}", path.display());
            assert!(!problem.message.contains('\n'), "{problem}");
        }
    }
}

#[test]
fn no_secret_is_ever_shown() {
    for (path, text) in refused() {
        let problems = problems("f", &text);
        let warnings: String = problems.warnings.iter().map(|w| w.to_string()).collect();
        let everything = format!("{problems}{problems:?}{warnings}");
        assert!(!everything.contains(MARKER), "{}:\n{everything}", path.display());
    }
}

/// A file with a secret in every place that can hold one.
const SECRETS: &str = r#"
metrics:
  global:
    scrape_interval: 15s
  configs:
    - name: default
      scrape_configs:
        - job_name: node
          basic_auth: {username: s3cr3tMARKER, password: s3cr3tMARKER}
          params:
            token: [s3cr3tMARKER]
          tls_config:
            ca: |
              s3cr3tMARKER
            cert: >-
              s3cr3tMARKER
              s3cr3tMARKER
            key: "s3cr3tMARKER"
          proxy_url: http://user:s3cr3tMARKER@proxy:3128
          proxy_connect_header:
            X-Token:
              - s3cr3tMARKER
          http_headers:
            X-Token:
              secrets:
              - s3cr3tMARKER
              values: [s3cr3tMARKER]
          static_configs:
            - targets: ['localhost:9100']
          http_sd_configs:
            - url: https://user:s3cr3tMARKER@sd.example/targets?key=s3cr3tMARKER
              authorization:
                credentials: s3cr3tMARKER
      remote_write:
        - url: https://user:s3cr3tMARKER@h.example/write?key=s3cr3tMARKER
          bearer_token: s3cr3tMARKER
          headers:
            X-Token: s3cr3tMARKER
        - url: https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-1/api/v1/remote_write
          sigv4:
            access_key_id: s3cr3tMARKER
            secret_access_key: s3cr3tMARKER
            session_token: s3cr3tMARKER
            role_arn: arn:aws:iam::123456789012:role/r
            external_id: s3cr3tMARKER
            session_tags:
              tag: s3cr3tMARKER
        - url: https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-2/api/v1/remote_write
          aws:
            credential_process: /bin/x --secret s3cr3tMARKER
        - url: https://aps-workspaces.us-east-1.amazonaws.com/workspaces/ws-3/api/v1/remote_write
          aws:
            roles_anywhere:
              trust_anchor_arn: arn:aws:rolesanywhere:us-east-1:123456789012:trust-anchor/a
              profile_arn: arn:aws:rolesanywhere:us-east-1:123456789012:profile/a
              role_arn: arn:aws:iam::123456789012:role/r
              certificate: |
                -----BEGIN CERTIFICATE-----
                s3cr3tMARKER
              private_key: |
                -----BEGIN PRIVATE KEY-----
                s3cr3tMARKER
        - url: https://h.example/other
          oauth2:
            client_id: s3cr3tMARKER
            client_secret: s3cr3tMARKER
            token_url: https://user:s3cr3tMARKER@h.example/token
            endpoint_params:
              audience: s3cr3tMARKER
logs:
  configs:
    - name: default
      clients:
        - url: https://user:s3cr3tMARKER@logs.example/loki/api/v1/push
          basic_auth:
            password: s3cr3tMARKER
integrations:
  mysqld_exporter:
    data_source_name: root:s3cr3tMARKER@(server)/
"#;

fn shown(text: &str) -> String {
    let none = |_: &str| None;
    let expand_env = text.contains("${FOO");
    match load(text, LoadOptions { expand_env, ..LoadOptions::new("f", &none) }) {
        Ok(plan) => format!(
            "{plan:?}{}{}",
            plan.render_masked(),
            plan.warnings.iter().map(|w| w.to_string()).collect::<String>()
        ),
        Err(problems) => {
            format!("{problems}{problems:?}{}", problems.warnings.iter().map(|w| w.to_string()).collect::<String>())
        }
    }
}

#[test]
fn a_valid_files_plan_shows_no_secret() {
    let none = |_: &str| None;
    let plan = load(SECRETS, LoadOptions::new("f", &none)).unwrap_or_else(|e| panic!("{e}"));
    let rendered = plan.render_masked();
    assert!(!rendered.contains(MARKER), "{rendered}");
    assert!(rendered.contains("secret_key: <secret>"), "{rendered}");
    for warning in &plan.warnings {
        assert!(!warning.to_string().contains(MARKER), "{warning}");
    }
}

/// Breaks the file at every line in several ways and looks for the marker in what is said.
#[test]
fn however_the_file_is_broken_no_secret_is_shown() {
    let lines: Vec<&str> = SECRETS.lines().collect();
    let breaks: [fn(&str) -> String; 15] = [
        |l| format!("{l} : ["),
        |l| format!(" {l}"),
        |l| l.strip_prefix("  ").unwrap_or(l).to_owned(),
        |l| l.replacen(':', "", 1),
        |l| l.replacen(": ", "x: ", 1),
        |l| format!("{l}\"'"),
        |l| l.replace("s3cr3tMARKER", "'s3cr3tMARKER"),
        |l| l.replace("s3cr3tMARKER", "[{s3cr3tMARKER: s3cr3tMARKER}]"),
        |l| format!("{l}\n{l}"),
        |l| format!("{l} : [ # s3cr3tMARKER"),
        |l| format!("# {} ${{FOO", l.trim_start()),
        |l| format!("{l} # password: s3cr3tMARKER ${{FOO-s3cr3tMARKER}}"),
        |l| format!("{l}\n# s3cr3tMARKER ${{FOO"),
        |l| l.trim_start().to_owned(),
        |l| format!("- {}", l.trim_start()),
    ];
    let mut refused = 0;
    for at in 0..lines.len() {
        for (number, broken) in breaks.iter().enumerate() {
            let text: Vec<String> =
                lines.iter().enumerate().map(|(i, l)| if i == at { broken(l) } else { (*l).to_owned() }).collect();
            let text = text.join("\n");
            // A secret may look like any word, unless it stands in a comment that nothing says it is one.
            let words = text.replace(MARKER, "swordfish");
            for (text, secret) in [(&text, MARKER), (&words, "swordfish")] {
                let said = shown(text);
                refused += usize::from(said.contains("error:"));
                if secret == MARKER || !matches!(number, 9 | 10 | 12) {
                    assert!(
                        !without_plan_debug(&said).contains(secret),
                        "break {number} of line {}:\n{}\n{said}",
                        at + 1,
                        lines[at]
                    );
                }
            }
        }
    }
    assert!(refused > lines.len(), "only {refused} of the broken files are refused");
}

/// Values of variables are secrets too, even where they break the file's form.
#[test]
fn no_variables_value_is_ever_shown() {
    let values = [
        "s3cr3tMARKER: s3cr3tMARKER",
        "x\ns3cr3tMARKER: s3cr3tMARKER",
        "x\n            s3cr3tMARKER: s3cr3tMARKER",
        "x\n            password: s3cr3tMARKER",
        "[s3cr3tMARKER",
        "'s3cr3tMARKER",
        "*s3cr3tMARKER",
        "{s3cr3tMARKER: {s3cr3tMARKER: 1}}",
        "!s3cr3tMARKER x",
        "&s3cr3tMARKER",
        "",
    ];
    let file = "metrics:\n  configs:\n    - name: a\n      remote_write:\n        - url: https://h.example/w\n          basic_auth:\n            username: a\n            password: ${P}\n            # ${P}\n";
    let sigv4 = "metrics:\n  configs:\n    - name: a\n      remote_write:\n        - url: https://aps-workspaces.us-east-1.amazonaws.com/w\n          sigv4:\n            access_key: ${P}\n            secret_key: '${P}'\n            region: ${P}\n            role_arn: ${P}\n            session_name: ${P}\n";
    for value in values {
        let environment = |_: &str| Some(value.to_owned());
        for text in [file, sigv4] {
            for expand_env in [true, false] {
                let said = match load(text, LoadOptions { expand_env, ..LoadOptions::new("f", &environment) }) {
                    Ok(plan) => plan.render_masked(),
                    Err(problems) => format!("{problems}{problems:?}"),
                };
                assert!(!said.contains(MARKER), "{value:?} {expand_env}\n{said}");
            }
        }
    }
}

/// `Debug` of a plan shows URLs as they are (the agent never prints it); its rendering does not.
fn without_plan_debug(said: &str) -> &str {
    if said.starts_with("Plan {") { said.split_once("server:\n").map_or(said, |(_, rendered)| rendered) } else { said }
}
