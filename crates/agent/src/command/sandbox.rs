//! `sigpost sandbox`: the local AWS stand-in in the foreground.

use std::process::ExitCode;

use anyhow::Context;
use sandbox::{Authority, Identity, ObjectStorage, ProxyListener, SampleRules, SandboxConfig, World};

use crate::{cli::SandboxArgs, command, complaint::complaint};

pub fn run(args: SandboxArgs) -> ExitCode {
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => command::fail(&format!("sandbox: {}", complaint(error.as_ref()))),
    }
}

fn start(args: SandboxArgs) -> anyhow::Result<()> {
    let proxy = match args.proxy {
        Some(listen) => {
            let authority = Authority::generate()?;
            if let Some(path) = &args.ca_out {
                std::fs::write(path, authority.certificate_pem())?;
            }
            Some(ProxyListener { listen, authority, hosts: Vec::new() })
        }
        None => None,
    };
    let world = match &args.world {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            World::from_json(&text).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?
        }
        None => World::default(),
    };
    let config = SandboxConfig {
        listen: args.listen,
        names: args.names,
        identities: vec![Identity::user(args.access_key, args.secret_key)],
        record: args.record,
        region: args.region,
        world,
        sample_rules: args.amp_sample_rules.then_some(SampleRules::AMP),
        objects: args.objects.map_or(ObjectStorage::Memory, ObjectStorage::Directory),
        proxy,
        ..SandboxConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(sandbox::run(config, |running| println!("{}", running.welcome()), command::run::stop_signal()))?;
    Ok(())
}
