//! Tables of host names.

use super::*;

#[test]
fn host_names_say_service_and_region() {
    let table: &[(&str, Option<&str>, Option<&str>)] = &[
        ("aps-workspaces.us-east-1.amazonaws.com", Some("aps"), Some("us-east-1")),
        ("aps-workspaces-fips.us-gov-west-1.amazonaws.com", Some("aps"), Some("us-gov-west-1")),
        ("aps-workspaces.eu-west-1.api.aws", Some("aps"), Some("eu-west-1")),
        ("APS-Workspaces.US-East-1.amazonaws.com.", Some("aps"), Some("us-east-1")),
        ("logs.us-west-2.amazonaws.com", Some("logs"), Some("us-west-2")),
        ("logs-fips.us-west-2.amazonaws.com", Some("logs"), Some("us-west-2")),
        ("logs.ap-southeast-7.api.aws", Some("logs"), Some("ap-southeast-7")),
        ("firehose.cn-north-1.amazonaws.com.cn", Some("firehose"), Some("cn-north-1")),
        ("firehose-fips.us-gov-east-1.amazonaws.com", Some("firehose"), Some("us-gov-east-1")),
        ("kinesis.eu-central-1.amazonaws.com", Some("kinesis"), Some("eu-central-1")),
        ("123456789012.data-kinesis.us-east-1.amazonaws.com", Some("kinesis"), Some("us-east-1")),
        ("xray.us-east-2.amazonaws.com", Some("xray"), Some("us-east-2")),
        ("monitoring.mx-central-1.amazonaws.com", Some("monitoring"), Some("mx-central-1")),
        ("sts.us-east-1.amazonaws.com", Some("sts"), Some("us-east-1")),
        ("sts.amazonaws.com", Some("sts"), Some("us-east-1")),
        ("a1b2c3.execute-api.eu-west-2.amazonaws.com", Some("execute-api"), Some("eu-west-2")),
        ("a1b2c3-vpce-0ab.execute-api.eu-west-2.amazonaws.com", Some("execute-api"), Some("eu-west-2")),
        ("vpce-0abc-def.aps-workspaces.us-east-1.vpce.amazonaws.com", Some("aps"), Some("us-east-1")),
        ("vpce-0abc-def-us-east-1a.logs.us-east-1.vpce.amazonaws.com", Some("logs"), Some("us-east-1")),
        ("vpce-0abc.sts.cn-northwest-1.vpce.amazonaws.com.cn", Some("sts"), Some("cn-northwest-1")),
        ("bucket.vpce-0abc.s3.us-east-1.vpce.amazonaws.com", Some("s3"), Some("us-east-1")),
        ("s3.amazonaws.com", Some("s3"), Some("us-east-1")),
        ("s3.eu-west-3.amazonaws.com", Some("s3"), Some("eu-west-3")),
        ("s3-eu-west-3.amazonaws.com", Some("s3"), Some("eu-west-3")),
        ("s3-fips.us-gov-west-1.amazonaws.com", Some("s3"), Some("us-gov-west-1")),
        ("s3-fips.dualstack.us-east-1.amazonaws.com", Some("s3"), Some("us-east-1")),
        ("my.dotted.bucket.s3.us-west-1.amazonaws.com", Some("s3"), Some("us-west-1")),
        ("bucket.s3.dualstack.us-west-1.amazonaws.com", Some("s3"), Some("us-west-1")),
        ("bucket.s3-accelerate.amazonaws.com", Some("s3"), None),
        ("bucket.s3.cn-north-1.amazonaws.com.cn", Some("s3"), Some("cn-north-1")),
        ("ap-123456789012.s3-accesspoint.us-east-1.amazonaws.com", Some("s3"), Some("us-east-1")),
        ("search-d-abc.us-east-1.es.amazonaws.com", Some("es"), Some("us-east-1")),
        ("abc.us-east-1.aoss.amazonaws.com", Some("aoss"), Some("us-east-1")),
        ("us-east-2.queue.amazonaws.com", Some("sqs"), Some("us-east-2")),
        ("abc.lambda-url.us-east-1.on.aws", Some("lambda"), Some("us-east-1")),
        ("aps-workspaces.eusc-de-east-1.amazonaws.eu", Some("aps"), Some("eusc-de-east-1")),
        ("lb-1.us-east-1.elb.amazonaws.com", None, Some("us-east-1")),
    ];
    for (name, service, region) in table {
        let host = parse_host(&Url::parse(&format!("https://{name}/x")).unwrap()).unwrap();
        assert_eq!((host.service.as_deref(), host.region.as_deref()), (*service, *region), "{name}");
    }
}

#[test]
fn other_hosts_say_nothing() {
    for url in [
        "https://example.com/",
        "https://127.0.0.1:9/",
        "https://[::1]/",
        "https://amazonaws.com/",
        "https://amazonaws.com.evil.example/",
        "https://notamazonaws.com/",
        "https://aps-workspaces.us-east-1.amazonaws.com.example.org/",
    ] {
        assert_eq!(parse_host(&Url::parse(url).unwrap()), None, "{url}");
    }
}

#[test]
fn the_finer_points_of_a_host_are_read() {
    let parse = |name: &str| parse_host(&Url::parse(&format!("https://{name}/")).unwrap()).unwrap();
    let bucket = |name: &str| Some(S3Style::VirtualHost { bucket: name.to_owned() });
    assert_eq!(parse("my.bucket.s3.us-west-1.amazonaws.com").s3_style, bucket("my.bucket"));
    assert_eq!(parse("s3.s3.us-west-1.amazonaws.com").s3_style, bucket("s3"));
    assert_eq!(parse("s3.us-west-1.amazonaws.com").s3_style, Some(S3Style::Path));
    assert_eq!(parse("bucket.vpce-0.s3.us-west-1.vpce.amazonaws.com").s3_style, Some(S3Style::Path));
    assert!(parse("bucket.vpce-0.s3.us-west-1.vpce.amazonaws.com").vpc_endpoint);
    assert!(parse("aps-workspaces-fips.us-east-1.amazonaws.com").fips);
    assert!(parse("s3-fips.dualstack.us-east-1.amazonaws.com").fips);
    assert!(parse("s3-fips.dualstack.us-east-1.amazonaws.com").dualstack);
    assert!(parse("logs.us-east-1.api.aws").dualstack);
    assert_eq!(parse("logs.us-gov-west-1.amazonaws.com").partition, Partition::GovCloud);
    assert_eq!(parse("logs.cn-north-1.amazonaws.com.cn").partition, Partition::China);
}

#[test]
fn names_that_no_bucket_can_have_are_told_with_what_is_wrong() {
    for (name, words) in [
        ("b1", "too short"),
        (&"a".repeat(64), "too long"),
        ("AB-C", "capital"),
        ("a_b-c", "underscore"),
        ("a b-c", "none of small letters"),
        ("büro", "none of small letters"),
        ("-abc", "begins or ends"),
        ("abc.", "begins or ends"),
        ("a..b", "two dots"),
        ("192.168.5.4", "IP address"),
        ("xn--abc", "keeps for itself"),
    ] {
        assert!(bucket_fault(name).is_some_and(|why| why.contains(words)), "{name}: {:?}", bucket_fault(name));
    }
    for fine in ["abc", "a.b-c", "1ab", &"a".repeat(63), "archive--use1-az4--x-s3", "ap-metadata-s3alias"] {
        assert_eq!(bucket_fault(fine), None, "{fine}");
    }
}
