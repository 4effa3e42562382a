//! The part of AWS that stands around the data planes: roles, token issuers, certificate authorities, machines, secrets.
//!
//! Plain values with JSON names, the same for Rust, for `--world` and for the control API. It checks shape only. Keeps
//! true: secrets never show in `Debug`; an item with a known name replaces the one that had it.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use net::Secret;
use serde::Deserialize;

use crate::{
    arn::{Arn, is_account},
    identity::matches_pattern,
    jwt::Jwks,
    order::{hushed, hushed_secret},
    refusal::shown,
};

/// Most items of one kind.
const MOST: usize = 1000;

/// Everything the sandbox knows besides access keys. Items are found by their ARN, URL, token or name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct World {
    /// Roles that can be assumed.
    pub roles: Vec<Role>,
    /// OpenID Connect providers whose tokens `AssumeRoleWithWebIdentity` (and Vault's Kubernetes login) verify.
    pub issuers: Vec<TokenIssuerTrust>,
    /// IAM Roles Anywhere trust anchors.
    pub trust_anchors: Vec<TrustAnchor>,
    /// IAM Roles Anywhere profiles.
    pub profiles: Vec<AnywhereProfile>,
    /// The EC2 instance whose metadata service is played; none: the service answers like an instance without a role.
    pub instance: Option<Instance>,
    /// Containers whose credentials endpoint is played.
    pub containers: Vec<Container>,
    /// Secrets Manager.
    pub secrets: Vec<StoredSecret>,
    /// SSM parameters.
    pub parameters: Vec<Parameter>,
    /// HashiCorp Vault; none: it is not played.
    pub vault: Option<VaultWorld>,
    /// Kinesis data streams; none named: every stream exists.
    pub streams: Vec<String>,
    /// Firehose streams; none named: every stream exists, active, of the source Direct PUT.
    pub delivery_streams: Vec<DeliveryStream>,
}

/// A Firehose stream.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryStream {
    /// Its name.
    pub name: String,
    /// `DirectPut`, `KinesisStreamAsSource`, ...
    #[serde(default = "direct_put")]
    pub source: String,
    /// `ACTIVE`, `CREATING`, ...
    #[serde(default = "active")]
    pub state: String,
}

/// An IAM role.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// `arn:aws:iam::ACCOUNT:role/NAME`.
    pub arn: String,
    /// Who may assume it: any one entry that matches is enough.
    #[serde(default)]
    pub trust: Vec<Trust>,
    /// Allowed actions; `*` stands for any run of characters.
    #[serde(default = "everything")]
    pub allow: Vec<String>,
    /// Denied actions; they win over `allow`.
    #[serde(default)]
    pub deny: Vec<String>,
    /// The longest session it gives, in seconds.
    #[serde(default = "an_hour")]
    pub max_session_s: u32,
}

/// One statement of a role's trust policy. Exactly one of `aws`, `federated`, `service` says who.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// A user's, role's or session's ARN, an account (its id or `arn:aws:iam::ID:root`), or `*`.
    pub aws: Option<String>,
    /// The URL of a token issuer.
    pub federated: Option<String>,
    /// `ec2.amazonaws.com`, `ecs-tasks.amazonaws.com`, `pods.eks.amazonaws.com`, `rolesanywhere.amazonaws.com`.
    pub service: Option<String>,
    /// The external id that must be given.
    pub external_id: Option<String>,
    /// The audience a token must have; `*` stands for any run of characters.
    pub audience: Option<String>,
    /// The subject a token must have; `*` stands for any run of characters.
    pub subject: Option<String>,
    /// For Roles Anywhere: the trust anchor the certificate must come from.
    pub source_arn: Option<String>,
    /// For Roles Anywhere: the common name the certificate must have; `*` stands for any run of characters.
    pub common_name: Option<String>,
}

/// A token issuer as IAM knows it: an OpenID Connect provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenIssuerTrust {
    /// The `iss` of its tokens.
    pub url: String,
    /// Its public keys, as a JSON Web Key Set.
    pub jwks: Jwks,
    /// The audiences (client ids) registered with IAM.
    #[serde(default = "sts_audience")]
    pub audiences: Vec<String>,
}

