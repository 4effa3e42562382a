//! References to secrets: `aws-secretsmanager://id#key`, `aws-ssm:///path`, `vault://mount/path#key`.
//!
//! Reads nothing. Keeps true: what parses can be asked for.

use percent_encoding::percent_decode_str;

/// One secret in one store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretReference {
    /// `aws-secretsmanager://NAME-OR-ARN[?region=R&stage=S][#JSON-KEY]`.
    SecretsManager {
        /// Name or ARN.
        id: String,
        /// Default: the ARN's, else the identity's.
        region: Option<String>,
        /// Default `AWSCURRENT`.
        stage: Option<String>,
        json_key: Option<String>,
    },
    /// `aws-ssm:///path/name[?region=R][#JSON-KEY]`; a name may end in `:version` or `:label`.
    Parameter {
        /// With its leading slash, where it has one.
        name: String,
        region: Option<String>,
        json_key: Option<String>,
    },
    /// `vault://MOUNT/PATH#KEY[?kv=1]`.
    Vault {
        mount: String,
        path: String,
        /// May be absent where the secret has one key only.
        key: Option<String>,
        /// The engine's version; `None`: found out.
        version: Option<u8>,
    },
}

impl SecretReference {
    /// `None`: not a reference to a store. An error says what is wrong with one and how it is written.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let (scheme, rest) = text.split_once("://")?;
        let parse: fn(Parts<'_>) -> Result<Self, String> = match scheme {
            "aws-secretsmanager" => secrets_manager,
            "aws-ssm" => parameter,
            "vault" => vault,
            _ => return None,
        };
        Some(Parts::of(rest).and_then(parse))
    }

    /// The member of the stored document that is meant.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::SecretsManager { json_key, .. } | Self::Parameter { json_key, .. } => json_key.as_deref(),
            Self::Vault { key, .. } => key.as_deref(),
        }
    }

    /// The same without its key: references to members of one document are read together, so that they fit together.
    pub(super) fn document(&self) -> Self {
        let mut whole = self.clone();
        match &mut whole {
            Self::SecretsManager { json_key, .. } | Self::Parameter { json_key, .. } => *json_key = None,
            Self::Vault { key, .. } => *key = None,
        }
        whole
    }

    /// True for Secrets Manager and SSM.
    pub fn is_of_aws(&self) -> bool {
        !matches!(self, Self::Vault { .. })
    }
}

struct Parts<'a> {
    name: &'a str,
    key: Option<String>,
    options: Vec<(String, String)>,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, String> {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let (rest, key) = match rest.split_once('#') {
            Some((rest, key)) => (rest, Some(key)),
            None => (rest, None),
        };
        // People write the options on either side of the key.
        let (key, late) = match key.and_then(|k| k.split_once('?')) {
            Some((key, options)) => (Some(key), options),
            None => (key, ""),
        };
        let (name, options) = rest.split_once('?').unwrap_or((rest, ""));
        let options = options.split('&').chain(late.split('&')).filter(|o| !o.is_empty());
        let options = options
            .map(|option| {
                let (name, value) = option.split_once('=').unwrap_or((option, ""));
                if value.is_empty() {
                    return Err(format!("the option `{name}` has no value"));
                }
                Ok((name.to_owned(), decoded(value)))
            })
            .collect::<Result<_, String>>()?;
        if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("a reference has no blanks".to_owned());
        }
        Ok(Self { name, key: key.filter(|k| !k.is_empty()).map(decoded), options })
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.options.iter().position(|(n, _)| n == name)?;
        Some(self.options.remove(at).1)
    }

    fn done(&self, known: &str) -> Result<(), String> {
        match self.options.first() {
            Some((name, _)) => Err(format!("the option `{name}` is not known here; {known}")),
            None => Ok(()),
        }
    }
}

fn checked_region(region: Option<String>) -> Result<Option<String>, String> {
    region.map(|r| crate::region::check("region", &r).map(|()| r).map_err(|e| e.to_string())).transpose()
}

