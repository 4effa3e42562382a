//! Secrets Manager (`GetSecretValue`) and SSM (`GetParameter`), signed by the identity for secrets.
//!
//! Keeps nothing but the identities. Keeps true: a refusal of the identity is retried once where it can be mended.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Request;
use net::{Answer, Authorize, IdentityVerdict, Secret};
use parking_lot::Mutex;
use serde_json::{Value, json};
use url::Url;

use super::{SecretReference, SecretStoresConfig, document::Document};
use crate::{AwsError, Identity, IdentityConfig, IdentityContext, context, sts::endpoint_suffix};

const TIMEOUT: Duration = Duration::from_secs(15);
/// A secret has at most 64 KiB, escaped in JSON and with its description around.
const ANSWER_LIMIT: u64 = 1 << 20;
const NO_REGION: &str =
    "no AWS region: write `?region=us-east-1` into the reference, or `region` into the `secrets` block's `aws`";

/// Service and region.
type Signs = (&'static str, Option<String>);

/// Secrets Manager and SSM.
#[derive(Debug)]
pub(super) struct Cloud {
    context: Arc<IdentityContext>,
    config: SecretStoresConfig,
    identities: Mutex<BTreeMap<Signs, Arc<Identity>>>,
}

impl Cloud {
    pub(super) fn new(context: Arc<IdentityContext>, config: SecretStoresConfig) -> Self {
        Self { context, config, identities: Mutex::default() }
    }

    /// Reads one secret of Secrets Manager or SSM now.
    pub(super) async fn read(&self, reference: &SecretReference) -> Result<Document, String> {
        let text = match reference {
            SecretReference::SecretsManager { id, region, stage, .. } => {
                let mut body = json!({ "SecretId": id });
                if let (Some(stage), Some(object)) = (stage, body.as_object_mut()) {
                    object.insert("VersionStage".to_owned(), stage.clone().into());
                }
                let endpoint = self.config.secretsmanager_endpoint.as_ref();
                let target = "secretsmanager.GetSecretValue";
                let answer = self.call("secretsmanager", target, &body, region.as_ref(), endpoint).await?;
                secret_value(&answer)?
            }
            SecretReference::Parameter { name, region, .. } => {
                let body = json!({ "Name": name, "WithDecryption": true });
                let endpoint = self.config.ssm_endpoint.as_ref();
                let answer = self.call("ssm", "AmazonSSM.GetParameter", &body, region.as_ref(), endpoint).await?;
                let value = answer.pointer("/Parameter/Value").and_then(Value::as_str);
                Secret::new(value.ok_or("its answer has no Parameter.Value")?)
            }
            SecretReference::Vault { .. } => return Err("this secret is in Vault".to_owned()),
        };
        Ok(Document::of_text(text))
    }

    /// The identity that signs for `service` in `region`.
    pub(super) fn identity(&self, service: &'static str, region: Option<&String>) -> Result<Arc<Identity>, String> {
        let key = (service, region.cloned());
        if let Some(held) = self.identities.lock().get(&key) {
            return Ok(Arc::clone(held));
        }
        let mut config = IdentityConfig { service: Some(service.to_owned()), ..self.config.identity.clone() };
        config.region = region.cloned().or(config.region);
        // Its host is known with its region, which may be asked for first.
        let place = if service == "ssm" { "SSM parameters" } else { "Secrets Manager" };
        let place = if service == "sts" { "Vault's login by AWS" } else { place };
        let identity =
            context::assemble(&config, None, place, service, "secrets", &self.context).map_err(|e| match e {
                AwsError::NoRegion { .. } => NO_REGION.to_owned(),
                other => other.to_string(),
            })?;
        self.identities.lock().insert(key, Arc::clone(&identity));
        Ok(identity)
    }

    async fn call(
        &self,
        service: &'static str,
        target: &'static str,
        body: &Value,
        region: Option<&String>,
        endpoint: Option<&Url>,
    ) -> Result<Value, String> {
        let identity = self.identity(service, region)?;
        let region = identity.signing_region().await.map_err(|why| format!("{NO_REGION} ({why})"))?;
        let url = match endpoint {
            Some(url) => url.clone(),
            None => {
                let fips = if self.config.identity.sts.use_fips { "-fips" } else { "" };
                let suffix = endpoint_suffix(&region, self.config.identity.sts.use_dualstack);
                Url::parse(&format!("https://{service}{fips}.{region}.{suffix}/")).map_err(|e| e.to_string())?
            }
        };
        let body = Bytes::from(body.to_string());
        let mut retried = false;
        loop {
            let mut request = Request::post(url.as_str())
                .header("content-type", "application/x-amz-json-1.1")
                .header("x-amz-target", target)
                .body(body.clone())
                .map_err(|e| e.to_string())?;
            identity.authorize(&mut request).await.map_err(|e| e.to_string())?;
            let reply = self.context.send(&url, request, TIMEOUT, ANSWER_LIMIT).await.map_err(|e| e.to_string())?;
            let answer = Answer {
                status: reply.status,
                headers: &reply.headers,
                body: &reply.body,
                sent_at: reply.sent_at,
                received_at: reply.received_at,
            };
            match identity.judge(&answer) {
                IdentityVerdict::RetryNow { .. } if !retried => {
                    retried = true;
                    continue;
                }
                IdentityVerdict::RetryNow { why } | IdentityVerdict::Hold { why } => return Err(why),
                IdentityVerdict::Unrelated => {}
            }
            if let Some(refusal) = net::service_error::parse(reply.status, &reply.headers, &reply.body) {
                let said = crate::verdict::said(reply.status, &refusal);
                return Err(format!("{service} in {region} said {said}{}", hint(&refusal.code)));
            }
            return serde_json::from_slice(&reply.body).map_err(|_| format!("{service}'s answer is not JSON"));
        }
    }
}

fn hint(code: &str) -> &'static str {
    match code {
        "ResourceNotFoundException" => {
            "; check the secret's name, stage and region, and give its ARN where it is another account's"
        }
        "ParameterNotFound" | "ParameterVersionNotFound" => "; check the parameter's path, version and region",
        "DecryptionFailure" | "InvalidKeyId" => "; the identity for secrets needs kms:Decrypt on the secret's key",
        _ => "",
    }
}

fn secret_value(answer: &Value) -> Result<Secret, String> {
    if let Some(text) = answer.get("SecretString").and_then(Value::as_str) {
        return Ok(Secret::new(text));
    }
    let encoded = answer.get("SecretBinary").and_then(Value::as_str);
    let encoded = encoded.ok_or("its answer has neither SecretString nor SecretBinary")?;
    let bytes = STANDARD.decode(encoded).map_err(|_| "its SecretBinary is not base64")?;
    String::from_utf8(bytes).map(Secret::new).map_err(|_| "it holds bytes that are not text".to_owned())
}
