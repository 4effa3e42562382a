//! docs/reference/agent.md and the program know the same flags, commands and paths.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result};
use e2e::agent::{Agent, command};

fn page() -> Result<String> {
    Ok(std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/agent.md"))?)
}

/// What stands under the heading, up to the next one.
fn part<'a>(page: &'a str, heading: &str) -> Result<&'a str> {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).with_context(|| format!("no heading {heading:?}"))?;
    Ok(rest.split("\n## ").next().unwrap_or(rest))
}

/// Code spans that begin with `start`.
fn spans<'a>(text: &'a str, start: &str) -> BTreeSet<&'a str> {
    text.split('`').skip(1).step_by(2).filter(|s| s.starts_with(start)).collect()
}

/// Rows of a table and what comes before the sentence on flags without effect; and what comes behind it.
fn flags(page: &str) -> Result<(&str, &str)> {
    part(page, "Flags")?.split_once("Accepted and of no effect").context("no sentence on flags without effect")
}

#[test]
fn the_help_and_the_page_name_the_same_flags_and_commands() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (code, help) = command(&["-help"], &[], dir.path())?;
    assert_eq!(code, Some(0), "{help}");
    let word = |w: &str| w.trim_end_matches([',', ']', '[']).split(['[', '=']).next().unwrap_or_default().to_owned();
    let helped: BTreeSet<String> =
        help.split_whitespace().filter_map(|w| w.strip_prefix("--")).map(|w| format!("-{}", word(w))).collect();
    let page = page()?;
    let described: BTreeSet<String> = spans(flags(&page)?.0, "-").into_iter().map(str::to_owned).collect();
    assert!(described.len() > 10, "the table was not read: {described:?}");
    assert_eq!(helped, described, "left: the program's help; right: the page");

    let commands = part(&page, "Commands")?;
    for line in help.lines().filter_map(|l| l.strip_prefix("  sigpost ")) {
        let name = line.split_whitespace().next().unwrap_or_default();
        assert!(commands.contains(&format!("`sigpost {name}")), "the page does not name {name}");
    }
    for name in spans(commands, "sigpost ").iter().filter_map(|s| s.split_whitespace().nth(1)) {
        let (code, printed) = match name.starts_with('-') {
            true => continue,
            false => command(&[name, "--help"], &[], dir.path())?,
        };
        assert_eq!(code, Some(0), "{name}: {printed}");
        assert!(printed.contains(&format!("Usage: sigpost {name}")), "{name} is no command: {printed}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_without_effect_are_taken_and_named_and_every_path_answers() -> Result<()> {
    let page = page()?;
    let (named, silent) = flags(&page)?.1.split_once("Accepted in silence").context("no sentence on silent flags")?;
    let named = spans(named, "-");
    let silent = spans(silent, "-");
    assert!(named.len() > 20 && silent.len() > 2, "the lists were not read: {named:?} {silent:?}");

    let mut agent = Agent::prepare("metrics: {configs: [{name: default, scrape_configs: []}]}")?
        .with_flag("-config.enable-read-api");
    for flag in &named {
        agent = agent.with_flag(&format!("{flag}=1"));
    }
    for flag in &silent {
        let value = if *flag == "-config.file.type" { "yaml" } else { "true" };
        agent = agent.with_flag(&format!("{flag}={value}"));
    }
    agent.start_ready().await?;
    let log = agent.log();
    let line = log.lines().find(|l| l.contains("change nothing")).with_context(|| log.clone())?;
    let told: BTreeSet<&str> = line.split(['"', ' ', '=']).filter(|w| w.starts_with('-')).collect();
    assert_eq!(told, named, "left: what the log names; right: the page");

    let paths = spans(part(&page, "HTTP")?, "/");
    let mut asked = 0;
    for path in paths.iter().filter(|p| **p != "/agent/") {
        agent.get(path).await.with_context(|| format!("the page promises {path}"))?;
        asked += 1;
    }
    assert!(asked >= 9, "the table was not read: {paths:?}");
    agent.stop()
}
