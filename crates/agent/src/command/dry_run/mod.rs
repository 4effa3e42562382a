//! `sigpost dry-run FILE`: takes in once and prints what would be sent where. Nothing is sent, no position is written.
//!
//! Keeps true: the agent's own directories are not touched; no destination is contacted; no secret is printed.

mod logs;
mod metrics;

use std::{borrow::Cow, path::PathBuf, process::ExitCode};

use clap::Parser;
use config::DestinationPlan;

use crate::{command, complaint::complaint};

/// `sigpost dry-run FILE`.
#[derive(Debug, Parser)]
#[command(about = "Take in once and print what would be sent where; send nothing.")]
pub struct DryRunArgs {
    /// The configuration file.
    pub file: PathBuf,
    /// Replace ${VAR} by the environment's value first.
    #[arg(long = "config.expand-env", visible_alias = "expand-env", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub expand_env: bool,
    /// Lines of each log file to show.
    #[arg(long, default_value_t = 5)]
    pub lines: usize,
    /// Sample series of each job to show.
    #[arg(long, default_value_t = 5)]
    pub series: usize,
    /// Take log lines from standard input instead of from the files; every job sees them.
    #[arg(long)]
    pub stdin: bool,
}

pub fn run(args: &DryRunArgs) -> ExitCode {
    let plan = match command::load(&args.file, args.expand_env, None, false) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return command::fail(&format!("starting the runtime: {error}")),
    };
    let outcome = runtime.block_on(async {
        for route in &plan.metrics {
            metrics::show(route, args.series).await?;
        }
        let given = if args.stdin { Some(logs::standard_input()?) } else { None };
        for route in &plan.logs {
            logs::show(route, args.lines, given.as_deref()).await?;
        }
        anyhow::Ok(())
    });
    if !plan.traces.is_empty() {
        println!("traces.configs is not shown: it collects nothing, its receivers wait for what others send");
    } else if plan.metrics.is_empty() && plan.logs.is_empty() {
        println!("nothing is collected: the file has no metrics.configs and no logs.configs");
    }
    println!("nothing was sent");
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => command::fail(&complaint(error.as_ref())),
    }
}

/// Where a route's data would go.
fn destination(plan: &DestinationPlan) -> String {
    let config = &plan.config;
    let at = config.endpoint_url.as_ref().map(|at| format!(" at {}", net::masked(at))).unwrap_or_default();
    let signed = if plan.identity.is_some() { ", signed" } else { "" };
    let paused = if plan.enabled { "" } else { ", not enabled" };
    format!("{}: {} to {}{at}{signed}{paused}", config.name, config.protocol.name(), net::masked(&config.url))
}

/// `{a="b", c="d"}`.
fn braces<'l>(labels: impl Iterator<Item = (&'l str, &'l str)>) -> String {
    let pairs: Vec<String> = labels.map(|(name, value)| format!("{}={value:?}", shown(name))).collect();
    shown(&format!("{{{}}}", pairs.join(", "))).into_owned()
}

/// Text of others as a terminal may have it: what would move its cursor, colour it or turn its direction is written as `\u{1b}`.
fn shown(text: &str) -> Cow<'_, str> {
    let acts = |c: char| {
        (c.is_control() && c != '\t')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::{braces, shown};

    #[test]
    fn what_acts_on_a_terminal_is_escaped_and_text_is_not() {
        assert_eq!(shown("grüße\t日本"), "grüße\t日本");
        assert_eq!(
            shown("a\u{1b}[31mb\u{9b}2J\u{7f}\r\u{202e}c\u{2066}"),
            r"a\u{1b}[31mb\u{9b}2J\u{7f}\u{d}\u{202e}c\u{2066}"
        );
        assert_eq!(braces([("a\u{1b}", "\u{1b}]0;x\u{202e}")].into_iter()), r#"{a\u{1b}="\u{1b}]0;x\u{202e}"}"#);
    }
}
