//! What a resource says of all its spans: where they come from, and who made them.

use proto::{otlp_common::Value, otlp_traces::ResourceSpans};

use crate::{
    Options,
    attributes::{Attributes, texts},
    segment::{AwsPlace, Beanstalk, Ec2, Ecs, Eks, LogGroup, Sdk, Service},
};

/// A resource, read once for all of its spans.
#[derive(Clone)]
pub struct Place<'a> {
    pub(crate) attributes: Attributes<'a>,
    /// The attributes under the names they have among a span's.
    pub(crate) prefixed: Vec<(String, &'a Value)>,
    pub(crate) origin: Option<&'static str>,
    /// `None`: another cloud's.
    pub(crate) aws: Option<AwsPlace<'a>>,
    pub(crate) account_id: Option<&'a str>,
    pub(crate) service: Option<Service<'a>>,
    pub(crate) service_name: Option<&'a str>,
    pub(crate) language: &'a str,
}

impl std::fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place").field("attributes", &self.attributes).finish_non_exhaustive()
    }
}

impl<'a> Place<'a> {
    /// Reads a group's resource; one that has none is empty.
    pub fn of(group: &'a ResourceSpans, options: &'a Options) -> Self {
        let list = group.resource.as_ref().map(|resource| resource.attributes.as_slice()).unwrap_or_default();
        let attributes = Attributes::of(list);
        let service =
            attributes.text("service.version").or_else(|| image_tag(&attributes)).map(|version| Service { version });
        let prefixed = attributes.iter().map(|(key, value)| (format!("otel.resource.{key}"), value)).collect();
        Self {
            prefixed,
            origin: origin(&attributes),
            aws: aws(&attributes, options),
            account_id: attributes.text("cloud.account.id"),
            service,
            service_name: attributes.text("service.name"),
            language: attributes.text("telemetry.sdk.language").unwrap_or_default(),
            attributes,
        }
    }
}

/// One tag; newer conventions have a list of them.
fn image_tag<'a>(attributes: &Attributes<'a>) -> Option<&'a str> {
    let list = attributes.get("container.image.tags").map(texts).unwrap_or_default();
    attributes.text("container.image.tag").or_else(|| list.first().copied())
}

fn origin(attributes: &Attributes<'_>) -> Option<&'static str> {
    if attributes.text("cloud.provider").is_some_and(|provider| provider != "aws") {
        return None;
    }
    Some(match attributes.text("cloud.platform")? {
        "aws_app_runner" => "AWS::AppRunner::Service",
        "aws_eks" => "AWS::EKS::Container",
        "aws_elastic_beanstalk" => "AWS::ElasticBeanstalk::Environment",
        "aws_ecs" => match attributes.text("aws.ecs.launchtype") {
            Some("ec2") => "AWS::ECS::EC2",
            Some("fargate") => "AWS::ECS::Fargate",
            _ => "AWS::ECS::Container",
        },
        "aws_ec2" => "AWS::EC2::Instance",
        _ => return None,
    })
}

fn aws<'a>(attributes: &Attributes<'a>, options: &'a Options) -> Option<AwsPlace<'a>> {
    if attributes.text("cloud.provider").is_some_and(|provider| provider != "aws") {
        return None;
    }
    let text = |key| attributes.text(key);
    let platform = text("cloud.platform").unwrap_or_default();
    let zone = text("cloud.availability_zone");
    let ec2 = (platform == "aws_ec2" || text("host.id").is_some()).then(|| Ec2 {
        instance_id: text("host.id"),
        availability_zone: zone,
        instance_size: text("host.type"),
        ami_id: text("host.image.id"),
    });
    let ecs = (platform == "aws_ecs").then(|| Ecs {
        container: text("container.name"),
        container_id: text("container.id"),
        task_arn: text("aws.ecs.task.arn"),
        task_family: text("aws.ecs.task.family"),
        cluster_arn: text("aws.ecs.cluster.arn"),
        container_arn: text("aws.ecs.container.arn"),
        availability_zone: zone,
        launch_type: text("aws.ecs.launchtype"),
    });
    let elastic_beanstalk = text("service.instance.id").filter(|_| platform == "aws_elastic_beanstalk").map(|id| {
        let (environment_name, version_label) = (text("service.namespace"), text("service.version"));
        Beanstalk { environment_name, version_label, deployment_id: id.parse().unwrap_or(0) }
    });
    let eks = (platform == "aws_eks" || text("k8s.cluster.name").is_some()).then(|| Eks {
        cluster_name: text("k8s.cluster.name"),
        pod: text("k8s.pod.name"),
        container_id: text("container.id"),
    });
    let (name, language) = (text("telemetry.sdk.name"), text("telemetry.sdk.language"));
    let sdk = match (name, language) {
        (Some(name), Some(language)) => Some(format!("{name} for {language}")),
        (name, _) => name.map(str::to_owned),
    };
    let auto_instrumentation = text("telemetry.auto.version").or_else(|| text("telemetry.distro.version")).is_some();
    let xray = Sdk { sdk, sdk_version: text("telemetry.sdk.version"), auto_instrumentation };
    Some(AwsPlace { elastic_beanstalk, ecs, ec2, eks, cloudwatch_logs: log_groups(attributes, options), xray })
}

/// Those that the resource names, by ARN or by name; else the configured ones.
fn log_groups<'a>(attributes: &Attributes<'a>, options: &'a Options) -> Vec<LogGroup<'a>> {
    let list = |key| attributes.get(key).map(texts).unwrap_or_default();
    let (arns, names) = (list("aws.log.group.arns"), list("aws.log.group.names"));
    if !arns.is_empty() {
        // arn:aws:logs:<region>:<account>:log-group:<name>[:*]
        let name = |arn: &'a str| arn.split(':').nth(6).unwrap_or(arn);
        return arns.into_iter().map(|arn| LogGroup { log_group: name(arn), arn: Some(arn) }).collect();
    }
    let configured = || options.log_groups.iter().map(String::as_str).collect();
    let names: Vec<&'a str> = if names.is_empty() { configured() } else { names };
    names.into_iter().map(|log_group| LogGroup { log_group, arn: None }).collect()
}
