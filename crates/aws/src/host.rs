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

/// Longest first, because one ends with another.
const SUFFIXES: &[(&str, Partition, bool)] = &[
    (".api.amazonwebservices.com.cn", Partition::China, true),
    (".amazonaws.com.cn", Partition::China, false),
    (".amazonaws.com", Partition::Aws, false),
    (".amazonaws.eu", Partition::EuropeanSovereign, false),
    (
        ".api.amazonwebservices.eu",
        Partition::EuropeanSovereign,
        true,
    ),
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
        name.strip_suffix(suffix)
            .filter(|rest| !rest.is_empty())
            .map(|rest| (rest, *partition, *dual))
    })?;
    let mut labels: Vec<&str> = rest.split('.').collect();
    let mut host = AwsHost {
        service: None,
        region: None,
        partition,
        fips: false,
        dualstack,
        vpc_endpoint: false,
        s3_style: None,
    };
    if labels.last() == Some(&"vpce") {
        labels.pop();
        host.vpc_endpoint = true;
    }
    match labels.iter().position(|l| is_s3(l)) {
        // A bucket may itself be called `s3` or be followed by one of S3's own labels, so the last one counts.
        Some(_) => s3(&labels, &mut host),
        None => other(&labels, &mut host),
    }
    if host.partition == Partition::Aws
        && host
            .region
            .as_deref()
            .is_some_and(|r| r.starts_with("us-gov-"))
    {
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
    ) || label
        .strip_prefix("s3-")
        .is_some_and(|r| is_region(r.trim_start_matches("fips-")))
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
    host.s3_style = Some(if host.vpc_endpoint || bucket.is_empty() {
        S3Style::Path
    } else {
        S3Style::VirtualHost { bucket }
    });
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
    let plain = label
        .strip_suffix("-fips")
        .or_else(|| label.strip_prefix("fips-"))
        .unwrap_or(label);
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
mod tests {
    use super::*;

    #[test]
    fn host_names_say_service_and_region() {
        let table: &[(&str, Option<&str>, Option<&str>)] = &[
            (
                "aps-workspaces.us-east-1.amazonaws.com",
                Some("aps"),
                Some("us-east-1"),
            ),
            (
                "aps-workspaces-fips.us-gov-west-1.amazonaws.com",
                Some("aps"),
                Some("us-gov-west-1"),
            ),
            (
                "aps-workspaces.eu-west-1.api.aws",
                Some("aps"),
                Some("eu-west-1"),
            ),
            (
                "APS-Workspaces.US-East-1.amazonaws.com.",
                Some("aps"),
                Some("us-east-1"),
            ),
            (
                "logs.us-west-2.amazonaws.com",
                Some("logs"),
                Some("us-west-2"),
            ),
            (
                "logs-fips.us-west-2.amazonaws.com",
                Some("logs"),
                Some("us-west-2"),
            ),
            (
                "logs.ap-southeast-7.api.aws",
                Some("logs"),
                Some("ap-southeast-7"),
            ),
            (
                "firehose.cn-north-1.amazonaws.com.cn",
                Some("firehose"),
                Some("cn-north-1"),
            ),
            (
                "firehose-fips.us-gov-east-1.amazonaws.com",
                Some("firehose"),
                Some("us-gov-east-1"),
            ),
            (
                "kinesis.eu-central-1.amazonaws.com",
                Some("kinesis"),
                Some("eu-central-1"),
            ),
            (
                "123456789012.data-kinesis.us-east-1.amazonaws.com",
                Some("kinesis"),
                Some("us-east-1"),
            ),
            (
                "xray.us-east-2.amazonaws.com",
                Some("xray"),
                Some("us-east-2"),
            ),
            (
                "monitoring.mx-central-1.amazonaws.com",
                Some("monitoring"),
                Some("mx-central-1"),
            ),
            (
                "sts.us-east-1.amazonaws.com",
                Some("sts"),
                Some("us-east-1"),
            ),
            ("sts.amazonaws.com", Some("sts"), Some("us-east-1")),
            (
                "a1b2c3.execute-api.eu-west-2.amazonaws.com",
                Some("execute-api"),
                Some("eu-west-2"),
            ),
            (
                "a1b2c3-vpce-0ab.execute-api.eu-west-2.amazonaws.com",
                Some("execute-api"),
                Some("eu-west-2"),
            ),
            (
                "vpce-0abc-def.aps-workspaces.us-east-1.vpce.amazonaws.com",
                Some("aps"),
                Some("us-east-1"),
            ),
            (
                "vpce-0abc-def-us-east-1a.logs.us-east-1.vpce.amazonaws.com",
                Some("logs"),
                Some("us-east-1"),
            ),
            (
                "vpce-0abc.sts.cn-northwest-1.vpce.amazonaws.com.cn",
                Some("sts"),
                Some("cn-northwest-1"),
            ),
            (
                "bucket.vpce-0abc.s3.us-east-1.vpce.amazonaws.com",
                Some("s3"),
                Some("us-east-1"),
            ),
            ("s3.amazonaws.com", Some("s3"), Some("us-east-1")),
            ("s3.eu-west-3.amazonaws.com", Some("s3"), Some("eu-west-3")),
            ("s3-eu-west-3.amazonaws.com", Some("s3"), Some("eu-west-3")),
            (
                "s3-fips.us-gov-west-1.amazonaws.com",
                Some("s3"),
                Some("us-gov-west-1"),
            ),
            (
                "s3-fips.dualstack.us-east-1.amazonaws.com",
                Some("s3"),
                Some("us-east-1"),
            ),
            (
                "my.dotted.bucket.s3.us-west-1.amazonaws.com",
                Some("s3"),
                Some("us-west-1"),
            ),
            (
                "bucket.s3.dualstack.us-west-1.amazonaws.com",
                Some("s3"),
                Some("us-west-1"),
            ),
            ("bucket.s3-accelerate.amazonaws.com", Some("s3"), None),
            (
                "bucket.s3.cn-north-1.amazonaws.com.cn",
                Some("s3"),
                Some("cn-north-1"),
            ),
            (
                "ap-123456789012.s3-accesspoint.us-east-1.amazonaws.com",
                Some("s3"),
                Some("us-east-1"),
            ),
            (
                "search-d-abc.us-east-1.es.amazonaws.com",
                Some("es"),
                Some("us-east-1"),
            ),
            (
                "abc.us-east-1.aoss.amazonaws.com",
                Some("aoss"),
                Some("us-east-1"),
            ),
            (
                "us-east-2.queue.amazonaws.com",
                Some("sqs"),
                Some("us-east-2"),
            ),
            (
                "abc.lambda-url.us-east-1.on.aws",
                Some("lambda"),
                Some("us-east-1"),
            ),
            (
                "aps-workspaces.eusc-de-east-1.amazonaws.eu",
                Some("aps"),
                Some("eusc-de-east-1"),
            ),
            ("lb-1.us-east-1.elb.amazonaws.com", None, Some("us-east-1")),
        ];
        for (name, service, region) in table {
            let host = parse_host(&Url::parse(&format!("https://{name}/x")).unwrap()).unwrap();
            assert_eq!(
                (host.service.as_deref(), host.region.as_deref()),
                (*service, *region),
                "{name}"
            );
        }
    }

