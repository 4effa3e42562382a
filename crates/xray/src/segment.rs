//! A segment document's parts, named as in X-Ray's schema (`xray-segmentdocument-schema-v1.0.0`).
//!
//! They know no rule; [`write`](crate::write) puts them on paper, and leaves out what is absent.

use std::borrow::Cow;

use crate::{
    attributes::Attributes,
    id::Id,
    metadata::{Annotations, Metadata},
};

/// A segment, or a subsegment that is sent by itself. Times are nanoseconds since the Unix epoch.
pub(crate) struct Segment<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) id: Id,
    pub(crate) trace_id: &'a [u8; 16],
    pub(crate) parent_id: Option<Id>,
    pub(crate) kind: Option<&'static str>,
    pub(crate) namespace: Option<&'static str>,
    pub(crate) start: u64,
    /// `None`: `in_progress`.
    pub(crate) end: Option<u64>,
    pub(crate) error: bool,
    pub(crate) throttle: bool,
    pub(crate) fault: bool,
    pub(crate) origin: Option<&'static str>,
    /// The service's version.
    pub(crate) service: Option<&'a str>,
    pub(crate) user: Option<Cow<'a, str>>,
    pub(crate) http: Option<Http<'a>>,
    /// With what the resource says.
    pub(crate) aws: Option<Aws<'a>>,
    pub(crate) sql: Option<Sql<'a>>,
    pub(crate) cause: Option<Cause<'a>>,
    pub(crate) links: Vec<SpanLink<'a>>,
    pub(crate) annotations: Annotations<'a>,
    pub(crate) metadata: Metadata<'a>,
}

#[derive(Default)]
pub(crate) struct Http<'a> {
    pub(crate) request: HttpRequest<'a>,
    pub(crate) response: HttpResponse,
}

#[derive(Default)]
pub(crate) struct HttpRequest<'a> {
    pub(crate) method: Option<Cow<'a, str>>,
    pub(crate) url: Option<Cow<'a, str>>,
    pub(crate) user_agent: Option<Cow<'a, str>>,
    pub(crate) client_ip: Option<Cow<'a, str>>,
    pub(crate) x_forwarded_for: bool,
}

#[derive(Default)]
pub(crate) struct HttpResponse {
    pub(crate) status: Option<i64>,
    pub(crate) content_length: Option<i64>,
}

/// What of `aws` does not follow from the resource.
#[derive(Default)]
pub(crate) struct Aws<'a> {
    pub(crate) account_id: Option<Cow<'a, str>>,
    pub(crate) operation: Option<Cow<'a, str>>,
    pub(crate) region: Option<Cow<'a, str>>,
    pub(crate) request_id: Option<Cow<'a, str>>,
    pub(crate) queue_url: Option<Cow<'a, str>>,
    pub(crate) table_name: Option<Cow<'a, str>>,
    pub(crate) table_names: Vec<&'a str>,
}

/// What does.
pub(crate) struct AwsPlace<'a> {
    pub(crate) elastic_beanstalk: Option<Beanstalk<'a>>,
    pub(crate) ecs: Option<Ecs<'a>>,
    pub(crate) ec2: Option<Ec2<'a>>,
    pub(crate) eks: Option<Eks<'a>>,
    pub(crate) cloudwatch_logs: Vec<LogGroup<'a>>,
    pub(crate) xray: Sdk<'a>,
}

pub(crate) struct Beanstalk<'a> {
    pub(crate) environment_name: Option<&'a str>,
    pub(crate) version_label: Option<&'a str>,
    pub(crate) deployment_id: i64,
}

pub(crate) struct Ecs<'a> {
    pub(crate) container: Option<&'a str>,
    pub(crate) container_id: Option<&'a str>,
    pub(crate) task_arn: Option<&'a str>,
    pub(crate) task_family: Option<&'a str>,
    pub(crate) cluster_arn: Option<&'a str>,
    pub(crate) container_arn: Option<&'a str>,
    pub(crate) availability_zone: Option<&'a str>,
    pub(crate) launch_type: Option<&'a str>,
}

pub(crate) struct Ec2<'a> {
    pub(crate) instance_id: Option<&'a str>,
    pub(crate) availability_zone: Option<&'a str>,
    pub(crate) instance_size: Option<&'a str>,
    pub(crate) ami_id: Option<&'a str>,
}

pub(crate) struct Eks<'a> {
    pub(crate) cluster_name: Option<&'a str>,
    pub(crate) pod: Option<&'a str>,
    pub(crate) container_id: Option<&'a str>,
}

pub(crate) struct LogGroup<'a> {
    pub(crate) log_group: &'a str,
    pub(crate) arn: Option<&'a str>,
}

pub(crate) struct Sdk<'a> {
    pub(crate) sdk: Option<String>,
    pub(crate) sdk_version: Option<&'a str>,
    pub(crate) auto_instrumentation: bool,
}

pub(crate) struct Sql<'a> {
    pub(crate) connection_string: Cow<'a, str>,
    pub(crate) url: Cow<'a, str>,
    pub(crate) sanitized_query: Option<Cow<'a, str>>,
    pub(crate) database_type: &'a str,
    pub(crate) user: Option<Cow<'a, str>>,
}

pub(crate) struct Cause<'a> {
    pub(crate) exceptions: Vec<Exception<'a>>,
}

/// Empty texts are left out.
pub(crate) struct Exception<'a> {
    pub(crate) id: Id,
    pub(crate) kind: Cow<'a, str>,
    pub(crate) message: Cow<'a, str>,
    pub(crate) remote: bool,
    /// Frames that are left out.
    pub(crate) truncated: Option<usize>,
    /// The exception that led to this one.
    pub(crate) cause: Option<Id>,
    pub(crate) stack: Vec<Frame<'a>>,
}

/// Empty texts are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frame<'a> {
    pub(crate) path: Cow<'a, str>,
    pub(crate) line: u32,
    pub(crate) label: Cow<'a, str>,
}

pub(crate) struct SpanLink<'a> {
    pub(crate) trace_id: &'a [u8; 16],
    pub(crate) id: Id,
    pub(crate) attributes: Attributes<'a>,
}