/// A Roles Anywhere trust anchor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustAnchor {
    /// `arn:aws:rolesanywhere:REGION:ACCOUNT:trust-anchor/ID`.
    pub arn: String,
    /// PEM certificates of the authority.
    pub certificate_pem: String,
    /// False: sessions are refused.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// A Roles Anywhere profile.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnywhereProfile {
    /// `arn:aws:rolesanywhere:REGION:ACCOUNT:profile/ID`.
    pub arn: String,
    /// The roles it may give.
    pub roles: Vec<String>,
    /// The longest session, and the one given when none is asked for, in seconds.
    #[serde(default = "an_hour")]
    pub duration_s: u32,
    /// False: sessions are refused.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether callers may name their sessions.
    #[serde(default)]
    pub accepts_session_name: bool,
}

/// An EC2 instance, as its metadata service tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// The role of its instance profile.
    pub role_arn: String,
    /// `i-0123456789abcdef0`.
    #[serde(default = "instance_id")]
    pub instance_id: String,
    /// Its availability zone without the letter.
    #[serde(default = "us_east_1")]
    pub region: String,
}

/// A container, as the credentials endpoint of ECS or of EKS Pod Identity knows it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// `/v1/credentials` (EKS Pod Identity, told apart by token) or `/v2/credentials/ID` (ECS).
    #[serde(default = "pod_path")]
    pub path: String,
    /// What the `Authorization` header must hold; none: nothing (ECS on its link-local address).
    #[serde(default, deserialize_with = "hushed_secret")]
    pub token: Option<Secret>,
    /// The role it gets.
    pub role_arn: String,
    /// The session's name.
    #[serde(default = "container_session")]
    pub session_name: String,
}

/// A secret of Secrets Manager: the present version and the one before.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredSecret {
    /// Its name.
    pub name: String,
    /// `AWSCURRENT` as text.
    #[serde(default, deserialize_with = "hushed_secret")]
    pub value: Option<Secret>,
    /// `AWSCURRENT` as base64 of bytes, instead of `value`.
    #[serde(default, deserialize_with = "hushed_secret")]
    pub binary: Option<Secret>,
    /// `AWSPREVIOUS`. Filled in by itself when a secret is replaced.
    #[serde(default, deserialize_with = "hushed_secret")]
    pub previous: Option<Secret>,
    /// Twelve digits.
    #[serde(default = "own_account")]
    pub account_id: String,
    /// Marked for deletion: reading it is an error.
    #[serde(default)]
    pub deleted: bool,
}

/// A parameter of SSM's Parameter Store.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// `/path/name`.
    pub name: String,
    /// Its value.
    #[serde(deserialize_with = "required_secret")]
    pub value: Secret,
    /// `SecureString` (the default), `String` or `StringList`.
    #[serde(default = "secure_string")]
    pub kind: String,
    /// Counts up by itself when a parameter is replaced.
    #[serde(default = "one")]
    pub version: u64,
}

/// A Vault server with its key-value mounts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VaultWorld {
    /// A token that may read everything and does not end.
    #[serde(deserialize_with = "hushed_secret")]
    pub token: Option<Secret>,
    /// The only namespace answered for; none: the header is not looked at.
    pub namespace: Option<String>,
    /// Mount -> version of its key-value engine, 1 or 2.
    pub mounts: BTreeMap<String, u8>,
    /// `mount/path` -> fields.
    #[serde(deserialize_with = "hushed_tree")]
    pub secrets: BTreeMap<String, BTreeMap<String, Secret>>,
    /// How long a token from a login lives, in seconds.
    pub token_ttl_s: u32,
    /// AppRole logins: role id -> secret id.
    #[serde(deserialize_with = "hushed_map")]
    pub app_roles: BTreeMap<String, Secret>,
    /// Kubernetes logins: role -> the subject its token must have, `*` allowed; the token's issuer must be known.
    pub kubernetes_roles: BTreeMap<String, String>,
    /// AWS IAM logins: role -> the caller's ARN, `*` allowed.
    pub aws_roles: BTreeMap<String, String>,
    /// What `X-Vault-AWS-IAM-Server-ID` must hold, signed, in AWS IAM logins.
    pub aws_server_id: Option<String>,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}