    #[test]
    fn other_hosts_say_nothing() {
        for url in [
            "https://example.com/",
            "https://127.0.0.1:9/",
            "https://[::1]/",
            "https://amazonaws.com/",
            "https://amazonaws.com.evil.example/",
            "https://notamazonaws.com/",
            "https://aps-workspaces.us-east-1.amazonaws.com.example.org/",
        ] {
            assert_eq!(parse_host(&Url::parse(url).unwrap()), None, "{url}");
        }
    }

    #[test]
    fn the_finer_points_of_a_host_are_read() {
        let parse =
            |name: &str| parse_host(&Url::parse(&format!("https://{name}/")).unwrap()).unwrap();
        let bucket = |name: &str| {
            Some(S3Style::VirtualHost {
                bucket: name.to_owned(),
            })
        };
        assert_eq!(
            parse("my.bucket.s3.us-west-1.amazonaws.com").s3_style,
            bucket("my.bucket")
        );
        assert_eq!(
            parse("s3.s3.us-west-1.amazonaws.com").s3_style,
            bucket("s3")
        );
        assert_eq!(
            parse("s3.us-west-1.amazonaws.com").s3_style,
            Some(S3Style::Path)
        );
        assert_eq!(
            parse("bucket.vpce-0.s3.us-west-1.vpce.amazonaws.com").s3_style,
            Some(S3Style::Path)
        );
        assert!(parse("bucket.vpce-0.s3.us-west-1.vpce.amazonaws.com").vpc_endpoint);
        assert!(parse("aps-workspaces-fips.us-east-1.amazonaws.com").fips);
        assert!(parse("s3-fips.dualstack.us-east-1.amazonaws.com").fips);
        assert!(parse("s3-fips.dualstack.us-east-1.amazonaws.com").dualstack);
        assert!(parse("logs.us-east-1.api.aws").dualstack);
        assert_eq!(
            parse("logs.us-gov-west-1.amazonaws.com").partition,
            Partition::GovCloud
        );
        assert_eq!(
            parse("logs.cn-north-1.amazonaws.com.cn").partition,
            Partition::China
        );
    }
}
