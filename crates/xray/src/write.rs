//! Puts a segment on paper: the fields of X-Ray's schema in its order, without those that are absent.

use crate::{
    attributes::Attributes,
    metadata::{Meta, Note, Values},
    place::Rendered,
    segment::{Aws, AwsPlace, Exception, Frame, Http, LogGroup, Segment, SpanLink, Sql},
    sheet::{Sheet, put},
};

/// A field of an object with a text, if there is one.
macro_rules! text {
    ($sheet:expr, $name:literal, $text:expr) => {
        if let Some(text) = $text {
            put!($sheet, concat!(",\\\"", $name, "\\\":\\\""));
            $sheet.within_quotes(text);
            put!($sheet, "\\\"");
        }
    };
}

/// A field that is only there when it is true.
macro_rules! flag {
    ($sheet:expr, $name:literal, $is:expr) => {
        if $is {
            put!($sheet, concat!(",\\\"", $name, "\\\":true"));
        }
    };
}

/// A field of an object: what comes is its value.
macro_rules! name {
    ($sheet:expr, $name:literal) => {
        put!($sheet, concat!(",\\\"", $name, "\\\":"))
    };
}

/// A text that is not empty.
fn told(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

impl Segment<'_> {
    /// `of_resource`: the `aws` block's first part.
    pub(crate) fn write(&self, of_resource: Option<&Rendered>, sheet: &mut Sheet<'_>) {
        put!(sheet, r#"{\"name\":\""#);
        sheet.within_quotes(&self.name);
        put!(sheet, r#"\",\"id\":\""#);
        sheet.hexadecimal(self.id.bytes());
        put!(sheet, r#"\",\"trace_id\":\""#);
        trace_id(self.trace_id, sheet);
        put!(sheet, r#"\""#);
        if let Some(parent) = &self.parent_id {
            put!(sheet, r#",\"parent_id\":\""#);
            sheet.hexadecimal(parent.bytes());
            put!(sheet, r#"\""#);
        }
        text!(sheet, "type", self.kind);
        text!(sheet, "namespace", self.namespace);
        name!(sheet, "start_time");
        sheet.seconds(self.start);
        match self.end {
            Some(end) => {
                name!(sheet, "end_time");
                sheet.seconds(end);
            }
            None => put!(sheet, r#",\"in_progress\":true"#),
        }
        flag!(sheet, "error", self.error);
        flag!(sheet, "throttle", self.throttle);
        flag!(sheet, "fault", self.fault);
        text!(sheet, "origin", self.origin);
        if let Some(version) = self.service {
            put!(sheet, r#",\"service\":{\"version\":\""#);
            sheet.within_quotes(version);
            put!(sheet, r#"\"}"#);
        }
        text!(sheet, "user", self.user.as_deref());
        if let Some(http) = &self.http {
            name!(sheet, "http");
            http.write(sheet);
        }
        if let Some(aws) = &self.aws {
            name!(sheet, "aws");
            sheet.object(|sheet| {
                if let Some(place) = of_resource {
                    place.put(sheet);
                }
                aws.write(sheet);
            });
        }
        if let Some(sql) = &self.sql {
            name!(sheet, "sql");
            sql.write(sheet);
        }
        if let Some(cause) = &self.cause {
            put!(sheet, r#",\"cause\":{\"exceptions\":"#);
            sheet.list(&cause.exceptions, |exception, sheet| exception.write(sheet));
            put!(sheet, "}");
        }
        if !self.links.is_empty() {
            name!(sheet, "links");
            sheet.list(&self.links, |link, sheet| link.write(sheet));
        }
        if !self.annotations.is_empty() {
            name!(sheet, "annotations");
            sheet.object(|sheet| self.annotations.iter().for_each(|(key, note)| annotation(key, note, sheet)));
        }
        if !self.metadata.is_empty() {
            name!(sheet, "metadata");
            sheet.object(|sheet| self.metadata(sheet));
        }
        put!(sheet, "}");
    }

    fn metadata(&self, sheet: &mut Sheet<'_>) {
        let mut default = Some(&self.metadata.default).filter(|default| !default.is_empty());
        for (namespace, list) in &self.metadata.others {
            if let Some(default) = default.take_if(|_| &**namespace > "default") {
                values("default", default, sheet);
            }
            values(namespace, list, sheet);
        }
        if let Some(default) = default {
            values("default", default, sheet);
        }
    }
}

fn values(namespace: &str, values: &Values<'_>, sheet: &mut Sheet<'_>) {
    put!(sheet, ",");
    sheet.text(namespace);
    put!(sheet, ":");
    sheet.object(|sheet| {
        for (key, value) in values {
            let (before, rest) = key.parts();
            put!(sheet, r#",\""#);
            sheet.escaped(before.as_bytes(), 0);
            sheet.within_quotes(rest);
            put!(sheet, r#"\":"#);
            value.write(sheet);
        }
    });
}

fn annotation(key: &str, note: &Note<'_>, sheet: &mut Sheet<'_>) {
    put!(sheet, ",");
    sheet.text(key);
    put!(sheet, ":");
    match note {
        Note::Text(text) => sheet.text(text),
        Note::Int(number) => sheet.int(*number),
        Note::Double(number) => sheet.double(*number),
        Note::Bool(claim) => sheet.bool(*claim),
    }
}

/// `1-<8 digits>-<24 digits>`.
fn trace_id(id: &[u8; 16], sheet: &mut Sheet<'_>) {
    let (first, rest) = id.split_at(4);
    put!(sheet, "1-");
    sheet.hexadecimal(first);
    put!(sheet, "-");
    sheet.hexadecimal(rest);
}

impl Meta<'_> {
    pub(crate) fn write(&self, sheet: &mut Sheet<'_>) {
        match self {
            Self::Value(value) => sheet.value(value),
            Self::Text(text) => sheet.text(text),
            Self::Json(json) => sheet.other(json),
        }
    }
}

impl Http<'_> {
    fn write(&self, sheet: &mut Sheet<'_>) {
        let Self { request, response } = self;
        put!(sheet, r#"{\"request\":"#);
        sheet.object(|sheet| {
            text!(sheet, "method", request.method.as_deref());
            text!(sheet, "url", request.url.as_deref());
            text!(sheet, "user_agent", request.user_agent.as_deref());
            text!(sheet, "client_ip", request.client_ip.as_deref());
            flag!(sheet, "x_forwarded_for", request.x_forwarded_for);
        });
        put!(sheet, r#",\"response\":"#);
        sheet.object(|sheet| {
            if let Some(status) = response.status {
                name!(sheet, "status");
                sheet.int(status);
            }
            if let Some(length) = response.content_length {
                name!(sheet, "content_length");
                sheet.int(length);
            }
        });
        put!(sheet, "}");
    }
}

impl Aws<'_> {
    /// The fields.
    fn write(&self, sheet: &mut Sheet<'_>) {
        text!(sheet, "account_id", self.account_id.as_deref());
        text!(sheet, "operation", self.operation.as_deref());
        text!(sheet, "region", self.region.as_deref());
        text!(sheet, "request_id", self.request_id.as_deref());
        text!(sheet, "queue_url", self.queue_url.as_deref());
        text!(sheet, "table_name", self.table_name.as_deref());
        if !self.table_names.is_empty() {
            name!(sheet, "table_names");
            sheet.list(&self.table_names, |name, sheet| sheet.text(name));
        }
    }
}

impl AwsPlace<'_> {
    /// The fields.
    pub(crate) fn write(&self, sheet: &mut Sheet<'_>) {
        if let Some(beanstalk) = &self.elastic_beanstalk {
            name!(sheet, "elastic_beanstalk");
            sheet.object(|sheet| {
                text!(sheet, "environment_name", beanstalk.environment_name);
                text!(sheet, "version_label", beanstalk.version_label);
                name!(sheet, "deployment_id");
                sheet.int(beanstalk.deployment_id);
            });
        }
        if let Some(ecs) = &self.ecs {
            name!(sheet, "ecs");
            sheet.object(|sheet| {
                text!(sheet, "container", ecs.container);
                text!(sheet, "container_id", ecs.container_id);
                text!(sheet, "task_arn", ecs.task_arn);
                text!(sheet, "task_family", ecs.task_family);
                text!(sheet, "cluster_arn", ecs.cluster_arn);
                text!(sheet, "container_arn", ecs.container_arn);
                text!(sheet, "availability_zone", ecs.availability_zone);
                text!(sheet, "launch_type", ecs.launch_type);
            });
        }
        if let Some(ec2) = &self.ec2 {
            name!(sheet, "ec2");
            sheet.object(|sheet| {
                text!(sheet, "instance_id", ec2.instance_id);
                text!(sheet, "availability_zone", ec2.availability_zone);
                text!(sheet, "instance_size", ec2.instance_size);
                text!(sheet, "ami_id", ec2.ami_id);
            });
        }
        if let Some(eks) = &self.eks {
            name!(sheet, "eks");
            sheet.object(|sheet| {
                text!(sheet, "cluster_name", eks.cluster_name);
                text!(sheet, "pod", eks.pod);
                text!(sheet, "container_id", eks.container_id);
            });
        }
        if !self.cloudwatch_logs.is_empty() {
            name!(sheet, "cloudwatch_logs");
            sheet.list(&self.cloudwatch_logs, |group, sheet| group.write(sheet));
        }
        name!(sheet, "xray");
        sheet.object(|sheet| {
            text!(sheet, "sdk", self.xray.sdk.as_deref());
            text!(sheet, "sdk_version", self.xray.sdk_version);
            name!(sheet, "auto_instrumentation");
            sheet.bool(self.xray.auto_instrumentation);
        });
    }
}

impl LogGroup<'_> {
    fn write(&self, sheet: &mut Sheet<'_>) {
        sheet.object(|sheet| {
            text!(sheet, "log_group", Some(self.log_group));
            text!(sheet, "arn", self.arn);
        });
    }
}

impl Sql<'_> {
    fn write(&self, sheet: &mut Sheet<'_>) {
        sheet.object(|sheet| {
            text!(sheet, "connection_string", Some(&self.connection_string));
            text!(sheet, "url", Some(&self.url));
            text!(sheet, "sanitized_query", self.sanitized_query.as_deref());
            text!(sheet, "database_type", Some(self.database_type));
            text!(sheet, "user", self.user.as_deref());
        });
    }
}

impl Exception<'_> {
    fn write(&self, sheet: &mut Sheet<'_>) {
        put!(sheet, r#"{\"id\":\""#);
        sheet.hexadecimal(self.id.bytes());
        put!(sheet, r#"\""#);
        text!(sheet, "type", told(&self.kind));
        text!(sheet, "message", told(&self.message));
        flag!(sheet, "remote", self.remote);
        if let Some(frames) = self.truncated {
            name!(sheet, "truncated");
            sheet.int(i64::try_from(frames).unwrap_or(i64::MAX));
        }
        if let Some(cause) = &self.cause {
            put!(sheet, r#",\"cause\":\""#);
            sheet.hexadecimal(cause.bytes());
            put!(sheet, r#"\""#);
        }
        if !self.stack.is_empty() {
            name!(sheet, "stack");
            sheet.list(&self.stack, |frame, sheet| frame.write(sheet));
        }
        put!(sheet, "}");
    }
}

impl Frame<'_> {
    fn write(&self, sheet: &mut Sheet<'_>) {
        sheet.object(|sheet| {
            text!(sheet, "path", told(&self.path));
            name!(sheet, "line");
            sheet.int(i64::from(self.line));
            text!(sheet, "label", told(&self.label));
        });
    }
}

impl SpanLink<'_> {
    pub(crate) fn write(&self, sheet: &mut Sheet<'_>) {
        put!(sheet, r#"{\"trace_id\":\""#);
        trace_id(self.trace_id, sheet);
        put!(sheet, r#"\",\"id\":\""#);
        sheet.hexadecimal(self.id.bytes());
        put!(sheet, r#"\""#);
        if !self.attributes.is_empty() {
            name!(sheet, "attributes");
            sheet.object(|sheet| attributes(&self.attributes, sheet));
        }
        put!(sheet, "}");
    }
}

fn attributes(attributes: &Attributes<'_>, sheet: &mut Sheet<'_>) {
    for (key, value) in attributes.in_order() {
        put!(sheet, ",");
        sheet.text(key);
        put!(sheet, ":");
        sheet.value(&value);
    }
}
