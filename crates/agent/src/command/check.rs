//! `sigpost check FILE`: the effective plan with secrets masked, or every problem; with `--diff` what a start or reload with
//! the file does to what waits in the queue.
//!
//! Reads the file and the queue's directory; changes nothing.

mod clients;
mod diff;

use std::process::ExitCode;

use crate::{cli::CheckArgs, command};

/// Exit code: the file is good, and what waits for a destination that it does not name would be given up.
const GIVES_UP: u8 = 3;

pub fn run(args: &CheckArgs) -> ExitCode {
    let plan = match command::load(&args.file, args.expand_env, args.wal_directory.as_deref(), false) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    print!("{}", plan.render_masked());
    for warning in &plan.warnings {
        command::fail(&format!("\n{warning}"));
    }
    for complaint in clients::complaints(&plan) {
        command::tell(&format!("\n{complaint}"));
    }
    if !args.diff {
        return ExitCode::SUCCESS;
    }
    match diff::Diff::of(&plan) {
        Ok(diff) => {
            print!("\n{diff}");
            ExitCode::from(if diff.gives_up() { GIVES_UP } else { 0 })
        }
        Err(why) => command::fail(&why),
    }
}
