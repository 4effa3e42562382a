//! `sigpost doctor`: would each destination accept data, and if not, why and what to do.
//!
//! Reads the same plan as `run` and asks the destinations themselves; changes nothing on disk, in a running agent or (without
//! `--write-probe`) at a destination. Keeps true: it ends within about half a minute, with a helper command within the minute
//! that the agent gives it; exit 0 only if every destination that is switched on would accept data (or, with
//! `--unproven-ok`, nothing speaks against it); no secret is printed.

mod answer;
mod arguments;
mod cause;
mod causes;
mod credential_causes;
mod credentials;
#[cfg(test)]
mod document;
mod examine;
mod facts;
mod log_causes;
mod metadata;
mod network;
mod page;
mod probe;
mod proof;
mod report;
mod source_causes;
mod words;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use config::{DestinationPlan, Plan};
use examine::Terms;
use page::Paint;
use report::{Report, Verdict};

pub use arguments::DoctorArgs;

use crate::{command, complaint::complaint};

/// The exit code where nothing refuses, and something could not be shown, or nothing was examined.
const UNPROVEN: u8 = 3;
/// How long stores of secrets may take, all together: a login and a question, each by its own limit of 15 s, so that the store's own
/// words are told.
const STORES: Duration = Duration::from_secs(32);
/// Whoever waits longer for a store is told so, and again each time.
const NEWS: Duration = Duration::from_secs(5);

pub fn run(args: &DoctorArgs) -> ExitCode {
    let Some(file) = args.file() else {
        return command::fail("give a configuration file: sigpost doctor -config.file=agent.yaml");
    };
    // Machines get an answer that they can read whatever is wrong.
    let refuse = |why: &str, problems: &[config::Problem]| {
        if args.json
            && let Err(error) = say(&format!("{:#}\n", report::without_examination(why, problems)))
        {
            command::tell(&format!("the answer cannot be written: {error}"));
        }
        command::fail(why)
    };
    let plan = match command::read_plan(file, args.expand_env, None, false) {
        Ok(plan) => plan,
        Err(unusable) => return refuse(&unusable.to_string(), unusable.problems()),
    };
    for warning in &plan.warnings {
        command::tell(&format!("{warning}\n"));
    }
    let chosen = match choose(&plan, &args.destinations) {
        Ok(chosen) => chosen,
        Err(why) => return refuse(&why, &[]),
    };
    let terms = Terms { write: args.write_probe, config_file: file.display().to_string() };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("starting the runtime: {error}"), &[]),
    };
    let named = !args.destinations.is_empty();
    let reports = runtime.block_on(examine_all(&plan, &chosen, &terms, named));
    // A name server that hangs must not keep the process.
    runtime.shutdown_background();
    let reports = match reports {
        Ok(reports) => reports,
        Err(why) => return refuse(&why, &[]),
    };
    let has = |verdict| reports.iter().any(|r| r.verdict == verdict);
    let nothing = reports.iter().all(|r| r.verdict == Verdict::SwitchedOff);
    let code = if has(Verdict::Refuses) {
        1
    } else if (has(Verdict::Unproven) || nothing) && !args.unproven_ok {
        UNPROVEN
    } else {
        0
    };
    let ok = code == 0;
    let text = if args.json {
        words::plain(&format!("{:#}\n", report::document(&reports, ok)), words::as_json)
    } else {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        page::page(&reports, Paint(colour))
    };
    match say(&text) {
        Ok(()) => ExitCode::from(code),
        Err(error) => command::fail(&format!("the answer cannot be written: {error}")),
    }
}

/// Writes the answer. Whoever closed the pipe has read enough.
fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// The destinations to examine: all, or those that were named.
fn choose<'p>(plan: &'p Plan, names: &[String]) -> Result<Vec<&'p DestinationPlan>, String> {
    let of_metrics = plan.metrics.iter().flat_map(|route| &route.destinations);
    let of_logs = plan.logs.iter().flat_map(|route| &route.destinations);
    let of_traces = plan.traces.iter().flat_map(|route| &route.destinations);
    let all: Vec<&DestinationPlan> = of_metrics.chain(of_logs).chain(of_traces).collect();
    if all.is_empty() {
        return Err(
            "the configuration has no destination: add remote_write to metrics.configs or traces.configs, or clients to logs.configs"
                .to_owned(),
        );
    }
    let known = || all.iter().map(|d| d.config.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|d| d.config.name == **name)) {
        return Err(format!("no destination is named {unknown}; the configuration has: {}", known()));
    }
    Ok(all.into_iter().filter(|d| names.is_empty() || names.contains(&d.config.name)).collect())
}

/// What is still missing afterwards is told by whoever needs it.
async fn wait_for_stores(secrets: &aws::SecretKeeper) {
    let began = tokio::time::Instant::now();
    while began.elapsed() < STORES && !secrets.settled(NEWS.min(STORES.saturating_sub(began.elapsed()))).await {
        let waiting: Vec<String> = secrets
            .status()
            .into_iter()
            .filter(|s| s.read_at.is_none() && s.failures == 0)
            .map(|s| s.reference)
            .collect();
        let (waited, most) = (began.elapsed().as_secs(), STORES.as_secs());
        command::tell(&format!("waiting for the stores of {}: {waited} s of at most {most} s", waiting.join(", ")));
    }
}

async fn examine_all(
    plan: &Plan,
    chosen: &[&DestinationPlan],
    terms: &Terms,
    named: bool,
) -> Result<Vec<Report>, String> {
    let identities = aws::IdentityContext::new(&crate::hostname::of_this_machine())
        .map_err(|error| format!("preparing the AWS clients: {}", complaint(&error)))?;
    let identities = Arc::new(identities);
    // Keeps the plan's stored secrets for as long as the examination lasts.
    let secrets = aws::SecretKeeper::new(Arc::clone(&identities));
    secrets
        .follow(&plan.secret_stores, &plan.stored_secrets)
        .map_err(|error| format!("preparing to read secret stores: {}", complaint(&error)))?;
    wait_for_stores(&secrets).await;
    let each = chosen.iter().map(|plan| {
        let identities = &identities;
        async move {
            // Whoever names a destination wants to know, on or off.
            if plan.enabled || named {
                examine::examine(plan, identities, terms).await
            } else {
                examine::switched_off(plan)
            }
        }
    });
    Ok(futures_util::future::join_all(each).await)
}