fn sts_audience() -> Vec<String> {
    vec!["sts.amazonaws.com".to_owned()]
}
fn an_hour() -> u32 {
    3600
}
fn yes() -> bool {
    true
}
fn one() -> u64 {
    1
}
fn us_east_1() -> String {
    "us-east-1".to_owned()
}
fn instance_id() -> String {
    "i-0123456789abcdef0".to_owned()
}
fn pod_path() -> String {
    "/v1/credentials".to_owned()
}
fn container_session() -> String {
    "sandbox-container".to_owned()
}
fn direct_put() -> String {
    "DirectPut".to_owned()
}
fn active() -> String {
    "ACTIVE".to_owned()
}
fn own_account() -> String {
    "000000000000".to_owned()
}
fn secure_string() -> String {
    "SecureString".to_owned()
}

fn required_secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    hushed_secret(deserializer)?.ok_or_else(|| serde::de::Error::custom("a value is required, as text"))
}

/// A text that is read without ever being quoted.
struct Hushed(Secret);

impl<'de> Deserialize<'de> for Hushed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hushed(deserializer)?
            .map(|text| Self(Secret::new(text)))
            .ok_or_else(|| serde::de::Error::custom("a text is required"))
    }
}

fn hushed_map<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Secret>, D::Error> {
    let map = BTreeMap::<String, Hushed>::deserialize(deserializer)?;
    Ok(map.into_iter().map(|(name, hushed)| (name, hushed.0)).collect())
}

fn hushed_tree<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, BTreeMap<String, Secret>>, D::Error> {
    let tree = BTreeMap::<String, BTreeMap<String, Hushed>>::deserialize(deserializer)?;
    Ok(tree
        .into_iter()
        .map(|(path, fields)| (path, fields.into_iter().map(|(name, hushed)| (name, hushed.0)).collect()))
        .collect())
}

impl World {
    /// Reads a world from JSON text.
    ///
    /// # Errors
    /// What is wrong with it, without quoting a secret.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let world: Self = serde_json::from_str(text).map_err(|e| crate::order::explain(text.as_bytes(), &e))?;
        match world.problem() {
            Some(problem) => Err(problem),
            None => Ok(world),
        }
    }

    /// What makes an item unusable although it parses.
    pub(crate) fn problem(&self) -> Option<String> {
        let roles = self.roles.iter().find_map(Role::problem);
        roles
            .or_else(|| self.trust_anchors.iter().find_map(TrustAnchor::problem))
            .or_else(|| self.profiles.iter().find_map(AnywhereProfile::problem))
            .or_else(|| self.issuers.iter().find_map(TokenIssuerTrust::problem))
            .or_else(|| {
                let arns = self.instance.iter().map(|instance| &instance.role_arn);
                arns.chain(self.containers.iter().map(|container| &container.role_arn))
                    .find_map(|arn| role_problem(arn))
            })
            .or_else(|| self.containers.iter().find_map(Container::problem))
            .or_else(|| self.secrets.iter().find_map(StoredSecret::problem))
            .or_else(|| self.parameters.iter().find_map(Parameter::problem))
            .or_else(|| self.vault.as_ref().and_then(VaultWorld::problem))
    }

    /// Takes in another world: its items replace those of the same name. False, with nothing changed, when there are
    /// too many.
    pub(crate) fn merge(&mut self, other: Self) -> bool {
        let mut merged = self.clone();
        let Self {
            roles,
            issuers,
            trust_anchors,
            profiles,
            instance,
            containers,
            secrets,
            parameters,
            vault,
            streams,
            delivery_streams,
        } = other;
        put_all(&mut merged.streams, streams, |a, b| a == b);
        put_all(&mut merged.delivery_streams, delivery_streams, |a, b| a.name == b.name);
        put_all(&mut merged.roles, roles, |a, b| a.arn == b.arn);
        put_all(&mut merged.issuers, issuers, |a, b| a.url == b.url);
        put_all(&mut merged.trust_anchors, trust_anchors, |a, b| a.arn == b.arn);
        put_all(&mut merged.profiles, profiles, |a, b| a.arn == b.arn);
        put_all(&mut merged.containers, containers, |a, b| a.path == b.path && a.token == b.token);
        for mut secret in secrets {
            let old = merged.secrets.iter().find(|known| known.name == secret.name);
            if secret.previous.is_none() {
                secret.previous = old.and_then(|old| old.value.clone());
            }
            put_all(&mut merged.secrets, vec![secret], |a, b| a.name == b.name);
        }
        for mut parameter in parameters {
            let old = merged.parameters.iter().find(|known| known.name == parameter.name);
            parameter.version = old.map_or(parameter.version, |old| old.version.saturating_add(1));
            put_all(&mut merged.parameters, vec![parameter], |a, b| a.name == b.name);
        }
        merged.instance = instance.or(merged.instance);
        merged.vault = vault.or(merged.vault);
        let is_room = [
            merged.roles.len(),
            merged.issuers.len(),
            merged.trust_anchors.len(),
            merged.profiles.len(),
            merged.containers.len(),
            merged.secrets.len(),
            merged.parameters.len(),
            merged.streams.len(),
            merged.delivery_streams.len(),
        ]
        .into_iter()
        .all(|count| count <= MOST);
        if is_room {
            *self = merged;
        }
        is_room
    }

    pub(crate) fn role(&self, arn: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.arn == arn)
    }
}

