//! Documents as AWS's exporter makes them (rules: awsxrayexporter's translator; "AWS X-Ray segment documents").

mod fixture;

use fixture::{all_with, documents, exception, one, one_with, pair, span};
use proto::{
    otlp_common::{AnyValue, ArrayValue, KeyValueList, Value as Any},
    otlp_traces::{Event, Link, Span, SpanKind, Status, StatusCode},
};
use serde_json::{Value, json};
use xray::{Options, Refusal};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn list(texts: &[&str]) -> AnyValue {
    Any::Array(ArrayValue { values: texts.iter().map(|text| (*text).into()).collect() }).into()
}

#[test]
fn a_server_span_is_a_whole_segment() {
    let span = span(
        SpanKind::Server,
        true,
        vec![
            pair("http.method", "GET"),
            pair("http.scheme", "https"),
            pair("http.host", "api.example.com"),
            pair("http.target", "/users/junit?x=1"),
            pair("http.status_code", 200),
            pair("http.user_agent", "PostmanRuntime/7.21.0"),
            pair("http.client_ip", "192.0.2.7"),
            pair("enduser.id", "junit"),
            pair("custom", true),
        ],
    );
    let resource = vec![
        pair("service.name", "signup_aggregator"),
        pair("service.version", "1.1.12"),
        pair("cloud.provider", "aws"),
        pair("cloud.platform", "aws_ec2"),
        pair("cloud.account.id", "123456789012"),
        pair("cloud.availability_zone", "us-east-1c"),
        pair("host.id", "i-00f7c0bcb26da2a99"),
        pair("host.type", "m5.xlarge"),
        pair("host.image.id", "ami-0123456789"),
        pair("telemetry.sdk.name", "opentelemetry"),
        pair("telemetry.sdk.language", "java"),
        pair("telemetry.sdk.version", "1.2.3"),
        pair("telemetry.auto.version", "1.2.4"),
    ];
    assert_eq!(
        one(&span, resource),
        json!({
            "name": "signup_aggregator",
            "id": "53995c3f42cd8ad8",
            "trace_id": "1-58406520-a006649127e371903a2de979",
            "parent_id": "70de5b6f19ff9a0a",
            "start_time": 1_480_615_200.01,
            "end_time": 1_480_615_200.090_25,
            "origin": "AWS::EC2::Instance",
            "service": {"version": "1.1.12"},
            "user": "junit",
            "http": {
                "request": {
                    "method": "GET",
                    "url": "https://api.example.com/users/junit?x=1",
                    "user_agent": "PostmanRuntime/7.21.0",
                    "client_ip": "192.0.2.7",
                    "x_forwarded_for": true
                },
                "response": {"status": 200}
            },
            "aws": {
                "account_id": "123456789012",
                "ec2": {
                    "instance_id": "i-00f7c0bcb26da2a99",
                    "availability_zone": "us-east-1c",
                    "instance_size": "m5.xlarge",
                    "ami_id": "ami-0123456789"
                },
                "xray": {"sdk": "opentelemetry for java", "sdk_version": "1.2.3", "auto_instrumentation": true}
            },
            "metadata": {
                "default": {
                    "custom": true,
                    "otel.resource.service.name": "signup_aggregator",
                    "otel.resource.service.version": "1.1.12",
                    "otel.resource.cloud.provider": "aws",
                    "otel.resource.cloud.platform": "aws_ec2",
                    "otel.resource.cloud.account.id": "123456789012",
                    "otel.resource.cloud.availability_zone": "us-east-1c",
                    "otel.resource.host.id": "i-00f7c0bcb26da2a99",
                    "otel.resource.host.type": "m5.xlarge",
                    "otel.resource.host.image.id": "ami-0123456789",
                    "otel.resource.telemetry.sdk.name": "opentelemetry",
                    "otel.resource.telemetry.sdk.language": "java",
                    "otel.resource.telemetry.sdk.version": "1.2.3",
                    "otel.resource.telemetry.auto.version": "1.2.4"
                }
            }
        })
    );
}

