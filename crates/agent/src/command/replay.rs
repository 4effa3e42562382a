//! `sigpost replay`: posts archived objects to a remote-write endpoint, with a progress line on a terminal.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use config::{DestinationPlan, Plan};
use net::Authorize;
use remote_write::{ObjectSource, ProtocolConfig, ReplayConfig, ReplayProgress, replay};
use tokio_util::sync::CancellationToken;

use crate::{cli::ReplayArgs, command, complaint::complaint, stored_secrets::StoredSecrets};

pub fn run(args: ReplayArgs) -> ExitCode {
    let plan = match command::load(&args.config_file, args.expand_env, None, false) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return command::fail(&format!("starting the runtime: {error}")),
    };
    let resumes = args.progress.exists();
    match runtime.block_on(post(&args, &plan)) {
        // Resumed with nothing new is a success; a first run that finds nothing was given the wrong place.
        Ok(end) if end.found == 0 && !resumes => command::fail(
            "replay: there are no objects there; check the bucket, the prefix (the path of the S3 destination's url) or the directory",
        ),
        Ok(end) => {
            println!(
                "replayed {} objects, {} bytes: {} samples delivered, {} refused; {} objects were unreadable",
                end.objects, end.bytes, end.delivered, end.rejected, end.unreadable
            );
            ExitCode::SUCCESS
        }
        Err(error) => command::fail(&format!("replay: {}", complaint(error.as_ref()))),
    }
}

async fn post(args: &ReplayArgs, plan: &Plan) -> Result<ReplayProgress> {
    let identities =
        aws::IdentityContext::new(&crate::hostname::of_this_machine()).context("preparing the AWS clients")?;
    let to = destination(plan, &args.to)?;
    let _secrets = StoredSecrets::of(plan).await?;
    let config = ReplayConfig {
        source: source(plan, &args.from, &identities)?,
        destination: to.config.clone(),
        authorize: authorize(to, &identities)?,
        progress_file: Some(args.progress.clone()),
    };
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        command::run::stop_signal().await;
        stopper.cancel();
    });
    let terminal = std::io::stderr().is_terminal();
    let mut said = String::new();
    let mut report = |progress: &ReplayProgress| {
        if terminal {
            let mut err = std::io::stderr();
            let _ = err.write_all(progress.bar().as_bytes()).and_then(|()| err.flush());
        } else if let Some(why) = progress.waiting.as_ref().filter(|why| **why != said) {
            said.clone_from(why);
            command::fail(&format!("waiting: {why}"));
        }
    };
    let end = replay(config, &mut report, stop).await;
    if terminal {
        let _ = writeln!(std::io::stderr());
    }
    if !args.progress.exists() {
        return Ok(end?);
    }
    end.with_context(|| format!("run the same command again to go on (progress is in {})", args.progress.display()))
}

fn source(plan: &Plan, from: &str, identities: &aws::IdentityContext) -> Result<ObjectSource> {
    if let Some(found) = find(plan, from) {
        if !matches!(found.config.protocol, ProtocolConfig::S3 { .. }) {
            bail!("{from} is a remote-write endpoint; objects come from an S3 destination or a directory");
        }
        return Ok(ObjectSource::S3 {
            url: found.config.url.clone(),
            endpoint_url: found.config.endpoint_url.clone(),
            client: Box::new(found.config.client.clone()),
            authorize: authorize(found, identities)?,
        });
    }
    let path = PathBuf::from(from);
    if path.is_dir() {
        return Ok(ObjectSource::Directory(path));
    }
    bail!("{from} is neither a directory nor the name of an S3 destination; the configuration has: {}", names(plan))
}

fn authorize(plan: &DestinationPlan, identities: &aws::IdentityContext) -> Result<Option<Arc<dyn Authorize>>> {
    let config = &plan.config;
    let build = |block| aws::build(block, &config.url, plan.default_service, &config.name, identities);
    let identity =
        plan.identity.as_ref().map(build).transpose().with_context(|| format!("destination {}", config.name))?;
    Ok(identity.map(|i| i as Arc<dyn Authorize>))
}

fn destination<'a>(plan: &'a Plan, name: &str) -> Result<&'a DestinationPlan> {
    find(plan, name).with_context(|| format!("no destination is named {name}; the configuration has: {}", names(plan)))
}

fn find<'a>(plan: &'a Plan, name: &str) -> Option<&'a DestinationPlan> {
    plan.metrics.iter().flat_map(|r| &r.destinations).find(|d| d.config.name == name)
}

fn names(plan: &Plan) -> String {
    let names: Vec<&str> = plan.metrics.iter().flat_map(|r| &r.destinations).map(|d| d.config.name.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
