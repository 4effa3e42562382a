//! The command line: Grafana Agent's flags, one dash or two, and sigpost's own commands.
//!
//! Keeps true: a file or unit that starts Grafana Agent in static mode starts this; an unknown flag is a usage error (exit 2).

use std::{ffi::OsString, path::PathBuf};

use clap::{ArgAction, Parser};

/// What the first words ask for.
#[derive(Debug)]
pub enum Invocation {
    Run(Box<RunFlags>),
    Check(CheckArgs),
    Sandbox(SandboxArgs),
    Replay(ReplayArgs),
    Queue(QueueArgs),
    Doctor(crate::command::doctor::DoctorArgs),
    DryRun(crate::command::dry_run::DryRunArgs),
    Version,
}

/// Reads the process arguments; prints usage and exits on `-help` (0) and on mistakes (2).
pub fn parse() -> Invocation {
    parse_from(std::env::args_os().collect()).unwrap_or_else(|e| e.exit())
}

fn parse_from(args: Vec<OsString>) -> Result<Invocation, clap::Error> {
    let command = args.get(1).and_then(|a| a.to_str()).unwrap_or_default().to_owned();
    let tail = || {
        let name = OsString::from(format!("sigpost {command}"));
        std::iter::once(name).chain(two_dashes(args.iter().skip(2).cloned().collect()))
    };
    match command.as_str() {
        "check" | "check-config" => CheckArgs::try_parse_from(bare_file(tail().collect())).map(Invocation::Check),
        "sandbox" => SandboxArgs::try_parse_from(tail()).map(Invocation::Sandbox),
        "replay" => ReplayArgs::try_parse_from(tail()).map(Invocation::Replay),
        "queue" => QueueArgs::try_parse_from(tail()).map(Invocation::Queue),
        // Takes the agent's own flags, with one dash as with two.
        "doctor" => {
            crate::command::doctor::DoctorArgs::try_parse_from(two_dashes(tail().collect())).map(Invocation::Doctor)
        }
        "dry-run" => {
            crate::command::dry_run::DryRunArgs::try_parse_from(bare_file(tail().collect())).map(Invocation::DryRun)
        }
        "version" => Ok(Invocation::Version),
        _ => {
            let flags = RunFlags::try_parse_from(two_dashes(args))?;
            Ok(if flags.version { Invocation::Version } else { Invocation::Run(Box::new(flags)) })
        }
    }
}

/// Lets the agent's own command line serve for a command that takes the file without a flag.
fn bare_file(args: Vec<OsString>) -> Vec<OsString> {
    let bare = |arg: OsString| match arg.to_str() {
        // The value is the next argument.
        Some("--config.file") => None,
        Some(text) => Some(text.strip_prefix("--config.file=").map(OsString::from).unwrap_or(arg)),
        None => Some(arg),
    };
    args.into_iter().filter_map(bare).collect()
}

/// Go's `flag` package takes `-name`; clap takes `--name`.
fn two_dashes(args: Vec<OsString>) -> Vec<OsString> {
    args.into_iter()
        .map(|arg| match arg.to_str() {
            Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => {
                format!("-{text}").into()
            }
            _ => arg,
        })
        .collect()
}