fn secrets_manager(mut parts: Parts<'_>) -> Result<SecretReference, String> {
    let (region, stage) = (parts.take("region"), parts.take("stage"));
    parts.done("there are region and stage")?;
    if parts.name.is_empty() {
        return Err("write aws-secretsmanager://name#key, or the secret's ARN instead of its name".to_owned());
    }
    let id = parts.name.to_owned();
    let of_arn = id.starts_with("arn:").then(|| crate::region::arn_region(&id)).flatten();
    if id.starts_with("arn:") && (!id.contains(":secretsmanager:") || of_arn.is_none()) {
        return Err(
            "this is not the ARN of a secret (arn:aws:secretsmanager:<region>:<account>:secret:<name>)".to_owned()
        );
    }
    let region = checked_region(region)?.or(of_arn);
    Ok(SecretReference::SecretsManager { id, region, stage, json_key: parts.key })
}

fn parameter(mut parts: Parts<'_>) -> Result<SecretReference, String> {
    let region = parts.take("region");
    parts.done("there is region")?;
    if parts.name.trim_matches('/').is_empty() {
        return Err("write aws-ssm:///path/of/the/parameter".to_owned());
    }
    Ok(SecretReference::Parameter { name: parts.name.to_owned(), region: checked_region(region)?, json_key: parts.key })
}

fn vault(mut parts: Parts<'_>) -> Result<SecretReference, String> {
    let version = match parts.take("kv").as_deref() {
        None => None,
        Some("1") => Some(1),
        Some("2") => Some(2),
        Some(_) => return Err("kv is 1 or 2".to_owned()),
    };
    parts.done("there is kv")?;
    let is_safe = |name: &str| name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    match parts.name.trim_end_matches('/').split_once('/') {
        Some((mount, path)) if is_safe(mount) && is_safe(path) => {
            Ok(SecretReference::Vault { mount: mount.to_owned(), path: path.to_owned(), key: parts.key, version })
        }
        _ => Err("write vault://mount/path#key, such as vault://secret/agent#password".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> SecretReference {
        SecretReference::parse(text).unwrap().unwrap()
    }

    #[test]
    fn names_arns_keys_stages_and_regions_are_read() {
        let arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/agent-AbCdEf";
        assert_eq!(
            parsed(&format!("aws-secretsmanager://{arn}#password")),
            SecretReference::SecretsManager {
                id: arn.to_owned(),
                region: Some("eu-west-1".to_owned()),
                stage: None,
                json_key: Some("password".to_owned())
            }
        );
        assert_eq!(
            parsed("aws-secretsmanager://prod/agent?stage=AWSPREVIOUS&region=us-east-1"),
            SecretReference::SecretsManager {
                id: "prod/agent".to_owned(),
                region: Some("us-east-1".to_owned()),
                stage: Some("AWSPREVIOUS".to_owned()),
                json_key: None
            }
        );
        assert_eq!(
            parsed("aws-ssm:///prod/agent/token:3"),
            SecretReference::Parameter { name: "/prod/agent/token:3".to_owned(), region: None, json_key: None }
        );
        assert_eq!(
            parsed("vault://kv/team/agent#pass%20word?kv=1"),
            SecretReference::Vault {
                mount: "kv".to_owned(),
                path: "team/agent".to_owned(),
                key: Some("pass word".to_owned()),
                version: Some(1)
            }
        );
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused_with_its_form() {
        for (text, words) in [
            ("aws-secretsmanager://", "aws-secretsmanager://name"),
            ("aws-secretsmanager://arn:aws:s3:::bucket", "ARN of a secret"),
            ("aws-secretsmanager://a?stgae=x", "`stgae` is not known"),
            ("aws-secretsmanager://a?region=US East", "region's code"),
            ("aws-secretsmanager://a b", "blanks"),
            ("aws-secretsmanager://a?region=us-east-1a", "availability zone"),
            ("aws-ssm:///", "aws-ssm:///path"),
            ("vault://kv", "vault://mount/path"),
            ("vault://kv/../sys#x", "vault://mount/path"),
            ("vault://kv/a?kv=3", "1 or 2"),
        ] {
            let error = SecretReference::parse(text).unwrap().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        for text in ["https://x", "plain", "env://X", "file:///x", "://"] {
            assert!(SecretReference::parse(text).is_none(), "{text}");
        }
    }
}