fn put_all<T>(list: &mut Vec<T>, items: Vec<T>, is_same: impl Fn(&T, &T) -> bool) {
    for item in items {
        match list.iter_mut().find(|known| is_same(known, &item)) {
            Some(known) => *known = item,
            None => list.push(item),
        }
    }
}

impl Role {
    /// A role that may do everything and that nobody may assume yet.
    pub fn new(arn: impl Into<String>) -> Self {
        Self { arn: arn.into(), trust: Vec::new(), allow: everything(), deny: Vec::new(), max_session_s: an_hour() }
    }

    /// The same, with one more way to assume it.
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.trust.push(trust);
        self
    }

    /// The same, allowed only these actions.
    pub fn allowing<S: Into<String>>(mut self, actions: impl IntoIterator<Item = S>) -> Self {
        self.allow = actions.into_iter().map(Into::into).collect();
        self
    }

    fn problem(&self) -> Option<String> {
        role_problem(&self.arn).or_else(|| {
            self.trust.iter().find_map(|trust| {
                let named = [&trust.aws, &trust.federated, &trust.service].into_iter().flatten().count();
                (named != 1)
                    .then(|| format!("trust of {}: give exactly one of aws, federated, service", shown(&self.arn)))
            })
        })
    }

    pub(crate) fn account(&self) -> &str {
        Arn::read(&self.arn).map_or("", |arn| arn.account)
    }

    /// Whether a service such as `ec2.amazonaws.com` may assume it.
    pub(crate) fn trusts_service(&self, service: &str) -> bool {
        self.trust.iter().any(|trust| trust.service.as_deref() == Some(service))
    }
}

impl Trust {
    /// Trusts an AWS principal: an ARN, an account id, or `*`.
    pub fn aws(principal: impl Into<String>) -> Self {
        Self { aws: Some(principal.into()), ..Self::default() }
    }

    /// Trusts tokens of an issuer with this subject (`*` allowed) and the audience of STS.
    pub fn web_identity(issuer: impl Into<String>, subject: impl Into<String>) -> Self {
        Self {
            federated: Some(issuer.into()),
            subject: Some(subject.into()),
            audience: Some("sts.amazonaws.com".to_owned()),
            ..Self::default()
        }
    }