/// `sigpost -config.file=agent.yaml [...]`.
#[derive(Debug, Parser)]
#[command(
    name = "sigpost",
    about = "A telemetry agent that signs what it posts.",
    after_help = "Commands:\n  sigpost check FILE     validate a configuration and print the effective plan, secrets masked\n  \
                  sigpost doctor FILE    ask each destination whether it would accept data; why not, and what to do\n  \
                  sigpost dry-run FILE   take in once and print what would be sent where; send nothing\n  \
                  sigpost sandbox        a local AWS stand-in that verifies signatures and shows what arrived\n  \
                  sigpost replay         post archived objects to a remote-write endpoint\n  \
                  sigpost queue          show what waits on disk (inspect DIR), check it for damage (verify DIR)\n\n\
                  Flags are those of Grafana Agent's static mode; one dash or two.",
    disable_version_flag = true,
    // As Go's flag package: of a flag given twice the last one counts (packages append CUSTOM_ARGS to their own).
    args_override_self = true
)]
pub struct RunFlags {
    /// Configuration file (YAML).
    #[arg(long = "config.file", value_name = "FILE", required_unless_present = "version")]
    pub config_file: Option<PathBuf>,
    /// Only `yaml`.
    #[arg(long = "config.file.type", default_value = "yaml", value_parser = ["yaml"], hide = true)]
    pub config_file_type: String,
    /// Replace ${VAR} in the file by the environment's value before reading it.
    #[arg(long = "config.expand-env", action = ArgAction::Set, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub expand_env: bool,
    /// Serve the effective configuration, secrets masked, at /-/config.
    #[arg(long = "config.enable-read-api", action = ArgAction::Set, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub enable_read_api: bool,
    /// Comma list: extra-scrape-metrics (others are accepted and have no effect).
    #[arg(long = "enable-features", default_value = "", value_delimiter = ',')]
    pub enable_features: Vec<String>,
    /// Accepted; sigpost never reports anything to anyone.
    #[arg(long = "disable-reporting", action = ArgAction::Set, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide = true)]
    pub disable_reporting: bool,
    #[arg(long = "disable-support-bundle", action = ArgAction::Set, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide = true)]
    pub disable_support_bundle: bool,
    /// Data directory of all signals (wins over metrics.wal_directory).
    #[arg(long = "metrics.wal-directory", visible_alias = "prometheus.wal-directory", value_name = "DIR")]
    pub wal_directory: Option<PathBuf>,
    /// Address of the HTTP API.
    #[arg(long = "server.http.address", default_value = "127.0.0.1:12345", value_name = "HOST:PORT")]
    pub http_address: String,
    /// Serve the HTTP API over TLS (server.http_tls_config names the files).
    #[arg(long = "server.http.enable-tls", visible_alias = "server.http.tls-enabled", action = ArgAction::Set, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub http_enable_tls: bool,
    /// Most open HTTP connections; 0 = no limit.
    #[arg(long = "server.http.conn-limit", default_value_t = 0)]
    pub http_conn_limit: usize,
    /// How long requests, and what is still unsent, may take to finish after SIGTERM.
    #[arg(long = "server.graceful-shutdown-timeout", default_value = "30s", value_parser = duration)]
    pub graceful_shutdown_timeout: std::time::Duration,
    /// Serve /metrics.
    #[arg(long = "server.register-instrumentation", action = ArgAction::Set, value_parser = go_bool, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true")]
    pub register_instrumentation: bool,
    #[arg(long = "version", action = ArgAction::SetTrue)]
    pub version: bool,
    #[command(flatten)]
    pub accepted: AcceptedFlags,
}

impl RunFlags {
    /// `-enable-features=extra-scrape-metrics`.
    pub fn extra_scrape_metrics(&self) -> bool {
        self.enable_features.iter().any(|f| f.trim().eq_ignore_ascii_case("extra-scrape-metrics"))
    }

    /// What else was given there.
    pub fn unknown_features(&self) -> impl Iterator<Item = &str> {
        let known = |f: &str| f.is_empty() || f.eq_ignore_ascii_case("extra-scrape-metrics");
        self.enable_features.iter().map(|f| f.trim()).filter(move |f| !known(f))
    }
}

macro_rules! accepted_flags {
    ($($field:ident = $name:literal),* $(,)?) => {
        /// Flags that Grafana Agent knows and that change nothing here; accepted so that unit files keep working.
        #[derive(Debug, clap::Args)]
        pub struct AcceptedFlags {
            $(#[arg(long = $name, hide = true, num_args = 0..=1, default_missing_value = "true")] pub $field: Option<String>,)*
        }

        impl AcceptedFlags {
            /// The ones given, for a line in the log.
            pub fn given(&self) -> Vec<&'static str> {
                let mut given = Vec::new();
                $(if self.$field.is_some() { given.push(concat!("-", $name)); })*
                given
            }
        }
    };
}

accepted_flags! {
    wal_cleanup_age = "metrics.wal-cleanup-age",
    wal_cleanup_period = "metrics.wal-cleanup-period",
    instance_restart_backoff = "metrics.instance-restart-backoff",
    basic_auth_user = "config.url.basic-auth-user",
    basic_auth_password_file = "config.url.basic-auth-password-file",
    http_network = "server.http.network",
    http_read_timeout = "server.http.read-timeout",
    http_write_timeout = "server.http.write-timeout",
    http_idle_timeout = "server.http.idle-timeout",
    http_in_memory_addr = "server.http.in-memory-addr",
    grpc_address = "server.grpc.address",
    grpc_network = "server.grpc.network",
    grpc_enable_tls = "server.grpc.enable-tls",
    grpc_conn_limit = "server.grpc.conn-limit",
    grpc_max_recv = "server.grpc.max-recv-msg-size-bytes",
    grpc_max_send = "server.grpc.max-send-msg-size-bytes",
    grpc_max_streams = "server.grpc.max-concurrent-streams",
    grpc_idle = "server.grpc.keepalive.max-connection-idle",
    grpc_age = "server.grpc.keepalive.max-connection-age",
    grpc_age_grace = "server.grpc.keepalive.max-connection-age-grace",
    grpc_time = "server.grpc.keepalive.time",
    grpc_timeout = "server.grpc.keepalive.timeout",
    grpc_min_pings = "server.grpc.keepalive.min-time-between-pings",
    grpc_ping_idle = "server.grpc.keepalive.ping-without-stream-allowed",
    grpc_in_memory_addr = "server.grpc.in-memory-addr",
    log_source_ips = "server.log.source-ips.enabled",
    log_source_ips_header = "server.log.source-ips.header",
    log_source_ips_regex = "server.log.source-ips.regex",
    legacy_http_port = "server.http-listen-port",
    legacy_http_address = "server.http-listen-address",
    legacy_grpc_port = "server.grpc-listen-port",
    legacy_grpc_address = "server.grpc-listen-address",
}

