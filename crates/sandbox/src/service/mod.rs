//! The services the sandbox plays, one file each. Adding one: write its file, implement [`Service`], list it in [`ALL`].

mod aps;
mod container;
mod execute_api;
mod instance;
mod json11;
mod logs;
mod loki;
mod other;
mod otlp;
mod prometheus;
mod roles_anywhere;
mod s3;
mod secrets_manager;
mod ssm;
mod streams;
mod sts;
mod vault;
mod xray;

pub(crate) use logs::LogGroups;
pub(crate) use vault::Leases;

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    answer::{ErrorStyle, Reply, ServiceError},
    config::Limits,
    core::Core,
    fault::Partial,
    sigv4::Policy,
    target::Target,
};

/// First one that claims a request serves it; the last one claims every signed request.
pub(crate) const ALL: [&dyn Service; 20] = [
    &execute_api::ExecuteApi,
    &aps::Aps,
    &instance::InstanceMetadata,
    &container::ContainerCredentials,
    &roles_anywhere::RolesAnywhere,
    &secrets_manager::SecretsManager,
    &ssm::ParameterStore,
    &otlp::LOGS,
    &otlp::TRACES,
    &otlp::METRICS,
    &logs::Logs,
    &streams::Firehose,
    &streams::Kinesis,
    &xray::XRay,
    &loki::Loki,
    &vault::Vault,
    &sts::Sts,
    &s3::S3,
    &prometheus::Prometheus,
    &other::Other,
];

/// Largest body, in bytes, of services that take questions and no data. A form of this size has few parameters.
const SMALL_BODY: usize = 256 * 1024;

/// A request, read whole, from a verified caller (or from anyone, for services that take no signature).
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) target: Target,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// `None` only for services that take no signature.
    pub(crate) caller: Option<Caller>,
    pub(crate) now_ms: i64,
    pub(crate) request_id: String,
    /// Which of its records are scripted to fail.
    pub(crate) partial: Option<Partial>,
}

impl Call {
    /// The verified caller's ARN; empty when the service takes no signature.
    pub(crate) fn caller_arn(&self) -> &str {
        self.caller.as_ref().map(|caller| caller.arn.as_str()).unwrap_or_default()
    }
}

/// Who was proved to call.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) access_key_id: String,
    pub(crate) arn: String,
    pub(crate) account_id: String,
    pub(crate) user_id: String,
    pub(crate) region: String,
}

/// What a service did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) reply: Reply,
    /// Samples stored.
    pub(crate) samples: u64,
    /// Who was proved to call, where that shows only during the work (web identity, certificates, tokens).
    pub(crate) caller_arn: Option<String>,
}

impl Done {
    pub(crate) fn new(reply: Reply, samples: u64) -> Self {
        Self { reply, samples, caller_arn: None }
    }

    /// The same, done for a caller that the service proved itself.
    pub(crate) fn by(mut self, caller_arn: impl Into<String>) -> Self {
        self.caller_arn = Some(caller_arn.into());
        self
    }
}

/// What the choice of a policy may depend on.
#[derive(Debug)]
pub(crate) struct Asked<'r> {
    pub(crate) target: &'r Target,
    pub(crate) body: &'r [u8],
    /// The region of the endpoint, if it has one.
    pub(crate) region: Option<String>,
    pub(crate) is_tls: bool,
}

impl From<Reply> for Done {
    fn from(reply: Reply) -> Self {
        Self::new(reply, 0)
    }
}

/// A data plane that is played.
pub(crate) trait Service: Sync {
    /// The signing name, which is also its name in the state and in faults.
    fn name(&self) -> &'static str;

    /// How it writes errors.
    fn style(&self) -> ErrorStyle;

    /// Whether a request is addressed to it.
    fn claims(&self, target: &Target) -> bool;

    /// What the request is addressed to within the service, for the state: a workspace, a bucket, a path.
    fn resource(&self, target: &Target) -> String;

    /// Whether it gives credentials to whoever is on the machine, and so must not be asked by a stranger's name.
    fn gives_to_neighbours(&self) -> bool {
        false
    }

    /// What its signature must satisfy; `None`: it takes no signature.
    fn policy(&self, asked: &Asked<'_>) -> Option<Policy> {
        Some(Policy::common(self.name(), asked.region.clone()))
    }

    /// How it says that a caller sends too much: status, code, message.
    fn throttling(&self) -> (u16, &'static str, &'static str) {
        match self.style() {
            ErrorStyle::S3Xml => (503, "SlowDown", "Please reduce your request rate."),
            ErrorStyle::QueryXml => (400, "Throttling", "Rate exceeded"),
            ErrorStyle::Json11 => (400, "ThrottlingException", "Rate exceeded"),
            ErrorStyle::RestJson | ErrorStyle::Vault | ErrorStyle::Text => {
                (429, "ThrottlingException", "Rate exceeded")
            }
        }
    }

    /// The largest body it takes, in bytes.
    fn body_limit(&self, limits: &Limits) -> usize {
        limits.body
    }

    /// What is wrong with the address, before any signature is looked at.
    ///
    /// # Errors
    /// What the service answers instead.
    fn admit(&self, target: &Target) -> Result<(), ServiceError> {
        let _ = target;
        Ok(())
    }

    /// The action (such as `aps:RemoteWrite`) and the resource's ARN that the caller needs permission for.
    fn action(&self, call: &Call) -> Option<(String, String)>;

    /// Does the work. Runs on a thread that may block.
    ///
    /// # Errors
    /// What the service answers instead.
    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError>;
}

/// The service a request is addressed to.
pub(crate) fn find(target: &Target) -> Option<&'static dyn Service> {
    ALL.into_iter().find(|service| service.claims(target))
}
