//! Reads what an AWS host name says: service, region, partition, FIPS, dual stack, VPC endpoint, S3 style.
//!
//! Looks nothing up. Keeps true: a host that is not AWS's gives `None`, so that nothing is guessed for it.

use url::{Host, Url};

/// What an AWS host name says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsHost {
    /// Signing name, such as `aps` for `aps-workspaces`.
    pub service: Option<String>,
    /// Signing region, where the name tells.
    pub region: Option<String>,
    /// Which AWS it is; credentials of one partition are unknown in the others.
    pub partition: Partition,
    pub fips: bool,
    pub dualstack: bool,
    /// An interface endpoint of a VPC (`vpce-...`).
    pub vpc_endpoint: bool,
    /// For S3: where the bucket's name is.
    pub s3_style: Option<S3Style>,
}

/// A separate AWS, with its own accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    Aws,
    China,
    GovCloud,
    EuropeanSovereign,
    Isolated,
}

/// Where the bucket's name is in an S3 URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Style {
    /// First in the host name.
    VirtualHost {
        /// The bucket, or the access point's alias and account.
        bucket: String,
    },
    /// First in the path.
    Path,
}

/// Why S3 has no bucket of this name, if it cannot: completes the sentence "the bucket's name ...". What requests may name in a
/// bucket's place (access points' aliases, directory buckets) is fine too. Source:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>.
pub fn bucket_fault(name: &str) -> Option<&'static str> {
    let bytes = name.as_bytes();
    let is_edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let is_inside = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    if bytes.len() < 3 {
        Some("is too short: it has 3 to 63 characters")
    } else if bytes.len() > 63 {
        Some("is too long: it has 3 to 63 characters")
    } else if bytes.iter().any(u8::is_ascii_uppercase) {
        Some("has a capital letter; there are small ones only")
    } else if bytes.contains(&b'_') {
        Some("has an underscore; there are small letters, digits, hyphens and dots only")
    } else if !bytes.iter().all(is_inside) {
        Some("has a character that is none of small letters, digits, hyphens and dots")
    } else if !is_edge(bytes.first()) || !is_edge(bytes.last()) {
        Some("begins or ends with a hyphen or a dot; a letter or a digit stands there")
    } else if name.contains("..") {
        Some("has two dots in a row")
    } else if name.parse::<std::net::Ipv4Addr>().is_ok() {
        Some("looks like an IP address")
    } else if ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|reserved| name.starts_with(reserved)) {
        Some("begins with what S3 keeps for itself (xn--, sthree-, amzn-s3-demo-)")
    } else {
        None
    }
}

/// Longest first, because one ends with another.
const SUFFIXES: &[(&str, Partition, bool)] = &[
    (".api.amazonwebservices.com.cn", Partition::China, true),
    (".amazonaws.com.cn", Partition::China, false),
    (".amazonaws.com", Partition::Aws, false),
    (".amazonaws.eu", Partition::EuropeanSovereign, false),
    (".api.amazonwebservices.eu", Partition::EuropeanSovereign, true),
    (".api.aws", Partition::Aws, true),
    (".on.aws", Partition::Aws, false),
    (".c2s.ic.gov", Partition::Isolated, false),
    (".sc2s.sgov.gov", Partition::Isolated, false),
];

