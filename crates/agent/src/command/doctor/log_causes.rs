//! The part of the table of causes that is about log destinations.
//!
//! Keeps true: what `causes` keeps true.

use super::cause::{
    Cause,
    Kind::{Answer, Permission, Signature, Unproven},
    causes,
};

causes! { LOG_CAUSES =
gateway_path, Signature {
    verdict: "this API has no method POST at {path}",
    seen: "403 `Missing Authentication Token` from API Gateway, although the request is signed.",
    meaning: "API Gateway says these words to every stage, path and verb that it does not know. The URL is https://ID.execute-api.REGION.amazonaws.com/STAGE/PATH.",
    steps: [
        "compare the stage and the path in `url` with the API's; a resource needs the method POST with authorization AWS_IAM",
        "deploy the API to its stage again: a changed API is not there before",
    ],
    commands: ["aws apigateway get-resources --rest-api-id ID --region {region}", "aws apigateway get-stages --rest-api-id ID --region {region}"],
}
log_group_missing, Answer {
    verdict: "the log group does not exist, and the agent may not make it (create: false)",
    seen: "`ResourceNotFoundException`: The specified log group does not exist.",
    meaning: "The name is another in this account and region, or nobody has made the group. This identity may write to it.",
    steps: [
        "make the group (command below), or set create: true and allow logs:CreateLogGroup and logs:CreateLogStream",
        "compare log_group and the region with the console's",
    ],
    commands: ["aws logs create-log-group --log-group-name {log_group} --region {region}"],
    iam: ("logs:CreateLogGroup", "arn:aws:logs:{region}:{account}:log-group:{log_group}:*"),
}
log_stream_missing, Answer {
    verdict: "the log stream does not exist, and the agent may not make it (create: false)",
    seen: "`ResourceNotFoundException`: The specified log stream does not exist.",
    meaning: "The group is there and this identity may write to it; it has no stream of this name.",
    steps: ["make the stream (command below), or set create: true and allow logs:CreateLogStream"],
    commands: ["aws logs create-log-stream --log-group-name {log_group} --log-stream-name {log_stream} --region {region}"],
    iam: ("logs:CreateLogStream", "arn:aws:logs:{region}:{account}:log-group:{log_group}:*"),
}
stream_missing, Answer {
    verdict: "the stream does not exist in {region} of this account",
    seen: "`ResourceNotFoundException`: Stream NAME under account ID not found; Firehose NAME not found under account ID.",
    meaning: "The name is misspelt, or the stream is of another region or account: both follow from `url` and the identity.",
    steps: [
        "compare delivery_stream or stream_name, the region in `url` and the account of the caller with the console's",
        "give the name and not the ARN",
    ],
    commands: ["aws firehose list-delivery-streams --region {region}", "aws kinesis list-streams --region {region}"],
}
delivery_stream_not_direct, Answer {
    verdict: "the delivery stream takes its records from {kind} and none from us",
    seen: "`This operation is not permitted on KinesisStreamAsSource delivery stream type`.",
    meaning: "A Firehose stream has one source. Only those of the source Direct PUT take records that are put to them.",
    steps: ["write to the Kinesis stream that is its source, or make a Firehose stream with the source Direct PUT"],
    commands: ["aws firehose describe-delivery-stream --delivery-stream-name {stream} --region {region}"],
}
delivery_stream_not_active, Answer {
    verdict: "the delivery stream is {state}",
    seen: "`DeliveryStreamStatus` is not ACTIVE.",
    meaning: "Firehose takes records only while the stream is active: it is being made or deleted, or could not be made.",
    steps: ["wait until it is ACTIVE; where it stays CREATING_FAILED, its own FailureDescription says why"],
    commands: ["aws firehose describe-delivery-stream --delivery-stream-name {stream} --region {region}"],
}
key_unusable, Permission {
    verdict: "the encryption key of the stream or group cannot be used",
    seen: "`KMSAccessDeniedException`, `KMSDisabledException`, `InvalidKMSResourceException`.",
    meaning: "What is written is encrypted with a KMS key in the caller's name, or in the service's, and the key refuses, is disabled or is gone.",
    steps: [
        "allow kms:GenerateDataKey on the key, in this identity's policy and in the key's own",
        "is the key enabled, and in this region?",
    ],
    commands: ["aws kms describe-key --key-id KEY --region {region}"],
    iam: ("kms:GenerateDataKey", "the key's ARN"),
}
tenant_missing, Permission {
    verdict: "the receiver wants a tenant and none is given",
    seen: "401 `no org id` from Loki.",
    meaning: "Loki runs with auth_enabled: true and tells tenants apart by the header X-Scope-OrgID.",
    steps: ["set tenant_id in this client"],
    commands: [],
}
permission_not_shown, Unproven {
    verdict: "nothing refuses, and whether this identity is allowed {action} shows only when it is done",
    seen: "Exit code 3. Address, identity and what else is named at `shows` are right.",
    meaning: "{why_open} So a missing permission would show with the data, and not before.",
    steps: ["{how_to_show}", "or compare the identity's policy with {policy}, and take it as it is: doctor --unproven-ok"],
    commands: ["sigpost doctor -config.file={config} --destination {name} --write-probe", "aws iam simulate-principal-policy --policy-source-arn {principal} --action-names {open_actions} --resource-arns {open_resource}"],
    iam: ("{action}", "{open_resource}"),
}
names_not_shown, Unproven {
    verdict: "nothing refuses, and whether log groups and streams exist shows only with the lines that name them",
    seen: "Exit code 3. log_group or log_stream hold labels, and create is false.",
    meaning: "The names depend on labels of lines that have not come yet, and the agent may not make what is missing.",
    steps: [
        "set create: true and allow logs:CreateLogGroup and logs:CreateLogStream, or make the groups and streams beforehand",
        "or take it as it is: doctor --unproven-ok",
    ],
    commands: ["aws logs describe-log-groups --log-group-name-prefix {log_group_prefix} --region {region}"],
}
}
