//! AWS Systems Manager Parameter Store: `GetParameter`, `GetParameters`, `GetParametersByPath` (JSON protocol 1.1).

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Done, SMALL_BODY, Service, json11, json11::Operation};
use crate::{
    answer::{ErrorStyle, ServiceError},
    config::Limits,
    core::Core,
    sigv4::sha256_hex,
    target::Target,
    world::Parameter,
};

/// Most names of one `GetParameters`, and most parameters of one page.
const MOST: usize = 10;

pub(super) struct ParameterStore;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asked {
    name: Option<String>,
    names: Option<Vec<String>>,
    path: Option<String>,
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    with_decryption: bool,
    max_results: Option<usize>,
    next_token: Option<String>,
}

impl Service for ParameterStore {
    fn name(&self) -> &'static str {
        "ssm"
    }

    fn style(&self) -> ErrorStyle {
        ErrorStyle::Json11
    }

    fn claims(&self, target: &Target) -> bool {
        json11::claims(target, "ssm", "AmazonSSM.")
    }

    fn resource(&self, target: &Target) -> String {
        Operation::of(target).name.to_owned()
    }

    fn body_limit(&self, limits: &Limits) -> usize {
        limits.body.min(SMALL_BODY)
    }

    fn action(&self, call: &Call) -> Option<(String, String)> {
        let caller = call.caller.as_ref()?;
        let names = json11::names(call);
        let name = names.name.or(names.path).unwrap_or_default();
        let name = name.trim_start_matches('/');
        let arn = format!("arn:aws:ssm:{}:{}:parameter/{name}", caller.region, caller.account_id);
        Some((format!("ssm:{}", Operation::of(&call.target).name), arn))
    }

    fn answer(&self, core: &Core, call: &Call) -> Result<Done, ServiceError> {
        let asked: Asked = json11::body(call)?;
        let caller = call.caller.as_ref().ok_or_else(json11::no_caller)?;
        let parameters = core.world.read().parameters.clone();
        let known = |name: &str| {
            // A version or label may follow the name; only the present version is kept.
            let (bare, version) = name.split_once(':').unwrap_or((name, ""));
            parameters
                .iter()
                .find(|known| known.name == bare && (version.is_empty() || known.version.to_string() == version))
        };
        let told = |parameter: &Parameter| {
            let value = match parameter.kind.as_str() {
                // What the service gives instead of a value it may not decrypt.
                "SecureString" if !asked.with_decryption => {
                    let cipher = sha256_hex(parameter.value.expose().as_bytes());
                    format!("AQICAH{cipher}")
                }
                _ => parameter.value.expose().to_owned(),
            };
            json!({
                "Name": parameter.name,
                "Type": parameter.kind,
                "Value": value,
                "Version": parameter.version,
                "LastModifiedDate": json11::seconds(call.now_ms),
                "ARN": format!(
                    "arn:aws:ssm:{}:{}:parameter/{}",
                    caller.region, caller.account_id, parameter.name.trim_start_matches('/')
                ),
                "DataType": "text",
            })
        };
        let answer = match Operation::of(&call.target).name {
            "GetParameter" => {
                let name = asked.name.as_deref().ok_or_else(|| json11::invalid("Name is missing"))?;
                let found =
                    known(name).ok_or_else(|| ServiceError::new(StatusCode::BAD_REQUEST, "ParameterNotFound", ""))?;
                json!({ "Parameter": told(found) })
            }
            "GetParameters" => {
                let names = asked.names.as_deref().unwrap_or_default();
                if names.is_empty() || names.len() > MOST {
                    return Err(json11::invalid("Names must have 1 to 10 members"));
                }
                let found: Vec<Value> = names.iter().filter_map(|name| known(name)).map(told).collect();
                let missing: Vec<&String> = names.iter().filter(|name| known(name).is_none()).collect();
                json!({ "Parameters": found, "InvalidParameters": missing })
            }
            "GetParametersByPath" => {
                let path = asked.path.as_deref().ok_or_else(|| json11::invalid("Path is missing"))?;
                let path = format!("{}/", path.trim_end_matches('/'));
                let mut under: Vec<&Parameter> = parameters
                    .iter()
                    .filter(|known| {
                        known.name.strip_prefix(&path).is_some_and(|rest| asked.recursive || !rest.contains('/'))
                    })
                    .collect();
                under.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                let from: usize = match &asked.next_token {
                    Some(token) => token.parse().map_err(|_| {
                        ServiceError::new(
                            StatusCode::BAD_REQUEST,
                            "InvalidNextToken",
                            "The specified token isn't valid.",
                        )
                    })?,
                    None => 0,
                };
                let most = asked.max_results.unwrap_or(MOST).clamp(1, MOST);
                let page: Vec<Value> = under.iter().skip(from).take(most).map(|parameter| told(parameter)).collect();
                let next = from.saturating_add(page.len());
                let mut answer = json!({ "Parameters": page });
                if next < under.len() {
                    json11::set(&mut answer, "NextToken", json!(next.to_string()));
                }
                answer
            }
            other => return Err(json11::unknown_operation(other)),
        };
        Ok(json11::reply(&answer).into())
    }
}
