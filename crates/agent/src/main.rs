//! The binary `sigpost`: reads the command line and hands over to one command.
//!
//! Installs what belongs to the whole process (the TLS provider); decides nothing else. The allocator is the system's:
//! docs/ARCHITECTURE.md says why.

mod cli;
mod command;
mod complaint;
mod exposition;
mod hostname;
mod house;
mod http;
mod identity_metrics;
mod lanes;
mod ledger_metrics;
mod load_metrics;
mod logging;
mod process_metrics;
mod stored_secrets;
mod supervisor;

use std::process::ExitCode;

fn main() -> ExitCode {
    heap::few_arenas();
    net::install_crypto_provider();
    match cli::parse() {
        cli::Invocation::Run(flags) => command::run::run(*flags),
        cli::Invocation::Check(args) => command::check::run(&args),
        cli::Invocation::Sandbox(args) => command::sandbox::run(args),
        cli::Invocation::Replay(args) => command::replay::run(args),
        cli::Invocation::Queue(args) => command::queue::run(&args),
        cli::Invocation::DryRun(args) => command::dry_run::run(&args),
        cli::Invocation::Doctor(args) => command::doctor::run(&args),
        cli::Invocation::Version => {
            println!("sigpost {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}