/// `sigpost check FILE`.
#[derive(Debug, Parser)]
#[command(about = "Validate a configuration and print the effective plan, secrets masked. Exit 1 on problems.")]
pub struct CheckArgs {
    pub file: PathBuf,
    /// Replace ${VAR} by the environment's value first.
    #[arg(long = "config.expand-env", visible_alias = "expand-env", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub expand_env: bool,
    /// Also say what a start or reload with this file does to what waits in the queue; exit code 3 if it gives anything up.
    #[arg(long)]
    pub diff: bool,
    /// Data directory, as the agent is given it.
    #[arg(long = "metrics.wal-directory", visible_alias = "prometheus.wal-directory", value_name = "DIR")]
    pub wal_directory: Option<PathBuf>,
}

/// `sigpost sandbox`.
#[derive(Debug, Parser)]
#[command(about = "A local AWS stand-in on loopback that verifies signatures and shows what arrived.")]
pub struct SandboxArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9009")]
    pub listen: std::net::SocketAddr,
    /// A further host name by which the page, the control API and the metadata services may be asked (may be repeated).
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// Access key id that is accepted.
    #[arg(long, default_value = sandbox::Identity::EXAMPLE_KEY_ID)]
    pub access_key: String,
    /// Its secret (not a real one: it is compared, and shown to nobody).
    #[arg(long, default_value = sandbox::Identity::EXAMPLE_SECRET)]
    pub secret_key: String,
    /// Remember every sample received, for exact comparison (memory grows).
    #[arg(long)]
    pub record: bool,
    /// Keep S3 objects under this directory instead of in memory.
    #[arg(long, value_name = "DIR")]
    pub objects: Option<PathBuf>,
    /// Refuse samples that Amazon Managed Prometheus would refuse: older than 1 h, or out of order by more than 60 s.
    #[arg(long)]
    pub amp_sample_rules: bool,
    /// The only signing region accepted where the host names none; default: any.
    #[arg(long)]
    pub region: Option<String>,
    /// A JSON file with roles, token issuers, trust anchors, instance, containers and secrets (docs/reference/sandbox.md).
    #[arg(long, value_name = "FILE")]
    pub world: Option<PathBuf>,
    /// Also play AWS's own host names behind an HTTPS proxy at this address.
    #[arg(long)]
    pub proxy: Option<std::net::SocketAddr>,
    /// Where the proxy's throwaway CA certificate is written (give it to clients by SSL_CERT_FILE).
    #[arg(long, requires = "proxy")]
    pub ca_out: Option<PathBuf>,
}

/// `sigpost replay`.
#[derive(Debug, Parser)]
#[command(
    about = "Post archived objects (S3 or a local directory) to a remote-write endpoint, in order; can be resumed."
)]
pub struct ReplayArgs {
    /// Configuration whose destinations supply identity and transport.
    #[arg(long = "config.file", visible_alias = "config")]
    pub config_file: PathBuf,
    /// Replace ${VAR} by the environment's value first.
    #[arg(long = "config.expand-env", visible_alias = "expand-env")]
    pub expand_env: bool,
    /// Where the objects are: the name of an S3 destination of the configuration, or a directory.
    #[arg(long)]
    pub from: String,
    /// The remote-write destination (by name) that receives them.
    #[arg(long)]
    pub to: String,
    /// Remembers how far it came; run again with the same file to resume.
    #[arg(long, default_value = "replay.progress")]
    pub progress: PathBuf,
}

/// `sigpost queue`.
#[derive(Debug, Parser)]
#[command(about = "Look at the queue on disk. Nothing is changed, whether the agent runs or not.")]
pub struct QueueArgs {
    #[command(subcommand)]
    pub question: QueueQuestion,
}

