//! What a request is addressed to: host, path, query and the service its signature names. No body, no judgement.

use http::{Method, Request};

use crate::sigv4::{claimed_service, decode_query, percent_decode};

/// A request's address, taken apart once.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) method: Method,
    /// `Host` or `:authority` as sent.
    pub(crate) host: String,
    /// The path on the wire.
    pub(crate) path: String,
    /// The query on the wire, without `?`.
    pub(crate) query: String,
    /// What the host name says, if it is one of AWS's.
    pub(crate) aws: Option<AwsHost>,
    /// The signing name in the credential, if the request is signed.
    pub(crate) signed_for: Option<String>,
    /// `X-Amz-Target` of the JSON protocols, such as `Logs_20140328.PutLogEvents`.
    pub(crate) operation: Option<String>,
}

/// `<prefix>.<service>.<region>.amazonaws.com`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AwsHost {
    /// The label before the region, without `-fips`: `aps-workspaces`, `s3`, `sts`.
    pub(crate) service: String,
    /// `us-east-1`; global hosts mean that region too.
    pub(crate) region: String,
    /// What stands before the service: a bucket, a VPC endpoint id, or nothing.
    pub(crate) prefix: String,
}

impl Target {
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let uri = request.uri();
        let host = request
            .headers()
            .get(http::header::HOST)
            .and_then(|value| value.to_str().ok())
            .or_else(|| uri.authority().map(http::uri::Authority::as_str))
            .unwrap_or_default()
            .to_owned();
        let query = uri.query().unwrap_or_default().to_owned();
        Self {
            method: request.method().clone(),
            aws: AwsHost::read(host_name(&host)),
            operation: request
                .headers()
                .get("x-amz-target")
                .and_then(|value| value.to_str().ok())
                .map(|text| text.chars().take(128).collect()),
            signed_for: claimed_service(request.headers(), &query),
            path: uri.path().to_owned(),
            host,
            query,
        }
    }

    /// The host without its port, as sent.
    pub(crate) fn host_name(&self) -> &str {
        host_name(&self.host)
    }

    /// A query parameter, decoded; bytes that are not UTF-8 are replaced.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let (_, value) = decode_query(&self.query).find(|(found, _)| found == name.as_bytes())?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }

    /// The path with its percent-encoding undone; bytes that are not UTF-8 are replaced.
    pub(crate) fn decoded_path(&self) -> String {
        String::from_utf8_lossy(&percent_decode(self.path.as_bytes(), false)).into_owned()
    }

    /// Whether this is the sandbox's own face rather than a service it plays.
    pub(crate) fn is_own(&self) -> bool {
        let is_face =
            matches!(self.path.as_str(), "/" | "/favicon.ico") && matches!(self.method, Method::GET | Method::HEAD);
        (is_face || self.path.starts_with("/_sandbox/")) && self.aws.is_none() && self.signed_for.is_none()
    }
}

impl AwsHost {
    /// Reads a host name without port.
    pub(crate) fn read(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let rest = [".amazonaws.com.cn", ".amazonaws.com", ".api.aws"].iter().find_map(|end| name.strip_suffix(end))?;
        let rest = rest.strip_suffix(".vpce").unwrap_or(rest);
        let mut labels: Vec<&str> = rest.split('.').collect();
        let region = match labels.last() {
            Some(last) if is_region(last) => labels.pop().unwrap_or_default().to_owned(),
            _ => "us-east-1".to_owned(),
        };
        if labels.last() == Some(&"dualstack") {
            labels.pop();
        }
        let service = labels.pop()?;
        let service = service.strip_suffix("-fips").unwrap_or(service).to_owned();
        Some(Self { service, region, prefix: labels.join(".") })
    }
}

/// `us-east-1`, `us-gov-west-1`: letters and dashes, ending in a number.
fn is_region(label: &str) -> bool {
    let mut parts = label.split('-');
    label.matches('-').count() >= 2
        && parts.next_back().is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
        && parts.all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase()))
}

pub(crate) fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_host_names_are_taken_apart() {
        for (name, service, region, prefix) in [
            ("aps-workspaces.us-east-1.amazonaws.com", "aps-workspaces", "us-east-1", ""),
            ("aps-workspaces-fips.us-gov-west-1.amazonaws.com", "aps-workspaces", "us-gov-west-1", ""),
            ("vpce-1-a.aps-workspaces.eu-west-1.vpce.amazonaws.com", "aps-workspaces", "eu-west-1", "vpce-1-a"),
            ("sts.amazonaws.com", "sts", "us-east-1", ""),
            ("s3.dualstack.eu-central-1.amazonaws.com", "s3", "eu-central-1", ""),
            ("my.dotted.bucket.s3.eu-central-1.amazonaws.com", "s3", "eu-central-1", "my.dotted.bucket"),
            ("bucket.s3.amazonaws.com", "s3", "us-east-1", "bucket"),
            ("sts.cn-north-1.amazonaws.com.cn", "sts", "cn-north-1", ""),
            ("logs.us-east-2.api.aws", "logs", "us-east-2", ""),
        ] {
            let want = AwsHost { service: service.to_owned(), region: region.to_owned(), prefix: prefix.to_owned() };
            assert_eq!(AwsHost::read(name), Some(want), "{name}");
        }
        for name in ["127.0.0.1", "amazonaws.com", "amazonaws.com.evil.example", ""] {
            assert_eq!(AwsHost::read(name), None, "{name}");
        }
    }

    #[test]
    fn a_port_is_no_part_of_a_host_name() {
        assert_eq!(host_name("localhost:9009"), "localhost");
        assert_eq!(host_name("[::1]:9009"), "[::1]");
        assert_eq!(host_name("[::1]"), "[::1]");
        assert_eq!(host_name("plain"), "plain");
    }
}