    /// Trusts a service, such as `rolesanywhere.amazonaws.com`.
    pub fn service(name: impl Into<String>) -> Self {
        Self { service: Some(name.into()), ..Self::default() }
    }

    /// The same, if this external id is given.
    pub fn with_external_id(mut self, id: impl Into<String>) -> Self {
        self.external_id = Some(id.into());
        self
    }
}

impl TrustAnchor {
    /// An enabled anchor of these PEM certificates.
    pub fn new(arn: impl Into<String>, certificate_pem: impl Into<String>) -> Self {
        Self { arn: arn.into(), certificate_pem: certificate_pem.into(), enabled: true }
    }

    fn problem(&self) -> Option<String> {
        anywhere_problem(&self.arn, "trust-anchor/").or_else(|| {
            crate::x509::anchor_problem(&self.certificate_pem)
                .map(|what| format!("trust anchor {}: {what}", shown(&self.arn)))
        })
    }
}

impl AnywhereProfile {
    /// An enabled profile that may give these roles for an hour.
    pub fn new<S: Into<String>>(arn: impl Into<String>, roles: impl IntoIterator<Item = S>) -> Self {
        Self {
            arn: arn.into(),
            roles: roles.into_iter().map(Into::into).collect(),
            duration_s: an_hour(),
            enabled: true,
            accepts_session_name: false,
        }
    }

    fn problem(&self) -> Option<String> {
        anywhere_problem(&self.arn, "profile/").or_else(|| self.roles.iter().find_map(|arn| role_problem(arn)))
    }
}

impl TokenIssuerTrust {
    fn problem(&self) -> Option<String> {
        self.jwks.problem().map(|what| format!("issuer {}: {what}", shown(&self.url)))
    }
}

impl Instance {
    /// An instance of us-east-1 with this role.
    pub fn new(role_arn: impl Into<String>) -> Self {
        Self { role_arn: role_arn.into(), instance_id: instance_id(), region: us_east_1() }
    }
}

impl Container {
    /// A pod of EKS Pod Identity, known by its token.
    pub fn pod(token: impl Into<String>, role_arn: impl Into<String>) -> Self {
        Self {
            path: pod_path(),
            token: Some(Secret::new(token)),
            role_arn: role_arn.into(),
            session_name: container_session(),
        }
    }

    fn problem(&self) -> Option<String> {
        let is_known = self.path == "/v1/credentials" || self.path.starts_with("/v2/credentials/");
        if !is_known {
            return Some(format!(
                "container path `{}` is neither /v1/credentials nor /v2/credentials/ID",
                shown(&self.path)
            ));
        }
        (self.path == "/v1/credentials" && self.token.is_none())
            .then(|| "a container at /v1/credentials needs a token, which tells it from others".to_owned())
    }
}

impl DeliveryStream {
    /// An active stream that takes what is put to it.
    pub fn direct(name: impl Into<String>) -> Self {
        Self { name: name.into(), source: direct_put(), state: active() }
    }

    /// The same, with its records from elsewhere, such as `KinesisStreamAsSource`.
    pub fn fed_by(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }
}

impl StoredSecret {
    /// A secret of the sandbox's own account.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: Some(Secret::new(value)),
            binary: None,
            previous: None,
            account_id: own_account(),
            deleted: false,
        }
    }

    fn problem(&self) -> Option<String> {
        let name = shown(&self.name);
        if !is_account(&self.account_id) {
            return Some(format!("secret {name}: account_id is not twelve digits"));
        }
        match (&self.value, &self.binary) {
            (Some(_), None) => None,
            (None, Some(binary)) => BASE64_STANDARD
                .decode(binary.expose())
                .is_err()
                .then(|| format!("secret {name}: binary is not base64 (the value is not shown)")),
            _ => Some(format!("secret {name}: give exactly one of value and binary")),
        }
    }
}