#[test]
fn a_call_of_dynamodb_is_a_subsegment_of_aws() {
    let span = span(
        SpanKind::Client,
        true,
        vec![
            pair("rpc.system", "aws-api"),
            pair("aws.service", "DynamoDB"),
            pair("aws.operation", "GetItem"),
            pair("rpc.method", "IncorrectAWSSDKOperation"),
            pair("aws.region", "us-west-2"),
            pair("aws.request_id", "75107C82-EC8A-4F75-883F-4440B491B0AB"),
            pair("aws.table_name", "accounts"),
            pair("aws.account_id", "210987654321"),
        ],
    );
    assert_eq!(
        one(&span, vec![pair("cloud.account.id", "123456789012"), pair("service.name", "unseen")]),
        json!({
            "name": "DynamoDB",
            "id": "53995c3f42cd8ad8",
            "trace_id": "1-58406520-a006649127e371903a2de979",
            "parent_id": "70de5b6f19ff9a0a",
            "type": "subsegment",
            "namespace": "aws",
            "start_time": 1_480_615_200.01,
            "end_time": 1_480_615_200.090_25,
            "aws": {
                "account_id": "210987654321",
                "operation": "GetItem",
                "region": "us-west-2",
                "request_id": "75107C82-EC8A-4F75-883F-4440B491B0AB",
                "table_name": "accounts",
                "xray": {"auto_instrumentation": false}
            },
            "metadata": {"default": {"aws.service": "DynamoDB", "rpc.system": "aws-api"}}
        })
    );
}