/// What is asked of the queue.
#[derive(Debug, clap::Subcommand)]
pub enum QueueQuestion {
    /// Lanes, segments, positions, and the book of each destination.
    Inspect(QueueDirectory),
    /// The same, and every frame is read and checked. Exit 1 if anything is damaged.
    Verify(QueueDirectory),
}

/// Where, and how to print.
#[derive(Debug, clap::Args)]
pub struct QueueDirectory {
    /// The agent's data directory, or the queue's own directory in it.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// The spellings of Go's `strconv.ParseBool`.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    config::parse_duration(text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<Invocation, clap::Error> {
        parse_from(std::iter::once("sigpost").chain(args.iter().copied()).map(OsString::from).collect())
    }

    #[test]
    fn one_dash_two_dashes_and_separate_values_mean_the_same() {
        for args in [
            vec!["-config.file=a.yaml", "-config.expand-env"],
            vec!["--config.file", "a.yaml", "--config.expand-env=true"],
            vec!["-config.file", "a.yaml", "-config.expand-env"],
        ] {
            let Ok(Invocation::Run(flags)) = run(&args) else { panic!("{args:?}") };
            assert_eq!(flags.config_file.as_deref(), Some(std::path::Path::new("a.yaml")));
            assert!(flags.expand_env);
        }
    }

    #[test]
    fn commands_take_their_flags_with_one_dash_too() {
        let Ok(Invocation::Check(args)) = run(&["check", "-config.expand-env", "a.yaml"]) else { panic!() };
        assert!(args.expand_env);
        for file in [vec!["-config.file=a.yaml"], vec!["--config.file", "a.yaml"], vec!["a.yaml"]] {
            let flags = [file, vec!["-config.expand-env=true"]].concat();
            let Ok(Invocation::Check(args)) = run(&[vec!["check"], flags.clone()].concat()) else {
                panic!("{flags:?}")
            };
            assert!(args.expand_env && args.file == std::path::Path::new("a.yaml"));
            let Ok(Invocation::DryRun(args)) = run(&[vec!["dry-run"], flags].concat()) else { panic!() };
            assert!(args.expand_env && args.file == std::path::Path::new("a.yaml"));
        }
        let args = ["replay", "-config.file=a.yaml", "-from=archive", "-to=amp"];
        assert!(matches!(run(&args), Ok(Invocation::Replay(_))));
    }

    #[test]
    fn truth_values_and_repeated_flags_are_read_as_go_reads_them() {
        for (text, expected) in [("1", true), ("T", true), ("TRUE", true), ("0", false), ("f", false), ("False", false)]
        {
            let Ok(Invocation::Run(flags)) = run(&["-config.file=a", &format!("-config.expand-env={text}")]) else {
                panic!("{text}")
            };
            assert_eq!(flags.expand_env, expected, "{text}");
        }
        assert_eq!(run(&["-config.file=a", "-config.expand-env=yes"]).unwrap_err().exit_code(), 2);
        let twice = ["-config.file=a", "-server.http.address=:1", "-config.file=b", "-server.http.address=:2"];
        let Ok(Invocation::Run(flags)) = run(&twice) else { panic!() };
        assert_eq!(flags.config_file.as_deref(), Some(std::path::Path::new("b")));
        assert_eq!(flags.http_address, ":2");
    }

    #[test]
    fn a_unit_file_of_the_distribution_packages_starts() {
        let args = [
            "-config.file=/etc/grafana-agent.yaml",
            "-server.http.address=127.0.0.1:9090",
            "-server.grpc.address=127.0.0.1:9091",
        ];
        let Ok(Invocation::Run(flags)) = run(&args) else { panic!() };
        assert_eq!(flags.http_address, "127.0.0.1:9090");
        assert_eq!(flags.accepted.given(), ["-server.grpc.address"]);
    }

    #[test]
    fn unknown_flags_are_usage_errors_with_exit_code_2() {
        assert_eq!(run(&["-config.fil=a"]).unwrap_err().exit_code(), 2);
        assert_eq!(run(&[]).unwrap_err().exit_code(), 2);
        assert_eq!(run(&["-help"]).unwrap_err().exit_code(), 0);
        assert!(matches!(run(&["-version"]), Ok(Invocation::Version)));
    }

    #[test]
    fn a_boolean_takes_an_explicit_false() {
        let Ok(Invocation::Run(flags)) = run(&["-config.file=a", "-server.register-instrumentation=false"]) else {
            panic!()
        };
        assert!(!flags.register_instrumentation);
    }
}