impl Parameter {
    /// An encrypted parameter.
    pub fn secure(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Secret::new(value), kind: secure_string(), version: one() }
    }

    fn problem(&self) -> Option<String> {
        (!["SecureString", "String", "StringList"].contains(&self.kind.as_str())).then(|| {
            format!(
                "parameter {}: kind `{}` is not SecureString, String or StringList",
                shown(&self.name),
                shown(&self.kind)
            )
        })
    }
}

impl VaultWorld {
    fn problem(&self) -> Option<String> {
        let mount = self.mounts.iter().find(|(_, version)| ![1, 2].contains(*version));
        mount.map(|(name, version)| format!("vault mount {}: version {version} is not 1 or 2", shown(name)))
    }
}

fn role_problem(arn: &str) -> Option<String> {
    let is_role = Arn::read(arn).and_then(|arn| arn.role_name()).is_some();
    (!is_role).then(|| format!("`{}` is not a role's ARN (arn:aws:iam::123456789012:role/NAME)", shown(arn)))
}

fn anywhere_problem(arn: &str, kind: &str) -> Option<String> {
    let fits = Arn::read(arn)
        .is_some_and(|arn| arn.service == "rolesanywhere" && arn.resource.starts_with(kind) && is_account(arn.account));
    (!fits)
        .then(|| format!("`{}` is not an ARN like arn:aws:rolesanywhere:us-east-1:123456789012:{kind}ID", shown(arn)))
}

/// Whether a wanted pattern, if any, fits a text. Letter case counts.
pub(crate) fn fits(wanted: Option<&String>, text: &str) -> bool {
    wanted.is_none_or(|pattern| matches_pattern(pattern, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_by_name_and_no_secret_is_quoted() {
        for (json, wanted) in [
            (r#"{"roles": [{"arn": "arn:aws:iam::1:role/x"}]}"#, "not a role's ARN"),
            (r#"{"roles": [{"arn": "arn:aws:iam::123456789012:role/x", "trust": [{}]}]}"#, "exactly one of aws"),
            (r#"{"rolls": []}"#, "unknown field `rolls`"),
            (r#"{"profiles": [{"arn": "arn:aws:rolesanywhere:r:123456789012:p/1", "roles": []}]}"#, "profile/ID"),
            (r#"{"containers": [{"path": "/x", "role_arn": "arn:aws:iam::123456789012:role/x"}]}"#, "neither /v1"),
            (r#"{"containers": [{"role_arn": "arn:aws:iam::123456789012:role/x"}]}"#, "needs a token"),
            (r#"{"secrets": [{"name": "n", "binary": "hush!"}]}"#, "binary is not base64"),
            (r#"{"secrets": [{"name": "n"}]}"#, "exactly one of value"),
            (r#"{"parameters": [{"name": "n", "value": "hush", "kind": "Plain"}]}"#, "kind `Plain`"),
            (r#"{"parameters": [{"name": "n", "value": 7777}]}"#, "the value is not shown"),
            (r#"{"vault": {"mounts": {"kv": 3}}}"#, "version 3 is not 1 or 2"),
            (r#"{"vault": {"secrets": {"kv/a": {"k": 7777}}}}"#, "the value is not shown"),
        ] {
            let why = World::from_json(json).unwrap_err();
            assert!(why.contains(wanted) && !why.contains("hush!") && !why.contains("7777"), "{json}: {why}");
        }
    }

    #[test]
    fn a_replaced_secret_becomes_the_previous_one() {
        let mut world = World { secrets: vec![StoredSecret::new("n", "one")], ..World::default() };
        assert!(world.merge(World { secrets: vec![StoredSecret::new("n", "two")], ..World::default() }));
        assert_eq!(world.secrets.len(), 1);
        assert_eq!(world.secrets[0].previous.as_ref().unwrap().expose(), "one");
        assert!(!format!("{world:?}").contains("two"));
    }

    #[test]
    fn a_world_does_not_grow_for_ever() {
        let many = (0..=MOST).map(|n| StoredSecret::new(format!("n{n}"), "v")).collect();
        let mut world = World::default();
        assert!(!world.merge(World { secrets: many, ..World::default() }));
        assert!(world.secrets.is_empty());
    }
}
