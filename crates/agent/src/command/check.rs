//! `sigpost check FILE`: the effective plan with secrets masked, or every problem.

use std::process::ExitCode;

use crate::{cli::CheckArgs, command};

pub fn run(args: &CheckArgs) -> ExitCode {
    match command::load(&args.file, args.expand_env, None, false) {
        Ok(plan) => {
            print!("{}", plan.render_masked());
            for warning in &plan.warnings {
                command::fail(&format!("\n{warning}"));
            }
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}
