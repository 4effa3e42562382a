//! `sigpost dry-run`: what each stage does to a line is printed; nothing is sent and nothing is written.

use std::{fs, process::Stdio};

use anyhow::{Context, Result};
use e2e::{agent::command, peers};

const CONFIG: &str = "logs:
  configs:
    - name: default
      positions: {filename: '{dir}/positions.yaml'}
      clients: [{name: loki, url: 'http://127.0.0.1:9/loki/api/v1/push'}]
      scrape_configs:
        - job_name: app
          static_configs:
            - labels: {job: app, __path__: '{dir}/app.log'}
          pipeline_stages:
            - json: {expressions: {level: , at: time, msg: }}
            - labels: {level: }
            - timestamp: {source: at, format: RFC3339}
            - match: {selector: '{level=\"debug\"}', action: drop, drop_counter_reason: noise}
            - replace: {expression: 'password=(\\S+)', source: msg, replace: '***'}
            - output: {source: msg}
        - job_name: traces
          static_configs:
            - labels: {job: traces, __path__: '{dir}/traces.log'}
          pipeline_stages:
            - multiline: {firstline: '^\\S'}
";

fn prepare() -> Result<tempfile::TempDir> {
    let dir = tempfile::TempDir::new()?;
    fs::write(dir.path().join("agent.yaml"), CONFIG.replace("{dir}", &dir.path().display().to_string()))?;
    fs::write(
        dir.path().join("app.log"),
        "{\"time\":\"2026-01-02T03:04:05Z\",\"level\":\"info\",\"msg\":\"login password=hunter2 ok\"}\n{\"level\":\"debug\",\"msg\":\"x\"}\nno json\n",
    )?;
    fs::write(dir.path().join("traces.log"), "Error: one\n  at a\n  at b\nError: two\n")?;
    Ok(dir)
}

#[test]
fn every_stage_says_what_it_did() -> Result<()> {
    let dir = prepare()?;
    let (code, said) = command(&["dry-run", "agent.yaml"], &[], dir.path())?;
    assert_eq!(code, Some(0), "{said}");
    for expected in [
        "pipeline_stages[0].json: extracted",
        "pipeline_stages[1].labels: label level=\"info\"",
        "pipeline_stages[2].timestamp: time 2026-01-02T03:04:05Z",
        "pipeline_stages[3].match: not for this line",
        "pipeline_stages[3].match: dropped (noise)",
        "line \"login password=*** ok\"",
        "level=\"info\"} 2026-01-02T03:04:05Z login password=*** ok",
        "pipeline_stages[0].multiline: held back",
        "line \"Error: one\\n  at a\\n  at b\"",
        "held back to here, then sent: ",
        "would go to loki",
        "nothing was sent",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    let mut left: Vec<_> = fs::read_dir(dir.path())?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    left.sort();
    assert_eq!(left, ["agent.yaml", "app.log", "traces.log"], "something was written");
    Ok(())
}

#[test]
fn lines_of_standard_input_go_through_the_stages_of_every_job() -> Result<()> {
    let dir = prepare()?;
    let mut child = std::process::Command::new(peers::sigpost()?)
        .args(["dry-run", "--stdin", "agent.yaml"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    std::io::Write::write_all(
        &mut child.stdin.take().context("its input")?,
        b"{\"level\":\"warn\",\"msg\":\"given\"}\n",
    )?;
    let out = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}");
    assert!(said.contains("standard input as {job=\"app\"}") && said.contains("label level=\"warn\""), "{said}");
    assert!(said.contains("standard input as {job=\"traces\"}") && !said.contains("Error: one"), "{said}");
    Ok(())
}

#[test]
fn encodings_and_the_longest_line_are_shown_as_the_agent_has_them() -> Result<()> {
    let config = "logs:
  configs:
    - name: default
      positions: {filename: '{dir}/positions.yaml'}
      limits_config: {max_line_size: 12, max_line_size_truncate: CUT}
      clients: [{name: loki, url: 'http://127.0.0.1:9/loki/api/v1/push'}]
      scrape_configs:
        - job_name: wide
          encoding: utf-16
          static_configs: [{labels: {job: wide, __path__: '{dir}/wide.log'}}]
          pipeline_stages: [{json: {expressions: {a: }}}]
";
    let dir = tempfile::TempDir::new()?;
    let wide = "\u{feff}gr\u{fc}n\na line that is too long\n".encode_utf16().flat_map(u16::to_le_bytes);
    fs::write(dir.path().join("wide.log"), wide.collect::<Vec<u8>>())?;
    for (cut, told) in [("false", "dropped (line_too_long)"), ("true", "a line that \n")] {
        let text = config.replace("{dir}", &dir.path().display().to_string()).replace("CUT", cut);
        fs::write(dir.path().join("agent.yaml"), text)?;
        let (code, said) = command(&["dry-run", "agent.yaml"], &[], dir.path())?;
        assert_eq!(code, Some(0), "{said}");
        let why = "it has 23 bytes, and max_line_size is 12";
        for expected in ["> gr\u{fc}n", told, why, "pipeline_stages[0].json: cannot read it (not_json)"] {
            assert!(said.contains(expected), "{expected}\n{said}");
        }
    }
    Ok(())
}

#[test]
fn traces_are_named_as_what_is_not_shown() -> Result<()> {
    let dir = prepare()?;
    let traces = "traces:
  configs:
    - name: default
      receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:0'}}}}
      remote_write: [{endpoint: 'http://127.0.0.1:9/v1/traces', protocol: http}]
";
    let said = "traces.configs is not shown: it collects nothing, its receivers wait for what others send";
    for (config, told) in [(traces.to_owned(), true), (format!("{CONFIG}{traces}"), true), (CONFIG.to_owned(), false)] {
        let config = config.replace("{dir}", &dir.path().display().to_string());
        fs::write(dir.path().join("agent.yaml"), config)?;
        let (code, text) = command(&["dry-run", "agent.yaml"], &[], dir.path())?;
        assert_eq!((code, text.lines().any(|line| line == said)), (Some(0), told), "{text}");
    }
    Ok(())
}
