//! What is known of a case and fills the texts of causes: names, files, accounts, instead of placeholders.
//!
//! Asks nobody. Keeps true: no secret is among them; what is not known stays a word in capitals.

use aws::{CredentialSource, ProfilePlace};
use config::DestinationPlan;
use net::{HttpAuth, Pem, Survey};
use remote_write::{ProtocolConfig, logs::LogProtocol};

use super::{answer, cause::Facts, examine::Terms, network, report::Report, words};

/// What texts of causes may name.
pub fn known(plan: &DestinationPlan, terms: &Terms, report: &Report) -> Facts {
    let target = plan.config.endpoint_url.as_ref().unwrap_or(&plan.config.url);
    let mut facts = network::facts_of(target);
    facts.insert("path", plan.config.url.path().to_owned());
    facts.insert("name", plan.config.name.clone());
    facts.insert("config", terms.config_file.clone());
    facts.insert("bucket", answer::bucket(&plan.config).0);
    if let Some(offset) = report.offset_ms {
        facts.insert("offset", words::offset(offset));
    }
    if let Some(proxy) = report.survey.as_ref().and_then(|s: &Survey| s.proxy.as_ref()) {
        facts.insert("proxy", proxy.url.clone());
    }
    if let Some(HttpAuth::OAuth2(oauth2)) = &plan.config.client.auth {
        facts.insert("token_url", net::masked(&oauth2.token_url));
    }
    of_protocol(&plan.config.protocol, &mut facts);
    if let Some(block) = &plan.identity {
        of_source(&block.source, &mut facts);
        if let CredentialSource::RolesAnywhere(config) = &block.source
            && let Ok(asked) = config.asked_at(&block.sts)
        {
            facts.insert("anywhere", net::masked(&asked));
        }
    }
    if let Some(account) = account(plan, report) {
        facts.insert("account", account);
    }
    let Some(identity) = &report.identity else { return facts };
    facts.insert("service", identity.service.clone());
    if let Some(key) = &identity.access_key_id {
        facts.insert("key", key.clone());
    }
    if let Some(explanation) = &identity.explanation {
        if let Some((region, origin)) = &explanation.region {
            facts.insert("region", region.clone());
            facts.insert("region_origin", origin.to_string());
        }
        if let Some(caller) = &explanation.caller {
            facts.insert("source", caller.source.clone());
        }
        if let Some(sts) = &explanation.sts_endpoint {
            facts.insert("sts", sts.clone());
        }
    }
    if let Some(Ok(caller)) = &identity.caller {
        facts.insert("caller", caller.arn.clone());
        facts.insert("principal", words::principal(&caller.arn));
    }
    facts
}

/// The account that is written to, as far as the caller's own or a role's tells.
pub fn account(plan: &DestinationPlan, report: &Report) -> Option<String> {
    if let Some(Ok(caller)) = report.identity.as_ref().and_then(|identity| identity.caller.as_ref()) {
        return Some(caller.account.clone());
    }
    let block = plan.identity.as_ref()?;
    let of_source = match &block.source {
        CredentialSource::WebIdentity { role_arn, .. } => Some(role_arn.as_str()),
        CredentialSource::RolesAnywhere(config) => Some(config.role_arn.as_str()),
        _ => None,
    };
    let arn = block.roles.last().map(|role| role.role_arn.as_str()).or(of_source)?;
    arn.split(':').nth(4).filter(|account| account.len() == 12).map(str::to_owned)
}

fn of_protocol(protocol: &ProtocolConfig, facts: &mut Facts) {
    let ProtocolConfig::Logs(protocol) = protocol else { return };
    if let Some((group, stream)) = group_and_stream(protocol) {
        facts.insert("log_group_prefix", group.split('{').next().unwrap_or_default().to_owned());
        facts.insert("log_group", group);
        facts.insert("log_stream", stream);
    }
    match protocol {
        LogProtocol::Firehose(of) => {
            facts.insert("stream", of.delivery_stream.clone());
        }
        LogProtocol::Kinesis(of) => {
            facts.insert("stream", of.stream_name.clone());
        }
        _ => {}
    }
}

/// `log_group` and `log_stream` as they are written.
pub fn group_and_stream(protocol: &LogProtocol) -> Option<(String, String)> {
    let (group, stream) = match protocol {
        LogProtocol::CloudWatch(of) => (&of.log_group, &of.log_stream),
        LogProtocol::Otlp(of) => (of.log_group.as_ref()?, of.log_stream.as_ref()?),
        _ => return None,
    };
    Some((group.text().to_owned(), stream.text().to_owned()))
}

/// The text with `*` for everything in braces, as policies are written.
pub fn starred(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        out.push('*');
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    out + rest
}

fn of_source(source: &CredentialSource, facts: &mut Facts) {
    if let CredentialSource::InstanceMetadata { endpoint: Some(endpoint) } = source {
        facts.insert("endpoint", net::masked(endpoint).trim_end_matches('/').to_owned());
    } else if matches!(source, CredentialSource::InstanceMetadata { .. } | CredentialSource::StandardChain) {
        facts.insert("endpoint", "http://169.254.169.254".to_owned());
    }
    if let CredentialSource::RolesAnywhere(config) = source {
        facts.insert("trust_anchor", config.trust_anchor_arn.clone());
        facts.insert("anywhere_profile", config.profile_arn.clone());
        for (name, pem) in [("certificate", &config.certificate), ("private_key", &config.private_key)] {
            if let Pem::File(path) = pem {
                facts.insert(name, path.display().to_string());
            }
        }
        facts.insert("role", config.role_arn.clone());
        facts.insert("role_name", words::role_name(&config.role_arn));
    }
    let Some(place) = ProfilePlace::of(source) else { return };
    for (name, path) in [("config_file", &place.config_file), ("credentials_file", &place.credentials_file)] {
        if let Some(path) = path {
            facts.insert(name, path.display().to_string());
        }
    }
    let section = if place.name == "default" { "[default]".to_owned() } else { format!("[profile {}]", place.name) };
    facts.insert("section", section);
    facts.insert("profile", place.name);
}

/// Why a permission could not be shown without storing data, and how it can be.
pub fn of_open_permission(service: &str) -> [(&'static str, &'static str); 3] {
    let (why, how, policy) = match service {
        "firehose" => (
            "Firehose has no request that asks for firehose:PutRecordBatch and keeps nothing: a batch without records is refused before \
             anybody looks at the policy.",
            "run doctor with --write-probe: it puts one real line into the delivery stream",
            "deploy/iam/logs-firehose.json",
        ),
        "kinesis" => (
            "The word DryRun, by which Kinesis tells the permission alone, is sent to AWS's own host names only: who does not know it would \
             store the record.",
            "run doctor with --write-probe: it puts one real line into the stream",
            "deploy/iam/logs-kinesis.json",
        ),
        "logs" => (
            "The log group or stream is not there yet and is made with the first line; CloudWatch Logs has no request that asks for that \
             permission and makes nothing.",
            "run doctor with --write-probe: it makes what is missing and writes one line, as the agent would",
            "deploy/iam/logs-cloudwatch.json",
        ),
        "s3" => (
            "With sse: aws:kms S3 asks KMS for a data key in this identity's name, and only for a whole object.",
            "run doctor with --write-probe: it stores one object of one byte under the prefix",
            "deploy/iam/s3-archive.json",
        ),
        _ => (
            "The service has no request that asks for this permission and keeps nothing.",
            "run doctor with --write-probe: it stores one real sample, line or object",
            "deploy/iam",
        ),
    };
    [("why_open", why), ("how_to_show", how), ("policy", policy)]
}