#[test]
fn names_are_tried_in_the_exporters_order() {
    let cases: &[(SpanKind, Pairs<'_>, &str, Option<&str>)] = &[
        (SpanKind::Server, &[("aws.local.service", "local"), ("peer.service", "p")], "local", None),
        (SpanKind::Client, &[("aws.remote.service", "AWS.SDK.S3"), ("rpc.system", "aws-api")], "S3", Some("aws")),
        (SpanKind::Client, &[("aws.remote.service", "AWS::S3"), ("rpc.system", "aws-api")], "S3", Some("aws")),
        (SpanKind::Client, &[("aws.remote.service", "AWS.SDK.S3")], "AWS.SDK.S3", Some("remote")),
        (SpanKind::Producer, &[("aws.remote.service", "q")], "q", Some("remote")),
        (
            SpanKind::Client,
            &[("peer.service", "cats-table"), ("aws.service", "DynamoDB")],
            "cats-table",
            Some("remote"),
        ),
        (SpanKind::Client, &[("aws.service", "SQS"), ("db.name", "d")], "SQS", Some("aws")),
        (
            SpanKind::Client,
            &[("db.name", "customers"), ("db.connection_string", "jdbc:mysql://db.dev.example.com:3306")],
            "customers@db.dev.example.com",
            Some("remote"),
        ),
        (SpanKind::Client, &[("db.namespace", "customers")], "customers", Some("remote")),
        (SpanKind::Server, &[("rpc.service", "r")], "own", None),
        (SpanKind::Client, &[("rpc.service", "animals.Cats"), ("http.host", "h")], "animals.Cats", Some("remote")),
        (SpanKind::Client, &[("http.host", "foo.com"), ("net.peer.name", "bar")], "foo.com", Some("remote")),
        (SpanKind::Client, &[("net.peer.name", "bar.com")], "bar.com", Some("remote")),
        (SpanKind::Client, &[("server.address", "baz.com")], "baz.com", Some("remote")),
        (SpanKind::Internal, &[], "/users/id", None),
        (SpanKind::Client, &[("peer.service", "")], "/users/id", Some("remote")),
    ];
    for (kind, attributes, name, namespace) in cases {
        let attributes = attributes.iter().map(|(key, value)| pair(key, *value)).collect();
        let document = one(&span(*kind, true, attributes), vec![pair("service.name", "own")]);
        assert_eq!(document["name"], *name, "{kind:?} {document}");
        assert_eq!(document.get("namespace").and_then(Value::as_str), *namespace, "{kind:?} {document}");
        let is_segment = *kind == SpanKind::Server;
        assert_eq!(document.get("type").is_none(), is_segment, "{kind:?}");
        assert_eq!(document["metadata"]["default"].get("otel.resource.service.name").is_some(), is_segment);
    }
    let root = one(&span(SpanKind::Internal, false, vec![]), vec![]);
    assert!(root.get("type").is_none() && root.get("parent_id").is_none(), "{root}");
}

#[test]
fn addresses_are_put_together_from_old_and_new_conventions() {
    let cases: &[(SpanKind, Pairs<'_>, &str)] = &[
        (
            SpanKind::Client,
            &[("http.url", "https://api.example.com/users?q=1"), ("http.host", "x")],
            "https://api.example.com/users?q=1",
        ),
        (SpanKind::Client, &[("url.full", "https://api.example.com/users")], "https://api.example.com/users"),
        (
            SpanKind::Client,
            &[("http.scheme", "https"), ("http.host", "foo.com"), ("http.target", "/t?q")],
            "https://foo.com/t?q",
        ),
        (
            SpanKind::Client,
            &[("http.method", "GET"), ("net.peer.name", "foo.com"), ("net.peer.port", "9443")],
            "http://foo.com:9443/",
        ),
        (
            SpanKind::Client,
            &[("http.scheme", "https"), ("net.peer.ip", "10.8.17.36"), ("net.peer.port", "443")],
            "https://10.8.17.36/",
        ),
        (
            SpanKind::Client,
            &[
                ("url.scheme", "http"),
                ("server.address", "foo.com"),
                ("server.port", "80"),
                ("url.path", "/a"),
                ("url.query", "b=1"),
            ],
            "http://foo.com/a?b=1",
        ),
        (
            SpanKind::Server,
            &[
                ("http.scheme", "https"),
                ("http.server_name", "api.com"),
                ("net.host.port", "8443"),
                ("http.target", "/u"),
            ],
            "https://api.com:8443/u",
        ),
        (SpanKind::Server, &[("http.scheme", "http"), ("host.name", "h"), ("net.host.port", "8080")], "http://h:8080/"),
        (
            SpanKind::Server,
            &[("url.scheme", "https"), ("server.address", "::1"), ("server.port", "444"), ("url.path", "/")],
            "https://[::1]:444/",
        ),
    ];
    for (kind, attributes, url) in cases {
        let attributes = attributes.iter().map(|(key, value)| pair(key, *value)).collect();
        let document = one(&span(*kind, true, attributes), vec![]);
        assert_eq!(document["http"]["request"]["url"], *url, "{document}");
        assert!(document.get("metadata").is_none(), "all taken: {document}");
    }
    let numbers = vec![pair("http.method", "GET"), pair("server.address", "h"), pair("server.port", 81)];
    assert_eq!(one(&span(SpanKind::Client, true, numbers), vec![])["http"]["request"]["url"], "http://h:81/");
    // Nothing of HTTP: the names of peers stay where they can be seen.
    let plain = one(&span(SpanKind::Client, true, vec![pair("server.address", "h"), pair("net.peer.port", 5)]), vec![]);
    assert!(plain.get("http").is_none());
    assert_eq!(plain["metadata"]["default"], json!({"net.peer.port": 5, "server.address": "h"}));
}

#[test]
fn who_asked_is_told_with_whether_it_was_seen() {
    for (attributes, ip, forwarded) in [
        (vec![("http.client_ip", "192.0.2.1"), ("net.peer.ip", "10.0.0.1")], json!("192.0.2.1"), false),
        (vec![("client.address", "192.0.2.1")], json!("192.0.2.1"), true),
        (vec![("network.peer.address", "10.0.0.1")], json!("10.0.0.1"), false),
        (vec![("network.peer.address", "/tmp/my.sock"), ("client.address", "name")], Value::Null, false),
    ] {
        let mut attributes: Vec<_> = attributes.into_iter().map(|(key, value)| pair(key, value)).collect();
        attributes.push(pair("http.request.method", "GET"));
        let request = one(&span(SpanKind::Server, false, attributes), vec![])["http"]["request"].clone();
        assert_eq!((request["client_ip"].clone(), request["x_forwarded_for"] == true), (ip, forwarded), "{request}");
    }
    let mut span = span(SpanKind::Client, true, vec![pair("http.method", "GET")]);
    let attributes = vec![pair("message.type", "RECEIVED"), pair("messaging.message_payload_size_bytes", 12_452)];
    span.events.push(Event { name: "message".into(), attributes, ..Event::default() });
    assert_eq!(one(&span, vec![])["http"]["response"]["content_length"], 12_452);
}

#[test]
fn how_it_ended_follows_from_the_status() {
    let ended = |http: Option<i64>, code: StatusCode| {
        let attributes = http.map(|status| pair("http.response.status_code", status)).into_iter().collect();
        let mut span = span(SpanKind::Client, true, attributes);
        span.status = Some(Status { message: String::new(), code: code.into() });
        let document = one(&span, vec![]);
        let is = |name: &str| document.get(name) == Some(&Value::Bool(true));
        (is("error"), is("throttle"), is("fault"))
    };
    assert_eq!(ended(Some(404), StatusCode::Error), (true, false, false));
    assert_eq!(ended(Some(429), StatusCode::Unset), (true, true, false));
    assert_eq!(ended(Some(503), StatusCode::Unset), (false, false, true));
    assert_eq!(ended(Some(200), StatusCode::Error), (false, false, true));
    assert_eq!(ended(None, StatusCode::Error), (false, false, true));
    assert_eq!(ended(None, StatusCode::Ok), (false, false, false));
}

#[test]
fn exceptions_have_ids_and_point_at_what_led_to_them() {
    let mut span = span(SpanKind::Client, true, vec![]);
    let stack = "E: m\n\tat a.B.c(D.java:7)\nCaused by: X: y\n\tat e.F.g(H.java:8)\n";
    span.events = vec![exception("E", "m", stack), exception("Other", "", "")];
    span.status = Some(Status { message: "not told".into(), code: StatusCode::Error.into() });
    let document = one(&span, vec![pair("telemetry.sdk.language", "java")]);
    let exceptions = document["cause"]["exceptions"].as_array().unwrap();
    assert_eq!(exceptions.len(), 3);
    assert_eq!((&exceptions[0]["type"], &exceptions[0]["message"]), (&json!("E"), &json!("m")));
    assert_eq!(exceptions[0]["stack"], json!([{"path": "D.java", "line": 7, "label": "a.B.c"}]));
    assert_eq!(exceptions[0]["cause"], exceptions[1]["id"]);
    assert_eq!(exceptions[1]["stack"], json!([{"path": "H.java", "line": 8, "label": "e.F.g"}]));
    assert_eq!((&exceptions[2]["type"], exceptions[2].get("stack")), (&json!("Other"), None));
    assert!(exceptions.iter().all(|one| one["remote"] == true && one["id"].as_str().unwrap().len() == 16));
    let ids: std::collections::BTreeSet<_> = exceptions.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(one(&span, vec![pair("telemetry.sdk.language", "java")]), document, "the same each time");
    // Nobody here reads Ruby's, so its text stays.
    let ruby = one(&span, vec![pair("telemetry.sdk.language", "ruby")]);
    assert_eq!(ruby["metadata"]["default"]["exception.stacktrace"], stack);
}

#[test]
fn without_exceptions_the_status_says_what_went_wrong() {
    let mut span =
        span(SpanKind::Client, true, vec![pair("http.status_text", "not found"), pair("http.status_code", 500)]);
    span.status = Some(Status { message: String::new(), code: StatusCode::Error.into() });
    let document = one(&span, vec![]);
    assert_eq!(document["cause"]["exceptions"][0]["message"], "not found");
    assert!(document.get("metadata").is_none(), "{document}");
    span.status.as_mut().unwrap().message = "gone".into();
    assert_eq!(one(&span, vec![])["cause"]["exceptions"][0]["message"], "gone");
    span.status = None;
    assert!(one(&span, vec![]).get("cause").is_none());
}

#[test]
fn attempts_of_the_aws_sdk_are_exceptions() {
    let mut span = span(SpanKind::Client, true, vec![pair("rpc.system", "aws-api")]);
    let attributes = vec![pair("http.response.status_code", 503), pair("aws.http.error_message", "slow down")];
    span.events.push(Event {
        name: "HTTP request failure".into(),
        time_unix_nano: 1_500_000_000_000_001_000,
        attributes,
        ..Event::default()
    });
    let cause = one(&span, vec![])["cause"]["exceptions"][0].clone();
    assert_eq!((&cause["type"], &cause["remote"]), (&json!("aws.http.error.event"), &json!(true)));
    assert_eq!(cause["message"], "503@1500000000.000001@slow down");
}

#[test]
fn sql_databases_have_a_block_and_others_metadata() {
    let attributes = vec![
        pair("db.system", "mysql"),
        pair("db.name", "customers"),
        pair("db.statement", "SELECT * FROM user WHERE user_id = ?"),
        pair("db.user", "readonly_user"),
        pair("db.connection_string", "mysql://db.dev.example.com:3306"),
        pair("net.peer.name", "db.dev.example.com"),
    ];
    let document = one(&span(SpanKind::Client, true, attributes), vec![]);
    assert_eq!(
        document["sql"],
        json!({
            "connection_string": "mysql://db.dev.example.com:3306/customers",
            "url": "/users/{id}",
            "sanitized_query": "SELECT * FROM user WHERE user_id = ?",
            "database_type": "mysql",
            "user": "readonly_user"
        })
    );
    assert_eq!(document["name"], "customers@db.dev.example.com");
    let new = vec![pair("db.system.name", "postgresql"), pair("db.namespace", "n"), pair("db.query.text", "q")];
    let document = one(&span(SpanKind::Client, true, new), vec![]);
    assert_eq!(document["sql"]["connection_string"], "localhost/n");
    assert_eq!(document["sql"]["sanitized_query"], "q");
    let redis = vec![pair("db.system", "redis"), pair("db.statement", "GET k")];
    let document = one(&span(SpanKind::Client, true, redis), vec![]);
    assert!(document.get("sql").is_none());
    assert_eq!(document["metadata"]["default"], json!({"db.statement": "GET k", "db.system": "redis"}));
}

#[test]
fn places_have_their_origin_and_block() {
    let origin = |resource: Vec<(&str, &str)>| {
        let resource = resource.into_iter().map(|(key, value)| pair(key, value)).collect();
        let document = one(&span(SpanKind::Server, false, vec![]), resource);
        (document["origin"].clone(), document["aws"].clone())
    };
    let (name, aws) = origin(vec![
        ("cloud.platform", "aws_ecs"),
        ("aws.ecs.launchtype", "fargate"),
        ("aws.ecs.task.arn", "arn:aws:ecs:us-west-2:1:task/x"),
        ("container.name", "signup"),
        ("container.id", "0123"),
        ("cloud.availability_zone", "us-west-2a"),
    ]);
    assert_eq!(name, "AWS::ECS::Fargate");
    assert_eq!(
        aws["ecs"],
        json!({"container": "signup", "container_id": "0123", "task_arn": "arn:aws:ecs:us-west-2:1:task/x",
            "availability_zone": "us-west-2a", "launch_type": "fargate"})
    );
    assert_eq!(origin(vec![("cloud.platform", "aws_ecs"), ("aws.ecs.launchtype", "ec2")]).0, "AWS::ECS::EC2");
    assert_eq!(origin(vec![("cloud.platform", "aws_ecs")]).0, "AWS::ECS::Container");
    let (name, aws) = origin(vec![
        ("cloud.platform", "aws_eks"),
        ("k8s.cluster.name", "production"),
        ("k8s.pod.name", "my-deployment-65dcf7d447-ddjnl"),
        ("container.id", "abc"),
    ]);
    assert_eq!(name, "AWS::EKS::Container");
    assert_eq!(
        aws["eks"],
        json!({"cluster_name": "production", "pod": "my-deployment-65dcf7d447-ddjnl", "container_id": "abc"})
    );
    let (name, aws) = origin(vec![
        ("cloud.platform", "aws_elastic_beanstalk"),
        ("service.namespace", "production"),
        ("service.instance.id", "23"),
        ("service.version", "2.1.4"),
    ]);
    assert_eq!(name, "AWS::ElasticBeanstalk::Environment");
    assert_eq!(
        aws["elastic_beanstalk"],
        json!({"environment_name": "production", "version_label": "2.1.4", "deployment_id": 23})
    );
    assert_eq!(origin(vec![("cloud.platform", "aws_app_runner")]).0, "AWS::AppRunner::Service");
    let elsewhere = origin(vec![("cloud.provider", "gcp"), ("cloud.platform", "aws_ec2"), ("host.id", "x")]);
    assert_eq!(elsewhere, (Value::Null, Value::Null));
    assert_eq!(origin(vec![("cloud.platform", "azure_vm")]).0, Value::Null);
}

#[test]
fn in_another_cloud_nothing_of_the_call_is_lost() {
    let attributes = vec![pair("rpc.method", "Get"), pair("aws.region", "r")];
    let document = one(&span(SpanKind::Client, true, attributes), vec![pair("cloud.provider", "gcp")]);
    assert_eq!(document["metadata"]["default"], json!({"aws.region": "r", "rpc.method": "Get"}));
}

#[test]
fn log_groups_come_from_the_resource_or_the_configuration() {
    let options = Options { log_groups: vec!["configured".into()], ..Options::default() };
    let groups = |resource| {
        one_with(&span(SpanKind::Server, false, vec![]), resource, &options)["aws"]["cloudwatch_logs"].clone()
    };
    assert_eq!(groups(vec![]), json!([{"log_group": "configured"}]));
    assert_eq!(groups(vec![pair("aws.log.group.names", "a&b")]), json!([{"log_group": "a"}, {"log_group": "b"}]));
    let arn = "arn:aws:logs:us-east-1:123456789123:log-group:group1:*";
    assert_eq!(
        groups(vec![pair("aws.log.group.arns", list(&[arn])), pair("aws.log.group.names", list(&["n"]))]),
        json!([{"log_group": "group1", "arn": arn}])
    );
}

#[test]
fn tables_and_queues_follow_their_conventions() {
    let aws = |attributes| one(&span(SpanKind::Client, true, attributes), vec![])["aws"].clone();
    let one_table = aws(vec![pair("aws.table.name", "old"), pair("aws.dynamodb.table_names", list(&["t"]))]);
    assert_eq!(one_table["table_name"], "t");
    let two = aws(vec![pair("aws.table.name", "old"), pair("aws.dynamodb.table_names", list(&["t", "u"]))]);
    assert_eq!((two.get("table_name"), &two["table_names"]), (None, &json!(["t", "u"])));
    let queue = "https://sqs.us-west-2.amazonaws.com/1/q";
    assert_eq!(aws(vec![pair("aws.queue.url", "x"), pair("messaging.url", queue)])["queue_url"], queue);
    assert_eq!(aws(vec![pair("rpc.system", "aws-api"), pair("cloud.region", "eu-west-1")])["region"], "eu-west-1");
}

#[test]
fn annotations_are_indexed_with_clean_names_and_the_rest_is_metadata() {
    let map =
        AnyValue::from(Any::Map(KeyValueList { values: vec![pair("k", 1.5), pair("bytes", Any::Bytes(vec![1, 2]))] }));
    let attributes = vec![
        pair("a-b c.d", "x"),
        pair("number", 5),
        pair("nan", f64::NAN),
        pair("map", map),
        pair("http.method", "GET"),
        pair("aws.xray.metadata.mine", r#"{"deep":{"a":[1,2]}}"#),
        pair("aws.xray.metadata.default", r#"{"x":1}"#),
        pair("aws.xray.metadata.bad", "not json"),
        pair("aws.xray.annotations", list(&["number"])),
        pair("empty", AnyValue::default()),
    ];
    let options = Options {
        annotations: ["a-b c.d", "nan", "map", "http.method", "otel.resource.service.name"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let span = span(SpanKind::Server, false, attributes);
    let document = one_with(&span, vec![pair("service.name", "s"), pair("host.arch", "arm64")], &options);
    assert_eq!(
        document["annotations"],
        json!({"a_b_c.d": "x", "number": 5, "nan": "NaN", "http.method": "GET", "otel.resource.service.name": "s"})
    );
    assert_eq!(document["metadata"]["mine"], json!({"deep": {"a": [1, 2]}}));
    assert_eq!(
        document["metadata"]["default"],
        json!({"map": {"k": 1.5, "bytes": "AQI="}, "x": 1, "aws.xray.metadata.bad": "not json", "otel.resource.host.arch": "arm64"})
    );
    let all = one_with(&span, vec![pair("host.arch", "arm64")], &Options { annotate_all: true, ..Options::default() });
    assert_eq!(all["annotations"]["otel.resource.host.arch"], "arm64");
    assert_eq!(all["metadata"]["default"]["map"]["k"], 1.5, "what cannot be indexed is kept");
}

#[test]
fn a_long_annotation_is_indexed_by_its_beginning_and_kept_whole() {
    let text = "ü".repeat(1500);
    let options = Options { annotations: vec!["long".into()], ..Options::default() };
    let document = one_with(&span(SpanKind::Client, true, vec![pair("long", text.as_str())]), vec![], &options);
    assert_eq!(document["annotations"]["long"].as_str().unwrap().chars().count(), 1000);
    assert_eq!(document["metadata"]["default"]["long"], text);
}

#[test]
fn a_local_root_that_calls_away_is_a_service_and_its_dependency() {
    let attributes = vec![
        pair("aws.span.kind", "LOCAL_ROOT"),
        pair("aws.local.service", "myLocalService"),
        pair("aws.remote.service", "AWS.SDK.DynamoDB"),
        pair("aws.remote.operation", "GetItem"),
        pair("rpc.system", "aws-api"),
        pair("rpc.method", "GetItem"),
        pair("http.method", "POST"),
        pair("note", "n"),
    ];
    let mut span = span(SpanKind::Client, true, attributes);
    let link = Link { trace_id: vec![7; 16], span_id: vec![8; 8], attributes: vec![pair("l", 1)], ..Link::default() };
    span.links = vec![link, Link { trace_id: vec![0; 16], span_id: vec![8; 8], ..Link::default() }];
    let documents = all_with(&span, vec![pair("host.arch", "arm64")], &Options::default());
    let [dependency, service] = documents.as_slice() else { panic!("two documents") };
    let (id, dependency, service): (_, Value, Value) = (
        service.id.clone(),
        serde_json::from_str(&dependency.json).unwrap(),
        serde_json::from_str(&service.json).unwrap(),
    );
    assert_eq!((&dependency["name"], &dependency["type"]), (&json!("DynamoDB"), &json!("subsegment")));
    assert_eq!((&dependency["id"], &dependency["parent_id"]), (&json!("53995c3f42cd8ad8"), &json!(id)));
    assert_eq!((&dependency["namespace"], &dependency["aws"]["operation"]), (&json!("aws"), &json!("GetItem")));
    assert_eq!(
        dependency["links"],
        json!([{"trace_id": "1-07070707-070707070707070707070707", "id": "0808080808080808", "attributes": {"l": 1}}])
    );
    assert_eq!((&service["name"], &service["id"]), (&json!("myLocalService"), &json!(id)));
    assert_eq!(service["parent_id"], "70de5b6f19ff9a0a");
    for gone in ["type", "namespace", "http", "links"] {
        assert!(service.get(gone).is_none(), "{gone} in {service}");
    }
    assert!(service["aws"].get("operation").is_none());
    assert_eq!(service["metadata"]["default"], json!({"otel.resource.host.arch": "arm64"}));
    span.kind = SpanKind::Internal.into();
    let inner = one(&span, vec![]);
    assert_eq!((&inner["name"], inner.get("type"), inner.get("namespace")), (&json!("myLocalService"), None, None));
}

#[test]
fn a_connection_string_names_the_server_and_no_password() {
    let connected = |attributes: &[(&str, &str)]| {
        let attributes = attributes.iter().map(|(key, value)| pair(key, *value));
        let attributes = attributes.chain([pair("db.system", "mysql"), pair("db.namespace", "n")]).collect();
        let document = one(&span(SpanKind::Client, true, attributes), vec![]);
        document["sql"]["connection_string"].as_str().unwrap().strip_suffix("/n").unwrap().to_owned()
    };
    for (given, shown) in [
        ("mysql://db:3306", "mysql://db:3306"),
        ("mysql://shop@db:3306", "mysql://shop@db:3306"),
        ("mysql://shop:hidden@db:3306", "mysql://shop@db:3306"),
        ("jdbc:postgresql://shop:hid@den@db/x", "jdbc:postgresql://shop@db/x"),
        ("jdbc:mysql://db/x?user=u&password=hidden&ssl=true", "jdbc:mysql://db/x?user=u&ssl=true"),
        ("jdbc:mysql://db/x?user=u&password=hidden", "jdbc:mysql://db/x?user=u"),
        ("Server=db;Uid=u;Pwd=hidden;Pooling=1", "Server=db;Uid=u;Pooling=1"),
        ("u/hidden@//h:1521/x", "u@//h:1521/x"),
        ("DefaultEndpointsProtocol=https;AccountKey=hidden;X=1", "DefaultEndpointsProtocol=https;X=1"),
        ("Server=db;PASSWORD = \"hid;den\";Uid=u", "Server=db;Uid=u"),
        ("Server=db;Password='hid den", "Server=db"),
        ("host=db password=hidden user=u passwd=hidden", "host=db user=u"),
        ("jdbc:sqlserver://db;password={hid;den};user=u", "jdbc:sqlserver://db;user=u"),
        ("jdbc:oracle:thin:scott/hidden@//db:1521/x", "jdbc:oracle:thin:scott@//db:1521/x"),
        ("shop:hidden@tcp(db:3306)/x", "shop@tcp(db:3306)/x"),
        ("nopassword=1;passwords=2", "nopassword=1;passwords=2"),
        ("Pwd=hidden", ""),
    ] {
        assert_eq!(connected(&[("db.connection_string", given)]), shown, "{given}");
    }
    assert_eq!(connected(&[]), "localhost");
    assert_eq!(connected(&[("server.address", "db2")]), "db2");
    assert_eq!(connected(&[("server.address", "db2"), ("server.port", "3306")]), "db2:3306");
    assert_eq!(connected(&[("server.address", "::1"), ("server.port", "3306")]), "[::1]:3306");
    assert_eq!(connected(&[("server.address", "db2"), ("db.connection_string", "db3")]), "db3");
}

#[test]
fn a_span_that_has_not_ended_is_in_progress() {
    let mut span = span(SpanKind::Server, false, vec![]);
    span.end_time_unix_nano = 0;
    let document = one(&span, vec![]);
    assert_eq!((&document["in_progress"], document.get("end_time")), (&json!(true), None));
    span.end_time_unix_nano = span.start_time_unix_nano - 5_000_000;
    let document = one(&span, vec![]);
    assert_eq!(document["end_time"], document["start_time"], "a clock that was set back");
    span.attributes.push(pair("aws.xray.inprogress", true));
    assert_eq!(one(&span, vec![])["in_progress"], true);
}

#[test]
fn spans_that_x_ray_cannot_place_are_refused() {
    let refusal = |change: fn(&mut Span)| {
        let mut span = span(SpanKind::Server, false, vec![]);
        change(&mut span);
        documents(&span, vec![], &Options::default()).err()
    };
    assert_eq!(refusal(|span| span.trace_id = vec![1; 8]), Some(Refusal::TraceId));
    assert_eq!(refusal(|span| span.trace_id = vec![0; 16]), Some(Refusal::TraceId));
    assert_eq!(refusal(|span| span.span_id.clear()), Some(Refusal::SpanId));
    assert_eq!(refusal(|span| span.start_time_unix_nano = 0), Some(Refusal::StartTime));
}
