//! A segment document's parts, named as in X-Ray's schema (`xray-segmentdocument-schema-v1.0.0`).
//!
//! They are written with serde; what is absent is left out. They know no rule.

use std::{borrow::Cow, collections::BTreeMap};

use proto::otlp_common::Value;
use serde::{Serialize, Serializer};

use crate::{attributes::Plain, id::Id};

fn is_false(claim: &bool) -> bool {
    !*claim
}

/// A segment, or a subsegment that is sent by itself. Times are seconds since the Unix epoch.
#[derive(Serialize)]
pub(crate) struct Segment<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) id: Id,
    pub(crate) trace_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent_id: Option<Id>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<&'static str>,
    pub(crate) start_time: f64,
    /// `None`: `in_progress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_time: Option<f64>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) in_progress: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) error: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) throttle: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) fault: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<Service<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<Http<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aws: Option<Aws<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sql: Option<Sql<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<Cause<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<SpanLink<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<Cow<'a, str>, Note<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<Cow<'a, str>, BTreeMap<Cow<'a, str>, Meta<'a>>>,
}

#[derive(Serialize, Clone, Copy)]
pub(crate) struct Service<'a> {
    pub(crate) version: &'a str,
}

#[derive(Serialize, Default)]
pub(crate) struct Http<'a> {
    pub(crate) request: HttpRequest<'a>,
    pub(crate) response: HttpResponse,
}

#[derive(Serialize, Default)]
pub(crate) struct HttpRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_agent: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_ip: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) x_forwarded_for: bool,
}

#[derive(Serialize, Default)]
pub(crate) struct HttpResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_length: Option<i64>,
}

#[derive(Serialize, Default)]
pub(crate) struct Aws<'a> {
    #[serde(flatten)]
    pub(crate) place: AwsPlace<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operation: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) queue_url: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) table_name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) table_names: Vec<&'a str>,
}

/// What of `aws` follows from the resource.
#[derive(Serialize, Default, Clone)]
pub(crate) struct AwsPlace<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) elastic_beanstalk: Option<Beanstalk<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ecs: Option<Ecs<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ec2: Option<Ec2<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) eks: Option<Eks<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cloudwatch_logs: Vec<LogGroup<'a>>,
    pub(crate) xray: Sdk<'a>,
}

#[derive(Serialize, Clone)]
pub(crate) struct Beanstalk<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) environment_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version_label: Option<&'a str>,
    pub(crate) deployment_id: i64,
}

#[derive(Serialize, Clone)]
pub(crate) struct Ecs<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task_family: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) availability_zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) launch_type: Option<&'a str>,
}

#[derive(Serialize, Clone)]
pub(crate) struct Ec2<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) availability_zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance_size: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ami_id: Option<&'a str>,
}

#[derive(Serialize, Clone)]
pub(crate) struct Eks<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) container_id: Option<&'a str>,
}

#[derive(Serialize, Clone)]
pub(crate) struct LogGroup<'a> {
    pub(crate) log_group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) arn: Option<&'a str>,
}

#[derive(Serialize, Default, Clone)]
pub(crate) struct Sdk<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sdk: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sdk_version: Option<&'a str>,
    pub(crate) auto_instrumentation: bool,
}

#[derive(Serialize)]
pub(crate) struct Sql<'a> {
    pub(crate) connection_string: Cow<'a, str>,
    pub(crate) url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sanitized_query: Option<Cow<'a, str>>,
    pub(crate) database_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
pub(crate) struct Cause<'a> {
    pub(crate) exceptions: Vec<Exception<'a>>,
}

#[derive(Serialize)]
pub(crate) struct Exception<'a> {
    pub(crate) id: Id,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    pub(crate) kind: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) message: Cow<'a, str>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) remote: bool,
    /// Frames that are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) truncated: Option<usize>,
    /// The exception that led to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<Id>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) stack: Vec<Frame<'a>>,
}

#[derive(Serialize, Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frame<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) path: Cow<'a, str>,
    pub(crate) line: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) label: Cow<'a, str>,
}

#[derive(Serialize)]
pub(crate) struct SpanLink<'a> {
    pub(crate) trace_id: String,
    pub(crate) id: Id,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) attributes: BTreeMap<&'a str, Plain<'a>>,
}

/// An annotation's value: X-Ray indexes texts, numbers and booleans.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Note<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    Double(f64),
    Bool(bool),
}

/// A value of metadata.
pub(crate) enum Meta<'a> {
    Value(&'a Value),
    Text(Cow<'a, str>),
    Json(serde_json::Value),
}

impl Serialize for Meta<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => Plain(value).serialize(to),
            Self::Text(text) => to.serialize_str(text),
            Self::Json(json) => json.serialize(to),
        }
    }
}
