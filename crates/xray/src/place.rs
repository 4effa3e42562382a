//! What a resource says of all its spans: where they come from, and who made them.

use crate::{
    Options,
    attributes::{Attributes, texts},
    known::key,
    segment::{AwsPlace, Beanstalk, Ec2, Ecs, Eks, LogGroup, Sdk},
    sheet::Sheet,
};

/// A resource, read once for all of its spans.
pub(crate) struct Place<'a> {
    pub(crate) attributes: Attributes<'a>,
    pub(crate) origin: Option<&'static str>,
    /// What of the `aws` block is the same for all spans. `None`: another cloud's.
    pub(crate) aws: Option<Rendered>,
    pub(crate) account_id: Option<&'a str>,
    /// The service's version.
    pub(crate) service: Option<&'a str>,
    pub(crate) service_name: Option<&'a str>,
    pub(crate) language: &'a str,
}

/// Something that is written once and copied for each span.
pub(crate) struct Rendered {
    text: Vec<u8>,
    extra: usize,
}

impl Rendered {
    fn of(write: impl FnOnce(&mut Sheet<'_>)) -> Self {
        let mut text = Vec::new();
        let mut sheet = Sheet::at_end_of(&mut text);
        write(&mut sheet);
        let extra = sheet.extra();
        Self { text, extra }
    }

    pub(crate) fn put(&self, sheet: &mut Sheet<'_>) {
        sheet.escaped(&self.text, self.extra);
    }
}

impl<'a> Place<'a> {
    /// Of a resource with these attributes.
    pub(crate) fn of(attributes: Attributes<'a>, options: &Options) -> Self {
        Self {
            origin: origin(&attributes),
            aws: aws(&attributes, options).map(|aws| Rendered::of(|sheet| aws.write(sheet))),
            account_id: attributes.text(key!("cloud.account.id")),
            service: attributes.text(key!("service.version")).or_else(|| image_tag(&attributes)),
            service_name: attributes.text(key!("service.name")),
            language: attributes.text(key!("telemetry.sdk.language")).unwrap_or_default(),
            attributes,
        }
    }
}

/// One tag; newer conventions have a list of them.
fn image_tag<'a>(attributes: &Attributes<'a>) -> Option<&'a str> {
    let list = attributes.get(key!("container.image.tags")).map(texts).unwrap_or_default();
    attributes.text(key!("container.image.tag")).or_else(|| list.first().copied())
}

fn origin(attributes: &Attributes<'_>) -> Option<&'static str> {
    if attributes.text(key!("cloud.provider")).is_some_and(|provider| provider != "aws") {
        return None;
    }
    Some(match attributes.text(key!("cloud.platform"))? {
        "aws_app_runner" => "AWS::AppRunner::Service",
        "aws_eks" => "AWS::EKS::Container",
        "aws_elastic_beanstalk" => "AWS::ElasticBeanstalk::Environment",
        "aws_ecs" => match attributes.text(key!("aws.ecs.launchtype")) {
            Some("ec2") => "AWS::ECS::EC2",
            Some("fargate") => "AWS::ECS::Fargate",
            _ => "AWS::ECS::Container",
        },
        "aws_ec2" => "AWS::EC2::Instance",
        _ => return None,
    })
}

fn aws<'o, 'a: 'o>(attributes: &Attributes<'a>, options: &'o Options) -> Option<AwsPlace<'o>> {
    if attributes.text(key!("cloud.provider")).is_some_and(|provider| provider != "aws") {
        return None;
    }
    let text = |key| attributes.text(key);
    let platform = text(key!("cloud.platform")).unwrap_or_default();
    let zone = text(key!("cloud.availability_zone"));
    let ec2 = (platform == "aws_ec2" || text(key!("host.id")).is_some()).then(|| Ec2 {
        instance_id: text(key!("host.id")),
        availability_zone: zone,
        instance_size: text(key!("host.type")),
        ami_id: text(key!("host.image.id")),
    });
    let ecs = (platform == "aws_ecs").then(|| Ecs {
        container: text(key!("container.name")),
        container_id: text(key!("container.id")),
        task_arn: text(key!("aws.ecs.task.arn")),
        task_family: text(key!("aws.ecs.task.family")),
        cluster_arn: text(key!("aws.ecs.cluster.arn")),
        container_arn: text(key!("aws.ecs.container.arn")),
        availability_zone: zone,
        launch_type: text(key!("aws.ecs.launchtype")),
    });
    let elastic_beanstalk =
        text(key!("service.instance.id")).filter(|_| platform == "aws_elastic_beanstalk").map(|id| {
            let (environment_name, version_label) = (text(key!("service.namespace")), text(key!("service.version")));
            Beanstalk { environment_name, version_label, deployment_id: id.parse().unwrap_or(0) }
        });
    let eks = (platform == "aws_eks" || text(key!("k8s.cluster.name")).is_some()).then(|| Eks {
        cluster_name: text(key!("k8s.cluster.name")),
        pod: text(key!("k8s.pod.name")),
        container_id: text(key!("container.id")),
    });
    let (name, language) = (text(key!("telemetry.sdk.name")), text(key!("telemetry.sdk.language")));
    let sdk = match (name, language) {
        (Some(name), Some(language)) => Some(format!("{name} for {language}")),
        (name, _) => name.map(str::to_owned),
    };
    let auto_instrumentation =
        text(key!("telemetry.auto.version")).or_else(|| text(key!("telemetry.distro.version"))).is_some();
    let xray = Sdk { sdk, sdk_version: text(key!("telemetry.sdk.version")), auto_instrumentation };
    Some(AwsPlace { elastic_beanstalk, ecs, ec2, eks, cloudwatch_logs: log_groups(attributes, options), xray })
}

/// Those that the resource names, by ARN or by name; else the configured ones.
fn log_groups<'o, 'a: 'o>(attributes: &Attributes<'a>, options: &'o Options) -> Vec<LogGroup<'o>> {
    let list = |key| attributes.get(key).map(texts).unwrap_or_default();
    let (arns, names) = (list(key!("aws.log.group.arns")), list(key!("aws.log.group.names")));
    if !arns.is_empty() {
        // arn:aws:logs:<region>:<account>:log-group:<name>[:*]
        let name = |arn: &'o str| arn.split(':').nth(6).unwrap_or(arn);
        return arns.into_iter().map(|arn| LogGroup { log_group: name(arn), arn: Some(arn) }).collect();
    }
    let configured = || options.log_groups.iter().map(String::as_str).collect();
    let names: Vec<&'o str> = if names.is_empty() { configured() } else { names };
    names.into_iter().map(|log_group| LogGroup { log_group, arn: None }).collect()
}