/// Reads a URL's host. `None` when it is not a host name of AWS.
pub fn parse_host(url: &Url) -> Option<AwsHost> {
    let Some(Host::Domain(name)) = url.host() else {
        return None;
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let (rest, partition, dualstack) = SUFFIXES.iter().find_map(|(suffix, partition, dual)| {
        name.strip_suffix(suffix).filter(|rest| !rest.is_empty()).map(|rest| (rest, *partition, *dual))
    })?;
    let mut labels: Vec<&str> = rest.split('.').collect();
    let mut host =
        AwsHost { service: None, region: None, partition, fips: false, dualstack, vpc_endpoint: false, s3_style: None };
    if labels.last() == Some(&"vpce") {
        labels.pop();
        host.vpc_endpoint = true;
    }
    match labels.iter().position(|l| is_s3(l)) {
        // A bucket may itself be called `s3` or be followed by one of S3's own labels, so the last one counts.
        Some(_) => s3(&labels, &mut host),
        None => other(&labels, &mut host),
    }
    if host.partition == Partition::Aws && host.region.as_deref().is_some_and(|r| r.starts_with("us-gov-")) {
        host.partition = Partition::GovCloud;
    }
    Some(host)
}

fn is_s3(label: &str) -> bool {
    matches!(
        label,
        "s3" | "s3-fips"
            | "s3-accelerate"
            | "s3-accesspoint"
            | "s3-accesspoint-fips"
            | "s3-external-1"
            | "s3-object-lambda"
    ) || label.strip_prefix("s3-").is_some_and(|r| is_region(r.trim_start_matches("fips-")))
}

fn s3(labels: &[&str], host: &mut AwsHost) {
    host.service = Some("s3".to_owned());
    let Some(at) = labels.iter().rposition(|l| is_s3(l)) else {
        return;
    };
    let (before, from) = labels.split_at(at);
    let Some((own, after)) = from.split_first() else {
        return;
    };
    host.fips = own.contains("fips");
    host.dualstack |= after.contains(&"dualstack");
    if *own == "s3-object-lambda" {
        host.service = Some("s3-object-lambda".to_owned());
    }
    host.region = after
        .iter()
        .find(|l| is_region(l))
        .map(|l| (*l).to_owned())
        .or_else(|| {
            own.strip_prefix("s3-")
                .map(|r| r.trim_start_matches("fips-"))
                .filter(|r| is_region(r))
                .map(ToOwned::to_owned)
        })
        // The global name and this oldest alias are served by us-east-1; acceleration says nothing.
        .or_else(|| matches!(*own, "s3" | "s3-external-1").then(|| "us-east-1".to_owned()));
    let bucket = before.join(".");
    // `bucket.vpce-...` is a fixed word there, and the bucket's name is in the path.
    host.s3_style =
        Some(if host.vpc_endpoint || bucket.is_empty() { S3Style::Path } else { S3Style::VirtualHost { bucket } });
}

fn other(labels: &[&str], host: &mut AwsHost) {
    let Some(at) = labels.iter().rposition(|l| is_region(l)) else {
        // Global endpoints sign for us-east-1 (their partition's first region elsewhere).
        if let [only] = labels
            && matches!(*only, "sts" | "iam" | "organizations" | "route53")
        {
            host.service = Some((*only).to_owned());
            let region = match host.partition {
                Partition::China => "cn-north-1",
                _ => "us-east-1",
            };
            host.region = Some(region.to_owned());
        }
        return;
    };
    let (before, from) = labels.split_at(at);
    let (Some(region), after) = (from.first(), from.get(1..).unwrap_or_default()) else {
        return;
    };
    host.region = Some((*region).to_owned());
    // OpenSearch and the oldest SQS names put the service after the region.
    let label = match after.last() {
        Some(last) => Some(*last),
        None => before.last().copied(),
    };
    let Some(label) = label else { return };
    let plain = label.strip_suffix("-fips").or_else(|| label.strip_prefix("fips-")).unwrap_or(label);
    host.fips = plain != label;
    host.service = match plain {
        "elb" => None,
        "aps-workspaces" => Some("aps"),
        "stream-logs" | "streaming-logs" => Some("logs"),
        "data-kinesis" | "control-kinesis" => Some("kinesis"),
        "queue" => Some("sqs"),
        "lambda-url" => Some("lambda"),
        other => Some(other),
    }
    .map(ToOwned::to_owned);
}

/// True for the shape of a region's name: `us-east-1`, `us-gov-west-1`, `ap-southeast-7`, `eusc-de-east-1`.
fn is_region(label: &str) -> bool {
    let parts: Vec<&str> = label.split('-').collect();
    let [first, middle @ .., last] = parts.as_slice() else {
        return false;
    };
    let letters = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase());
    (2..=4).contains(&first.len())
        && letters(first)
        && (1..=3).contains(&middle.len())
        && middle.iter().all(|m| letters(m))
        && (1..=2).contains(&last.len())
        && last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests;
