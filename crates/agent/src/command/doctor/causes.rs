//! The table of causes: what can keep a destination from taking data, what one sees, and what to do.
//!
//! The one source of doctor's verdicts and of docs/operations/troubleshooting.md. Keeps true: ids are unique and never
//! change their meaning; every row says what to do.

use super::{
    cause::{
        Cause,
        Kind::{Answer, Credentials, Network, Note, Permission, Signature},
        causes,
    },
    log_causes::LOG_CAUSES,
};

/// Looks a cause up. Ids in the code are checked by a test, so the fallback is never seen.
pub fn cause(id: &str) -> &'static Cause {
    CAUSES.iter().chain(LOG_CAUSES).find(|cause| cause.id == id).unwrap_or(&UNKNOWN)
}

/// Every row.
#[cfg(test)]
pub fn all() -> impl Iterator<Item = &'static Cause> + Clone {
    CAUSES.iter().chain(LOG_CAUSES).chain(std::iter::once(&UNKNOWN))
}

/// What is left when nothing else fits.
static UNKNOWN: Cause = Cause {
    id: "unexplained",
    kind: Answer,
    verdict: "the answer {status} is not one that this version knows",
    seen: "A status or an error code that no other row of this page describes.",
    meaning: "The endpoint, or something in front of it, refuses for a reason of its own.",
    steps: &[
        "read the service's own words above; look at the logs of the service and of what stands before it",
        "run the command again with --json and keep the output for a report",
    ],
    commands: &[],
    iam: None,
};

causes! { CAUSES =
// --- the way there -------------------------------------------------------------------------------------------------
dns_unknown, Network {
    verdict: "the name {host_only} has no address here",
    seen: "`cannot find the address of HOST`.",
    meaning: "The name is misspelt, or this machine's name server does not know it. Names of VPC endpoints with private DNS are known only inside that VPC.",
    steps: [
        "compare the host in `url` letter by letter; the region is part of it",
        "ask the name server yourself (command below); if it knows the name, look at /etc/resolv.conf of this very container",
        "if only a proxy may reach the internet from here, set proxy_url (or HTTPS_PROXY): then the proxy looks the name up",
    ],
    commands: ["getent hosts {host_only}"],
}
connection_refused, Network {
    verdict: "nothing listens at {host}",
    seen: "`cannot connect to HOST:PORT: connection refused`.",
    meaning: "The machine is there and no program takes connections on that port: the receiver is down, or the port is wrong.",
    steps: ["is the receiver started, and on this port?", "compare host and port in `url`"],
    commands: ["curl -sS -o /dev/null -w '%{http_code}\\n' {url}"],
}
connect_timeout, Network {
    verdict: "{host} does not answer the attempt to connect",
    seen: "`no answer within N s; a firewall, a security group or a wrong address drops packets silently`.",
    meaning: "Packets vanish: a security group, a network ACL, a missing route to the internet or to the VPC endpoint, a firewall.",
    steps: [
        "allow outgoing TCP to this address and port (security group, network ACL, NetworkPolicy)",
        "in a subnet without internet, create an interface endpoint for the service, or set a proxy",
    ],
    commands: ["curl -sS --connect-timeout 5 -o /dev/null {url}"],
}
proxy_unreachable, Network {
    verdict: "the proxy {proxy} cannot be reached",
    seen: "`proxy P did not connect us to H: connection refused`, or its name has no address.",
    meaning: "The requests of this destination go through a proxy (proxy_url, or HTTPS_PROXY of the environment), and it is not there.",
    steps: [
        "correct the address in proxy_url or HTTPS_PROXY",
        "or reach the endpoint without it: add {host_only} to no_proxy (or NO_PROXY)",
    ],
    commands: ["env | grep -i _proxy"],
}
proxy_refused, Network {
    verdict: "the proxy {proxy} refuses to connect to {host}",
    seen: "The proxy answers CONNECT with 403, 502 or another status than 200.",
    meaning: "The proxy is there and its rules, or its own way out, do not let it reach this endpoint.",
    steps: [
        "have the proxy allow CONNECT to {host}; its log names the rule",
        "STS needs it too where a role is assumed: the host is shown above",
        "or go round it: add {host_only} to no_proxy (or NO_PROXY)",
    ],
    commands: ["curl -sv -o /dev/null --proxy {proxy} {url} 2>&1 | grep '^< HTTP'"],
}
proxy_wants_password, Network {
    verdict: "the proxy {proxy} wants a user name and password",
    seen: "The proxy answers 407.",
    meaning: "The proxy knows its users, and none is given.",
    steps: ["write them into the proxy's URL: proxy_url: http://USER:PASSWORD@HOST:PORT (signs in them percent-encoded)"],
    commands: [],
}
tls_untrusted, Network {
    verdict: "its certificate is signed by an authority that is not trusted here ({issuer})",
    seen: "`its certificate is signed by an authority that is not trusted here`, `UnknownIssuer`.",
    meaning: "The server's certificate comes from a private authority, or is self-signed, and this machine was not told to trust it.",
    steps: [
        "get that authority's certificate from who runs the server, and write tls_config: {ca_file: FILE} into this destination",
        "or, for the whole process, append it to a copy of the system's bundle and set SSL_CERT_FILE to that copy",
        "in a bare container, install the ca-certificates package: without it nothing is trusted",
    ],
    commands: ["openssl s_client -connect {host} -servername {host_only} -showcerts </dev/null"],
}
tls_inspected, Network {
    verdict: "something between here and AWS opens TLS with its own certificate ({issuer})",
    seen: "The certificate for an AWS host is issued by somebody who is not Amazon, and is not trusted.",
    meaning: "A TLS-inspecting proxy or firewall stands in the way and shows a certificate of its own authority.",
    steps: [
        "ask the network's owner to exempt {host_only} from inspection: it may also change headers, which breaks signatures",
        "or trust its authority: SSL_CERT_FILE=FILE for the whole process (STS goes the same way), or tls_config: {ca_file: FILE}",
    ],
    commands: ["openssl s_client -connect {host} -servername {host_only} </dev/null | openssl x509 -noout -issuer -dates"],
}
tls_expired, Network {
    verdict: "its certificate has expired, or this machine's clock is wrong",
    seen: "`Expired` or `NotValidYet` in a TLS error.",
    meaning: "The certificate's days are over (or not begun) by this machine's clock.",
    steps: [
        "compare `date -u` with the real time first",
        "if the clock is right, who runs the server must renew its certificate",
    ],
    commands: ["date -u", "openssl s_client -connect {host} -servername {host_only} </dev/null | openssl x509 -noout -dates"],
}
tls_wrong_name, Network {
    verdict: "its certificate is for another name than {host_only}",
    seen: "`NotValidForName`.",
    meaning: "The URL's host is an alias or an address, and the certificate names something else. VPC endpoint names without private DNS do this.",
    steps: [
        "write the name that the certificate has into `url`",
        "or keep the address and set tls_config: {server_name: NAME} (or `url` with the real name and `endpoint_url` with the address)",
    ],
    commands: ["openssl s_client -connect {host} </dev/null | openssl x509 -noout -subject -ext subjectAltName"],
}
tls_not_spoken, Network {
    verdict: "TLS with {host} fails before any certificate",
    seen: "`does not speak TLS on this port`, an alert, or silence during the handshake.",
    meaning: "The port speaks plain HTTP, wants a newer TLS version or a client certificate, or something cuts the handshake off.",
    steps: [
        "if the receiver speaks plain HTTP, write http:// in `url`",
        "if it wants a client certificate, set tls_config: {cert_file: FILE, key_file: FILE}",
        "compare tls_config.min_version with what the server offers",
    ],
    commands: ["openssl s_client -connect {host} -servername {host_only} </dev/null"],
}
no_answer, Network {
    verdict: "{host} takes the connection and does not answer",
    seen: "`no complete answer from HOST within N s`, or the exchange broke.",
    meaning: "The receiver, or a load balancer before it, accepts connections and hangs or hangs up.",
    steps: [
        "look at the receiver's health and its log",
        "a proxy or firewall may hold the answer back: try from another machine",
    ],
    commands: ["curl -sS -m 10 -o /dev/null -w '%{http_code} %{time_total}s\\n' {url}"],
}
settings_unusable, Network {
    verdict: "its client settings cannot be used",
    seen: "`tls_config: ...`, `cannot read the ... file`, a header or proxy address that cannot be used.",
    meaning: "A certificate, key, password file, header or proxy address named in the file is missing, unreadable or malformed.",
    steps: [
        "correct what the message names; files must be readable by the user the agent runs as",
        "a changed file is read again by itself, a changed configuration at the next reload",
    ],
    commands: ["sigpost check {config}"],
}
// --- credentials ---------------------------------------------------------------------------------------------------
no_credentials, Credentials {
    verdict: "no AWS credentials are found",
    seen: "`no AWS credentials found; looked at environment: ...; shared files: ...`.",
    meaning: "The identity block names no source, and none of the standard chain exists here: environment, shared files, web identity, container, instance metadata.",
    steps: [
        "on EC2, attach a role to the instance; on EKS, annotate the service account or associate a pod identity",
        "elsewhere write the source into the sigv4 block: profile, access_key and secret_key, credential_process, roles_anywhere",
        "the rows at identity say why each place was not taken",
    ],
    commands: ["aws sts get-caller-identity"],
}
file_unreadable, Credentials {
    verdict: "a file that holds its credentials cannot be read ({file})",
    seen: "`reading secret file PATH: Permission denied`, or `No such file or directory`.",
    meaning: "access_key_file, secret_key_file, a certificate or a key is missing, or not readable by the user the agent runs as.",
    steps: [
        "correct the path, or let the agent's user read it: chown root:sigpost FILE; chmod 640 FILE (and x on each directory)",
        "in Kubernetes, compare the volume's mountPath and the Secret's keys",
        "the file is read again by itself: no restart is needed",
    ],
    commands: ["namei -l {file}"],
}
stored_secret_missing, Credentials {
    verdict: "a secret that its settings refer to cannot be read ({reference})",
    seen: "`the secret REFERENCE is not read yet: ...`.",
    meaning: "A value of this destination is kept in a store (Secrets Manager, SSM, Vault), and the store does not give it.",
    steps: [
        "read the store's words above: the name, the region, the permission of the identity that reads secrets (secrets: {aws: {}} or the standard chain)",
        "the agent asks again by itself; nothing is lost meanwhile",
    ],
    commands: [],
}
profile_unknown, Credentials {
    verdict: "the profile {profile} is in none of the shared files",
    seen: "`profile X (FILES): there is no such profile in the files`.",
    meaning: "The name is misspelt, or the files are those of another user: the agent's HOME is rarely yours.",
    steps: [
        "set shared_config_file and shared_credentials_file to the files that hold the profile",
        "in the config file the section is [profile NAME], in the credentials file [NAME]",
    ],
    commands: ["aws configure list-profiles"],
}
profile_loop, Credentials {
    verdict: "its profiles lead round in a circle ({profile})",
    seen: "`the profiles lead in a circle: a -> b -> a`.",
    meaning: "A source_profile points, over others, back to the profile that it is the source of.",
    steps: [
        "follow source_profile from {profile} through the shared files: one of them must end in keys, credential_source, credential_process or web_identity_token_file",
    ],
    commands: ["grep -n -A6 '^\\[' ~/.aws/config"],
}
profile_incomplete, Credentials {
    verdict: "the profile {profile} says too little, or contradicts itself",
    seen: "`profile X has no credentials`, `has a role_arn, and neither source_profile nor credential_source`.",
    meaning: "A profile needs keys, or a role_arn with one source for it, or a credential_process, or a web_identity_token_file.",
    steps: ["write what the message above misses into the profile, or name another profile"],
    commands: ["aws configure list --profile {profile}"],
}
profile_broken, Credentials {
    verdict: "the shared AWS files cannot be read as such (profile {profile})",
    seen: "`could not parse profile file`.",
    meaning: "A line is neither [section] nor key = value nor a comment.",
    steps: ["look for a line without `=`, a tab before a key, or a bracket that is not closed"],
    commands: ["aws configure list --profile {profile}"],
}
profile_sso, Credentials {
    verdict: "the profile {profile} needs a person to log in (SSO)",
    seen: "`profile X is for a human login (SSO)`.",
    meaning: "SSO sessions belong to people and end within hours; an agent has nobody to renew them.",
    steps: ["give the agent an identity of its own: instance_metadata, container, web_identity, roles_anywhere or a user's keys"],
    commands: [],
}
process_failed, Credentials {
    verdict: "the command of credential_process gives no credentials",
    seen: "`credential_process: ...` with the command's exit status and error output.",
    meaning: "The command failed, hung, or printed something else than the standard JSON.",
    steps: [
        "run the command as the agent's user, with the agent's environment (no HOME, a short PATH)",
        "it must print one JSON object: {\"Version\": 1, \"AccessKeyId\": ..., \"SecretAccessKey\": ..., \"SessionToken\": ..., \"Expiration\": ...}",
    ],
    commands: [],
}
token_file_unreadable, Credentials {
    verdict: "the web identity token cannot be read ({file})",
    seen: "`web identity: cannot read the token file PATH`.",
    meaning: "The projected service account token is not mounted where web_identity.token_file or AWS_WEB_IDENTITY_TOKEN_FILE says.",
    steps: [
        "the pod needs the annotated service account: eks.amazonaws.com/role-arn on it, serviceAccountName in the pod, and the pod made anew afterwards",
        "a non-root agent needs securityContext.fsGroup to read the token",
    ],
    commands: ["ls -l {file}", "kubectl get pod POD -o yaml | grep -A8 aws-iam-token"],
}
web_identity_refused, Credentials {
    verdict: "STS does not accept the web identity token for {role}",
    seen: "`InvalidIdentityToken`, `IDPRejectedClaim`: wrong audience, unknown issuer.",
    meaning: "The token's audience is not the one of the IAM OIDC provider (sts.amazonaws.com), or its issuer is no provider of the role's account.",
    steps: [
        "the token's `aud` must be sts.amazonaws.com: set audience in the projected volume, or let EKS do it",
        "its `iss` must be an IAM OIDC provider of the role's account, with the same audience in its client ids",
    ],
    commands: [
        "cut -d. -f2 {file} | tr '_-' '/+' | base64 -d 2>/dev/null",
        "aws iam list-open-id-connect-providers",
    ],
}
web_identity_expired, Credentials {
    verdict: "the web identity token has expired ({file})",
    seen: "`ExpiredTokenException` from AssumeRoleWithWebIdentity.",
    meaning: "Nobody renews the token's file. The kubelet does, for a projected volume; a copied file stays as it was.",
    steps: ["mount the projected service account token instead of a copy", "compare this machine's clock with the real time"],
    commands: ["ls -l {file}; date -u"],
}
trust_policy, Credentials {
    verdict: "the trust policy of role {role} does not let this identity assume it",
    seen: "`AccessDenied: User X is not authorized to perform: sts:AssumeRole on resource: ROLE`.",
    meaning: "Two policies must agree: the role's trust policy names who may assume it (and the external id), and the caller's own policy allows the call.",
    steps: [
        "in the role's trust policy, name the caller as Principal: {from}",
        "in the caller's own policy, allow {action} on {role} (needed across accounts, and wherever the trust policy names the account)",
        "if the trust policy asks for sts:ExternalId, set external_id to exactly that",
        "for web identity: sub and aud in the trust policy's Condition must be those of the token (system:serviceaccount:NAMESPACE:NAME)",
    ],
    commands: ["aws iam get-role --role-name {role_name} --query Role.AssumeRolePolicyDocument"],
    iam: ("{action}", "{role}"),
}
role_duration, Credentials {
    verdict: "the session_duration for role {role} is longer than allowed",
    seen: "`The requested DurationSeconds exceeds ...`.",
    meaning: "It is over the role's maximum, or over 1 h where a role is assumed from a role.",
    steps: ["lower session_duration, or raise the role's maximum session duration"],
    commands: ["aws iam get-role --role-name {role_name} --query Role.MaxSessionDuration"],
}
sts_unreachable, Credentials {
    verdict: "STS cannot be reached, so no role can be assumed ({sts})",
    seen: "`assuming role R ...: dispatch failure`, a timeout, a refused connection, a proxy that refuses.",
    meaning: "The role's credentials come from STS, and the way there is closed: a subnet without internet, a proxy, a name that does not resolve.",
    steps: [
        "create an interface endpoint for com.amazonaws.{region}.sts, or let the proxy carry CONNECT to {sts}",
        "or name a reachable one: sts_region, or sts_endpoint in the sigv4 block",
    ],
    commands: ["curl -sS -m 5 -o /dev/null -w '%{http_code}\\n' {sts}"],
}
sts_region_disabled, Credentials {
    verdict: "STS is not enabled for the account in region {region}",
    seen: "`RegionDisabledException`.",
    meaning: "Opt-in regions have no STS until the account enables them.",
    steps: ["enable the region in the account, or set sts_region to one that is (us-east-1 always is)"],
    commands: ["aws account get-region-opt-status --region-name {region}"],
}
imds_hop_limit, Credentials {
    verdict: "instance metadata answers, but its token does not come back: the hop limit is 1",
    seen: "The PUT for a token hangs while other requests to the same address are answered.",
    meaning: "The answer to the token request may travel as many network hops as the instance's hop limit says. A container adds one hop, and the default is 1.",
    steps: [
        "set the instance's hop limit to 2 (command below); it takes effect at once",
        "or run the agent in the host's network (hostNetwork: true, --network host)",
        "or give the pod an identity of its own: IRSA or EKS Pod Identity",
    ],
    commands: [
        "aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2 --http-tokens required",
    ],
}
imds_unreachable, Credentials {
    verdict: "instance metadata does not answer at {endpoint}",
    seen: "`instance metadata: ...` with a refused or silent connection.",
    meaning: "This is not EC2, metadata is switched off for the instance, or a NetworkPolicy or firewall blocks 169.254.169.254.",
    steps: [
        "on EC2: http-endpoint must be enabled, and nothing may block 169.254.169.254 port 80",
        "elsewhere: name another source in the sigv4 block",
    ],
    commands: [
        "curl -sS -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {endpoint}/latest/api/token -o /dev/null -w '%{http_code}\\n'",
        "aws ec2 describe-instances --instance-ids ID --query 'Reservations[].Instances[].MetadataOptions'",
    ],
}
imds_no_role, Credentials {
    verdict: "no role is attached to this instance",
    seen: "Metadata gives a token, and answers 404 for its credentials.",
    meaning: "The instance has no instance profile, so there is nobody to sign as.",
    steps: ["attach an instance profile whose role may write here"],
    commands: ["aws ec2 associate-iam-instance-profile --instance-id ID --iam-instance-profile Name=NAME"],
}
container_failed, Credentials {
    verdict: "the container credential endpoint gives no credentials",
    seen: "`container: ...` or `container endpoint: ...`.",
    meaning: "The ECS agent or the EKS Pod Identity agent does not answer, or refuses the token it is shown.",
    steps: [
        "EKS: the add-on eks-pod-identity-agent must run on this node, and an association must exist for namespace and service account; make the pod anew afterwards",
        "ECS: the task needs a taskRoleArn",
        "no proxy may catch 169.254.170.2 and 169.254.170.23: add them to NO_PROXY of other tools in the pod",
    ],
    commands: ["aws eks list-pod-identity-associations --cluster-name CLUSTER", "env | grep AWS_CONTAINER"],
}
key_not_of_certificate, Credentials {
    verdict: "the private key does not belong to the certificate",
    seen: "`the private key does not belong to the certificate`.",
    meaning: "The two files are of different renewals, or the certificate file begins with another certificate than the leaf.",
    steps: [
        "compare the two public keys (commands below): they must be equal",
        "the leaf must be the first certificate of the file; intermediates follow, or go to certificate_chain",
    ],
    commands: [
        "openssl x509 -in CERTIFICATE -noout -pubkey | openssl sha256",
        "openssl pkey -in KEY -pubout | openssl sha256",
    ],
}
certificate_expired, Credentials {
    verdict: "its Roles Anywhere certificate is not valid now",
    seen: "`the certificate expired at ...`, or it is not valid yet.",
    meaning: "Roles Anywhere exchanges only certificates that are valid today.",
    steps: ["renew the certificate; the file is read again by itself", "compare this machine's clock with the real time"],
    commands: ["openssl x509 -in CERTIFICATE -noout -dates", "date -u"],
}
roles_anywhere_refused, Credentials {
    verdict: "IAM Roles Anywhere does not accept the certificate for {role}",
    seen: "`Roles Anywhere, role R: AWS said AccessDeniedException`.",
    meaning: "The certificate is not issued by the trust anchor or is revoked; anchor or profile is disabled; the role is not in the profile; or its trust policy lacks the service.",
    steps: [
        "the trust anchor's CA must have issued the certificate (send intermediates in certificate_chain); anchor and profile must be enabled",
        "the profile must list {role}",
        "the role's trust policy must allow rolesanywhere.amazonaws.com: sts:AssumeRole, sts:TagSession, sts:SetSourceIdentity",
    ],
    commands: ["aws rolesanywhere list-trust-anchors", "aws rolesanywhere list-profiles"],
    iam: ("sts:AssumeRole, sts:TagSession, sts:SetSourceIdentity", "the role's trust policy, Principal Service rolesanywhere.amazonaws.com"),
}
credentials_failed, Credentials {
    verdict: "its credentials cannot be had",
    seen: "`no AWS credentials for DESTINATION: ...`.",
    meaning: "The source exists and fails; the message names it and what it said.",
    steps: ["do what the message above says; the agent tries again by itself, and data waits on disk meanwhile"],
    commands: [],
}
no_region, Credentials {
    verdict: "no region is known to sign for",
    seen: "`no AWS region for HOST`, or `no region: region is empty` from `sigpost check`.",
    meaning: "The host's name holds no region, and neither the sigv4 block, the profile, AWS_REGION nor metadata names one. An empty `region:` is not the default.",
    steps: ["write region: us-east-1 (the region of the workspace or bucket) into the sigv4 block"],
    commands: ["sigpost check {config}"],
}
// --- signatures and addresses --------------------------------------------------------------------------------------
wrong_secret, Signature {
    verdict: "the secret key does not belong to access key {key}",
    seen: "`SignatureDoesNotMatch`, `InvalidSignatureException`: The request signature we calculated does not match.",
    meaning: "The key is known and the signature is not made with its secret: a secret of another key, cut off, or with a blank or a quote in it.",
    steps: [
        "set access key and secret together, from the same place; a secret has 40 characters and may hold / and +",
        "look for quotes, blanks and newlines around it, and for a variable that replaced part of it",
        "if it is lost, make a new key: a secret cannot be read back",
    ],
    commands: ["aws iam list-access-keys --user-name USER", "aws iam create-access-key --user-name USER"],
}
wrong_region, Signature {
    verdict: "it is signed for region {region}, which is not the endpoint's",
    seen: "`Credential should be scoped to a valid region`.",
    meaning: "The region in the signature is not the region of the endpoint. It comes from {region_origin}.",
    steps: [
        "set region in the sigv4 block to the endpoint's own ({right_region}); for AWS host names remove the key: the host names it",
        "for a VPC endpoint or a proxy name, write the region of the service behind it",
    ],
    commands: [],
}
wrong_service, Signature {
    verdict: "it is signed for service {service}, which is not the endpoint's",
    seen: "`Credential should be scoped to correct service: 'NAME'`.",
    meaning: "service_name says another service than the one at this address.",
    steps: ["set service_name to {right_service}: Amazon Managed Prometheus is aps, buckets are s3; or remove the key for AWS host names"],
    commands: [],
}
request_altered, Signature {
    verdict: "the request is changed on its way: {part} is not as it was signed",
    seen: "`SignatureDoesNotMatch`, and AWS's canonical request differs from ours.",
    meaning: "AWS computed the signature over other bytes than we sent. The first line that differs is shown above: ours, then AWS's.",
    steps: [
        "{explanation}",
        "take the proxy, load balancer or service mesh out of the way, or let it pass path, query and headers through unchanged",
    ],
    commands: [],
}
signature_unexplained, Signature {
    verdict: "AWS computes another signature than ours, and does not show its own",
    seen: "`SignatureDoesNotMatch` without a canonical request, although STS accepts the same key.",
    meaning: "STS accepts this key and secret, so both are right: region, service name, or a header changed on the way is at fault.",
    steps: [
        "compare region ({region}) and service_name ({service}) with the endpoint's",
        "look for a proxy that changes headers or the path",
    ],
    commands: [],
}
clock_skew, Signature {
    verdict: "this machine's clock is too far from AWS's ({offset})",
    seen: "`Signature expired: ... is now earlier than ...`, `Signature not yet current`, `RequestTimeTooSkewed`.",
    meaning: "AWS accepts requests dated within five minutes (S3: fifteen) of its own time, and correction is off or the answer had no usable Date.",
    steps: [
        "fix NTP: start chronyd or systemd-timesyncd; on EC2 its server is 169.254.169.123",
        "unset AWS_DISABLE_CLOCK_SKEW_CORRECTION (or disable_clock_skew_correction of the profile) if it is set: the agent can sign with AWS's time",
    ],
    commands: ["timedatectl", "chronyc tracking"],
}
clock_too_slow, Signature {
    verdict: "this machine's clock is {offset}, and AMP refuses samples older than an hour",
    seen: "The probe is accepted, for requests are signed with AWS's time; samples are refused as too old, booked `rejected` with the reason `too_old`.",
    meaning: "Samples carry this machine's time. What is scraped now is more than an hour old for AMP, and no later correction changes it.",
    steps: ["fix NTP: start chronyd or systemd-timesyncd; on EC2 its server is 169.254.169.123"],
    commands: ["timedatectl", "chronyc tracking"],
}
expired_token, Signature {
    verdict: "its credentials have expired ({source})",
    seen: "`ExpiredToken`, `ExpiredTokenException`: The security token included in the request is expired.",
    meaning: "The session is over and a fresh look at the source gave the same one. Static keys with a session token end, and nothing renews them.",
    steps: [
        "get new temporary credentials and set access key, secret and session token together",
        "better: use a source that renews itself (a role of the machine, web_identity, roles_anywhere, credential_process)",
    ],
    commands: ["aws sts get-caller-identity"],
}
unknown_key, Signature {
    verdict: "AWS does not know access key {key}",
    seen: "`UnrecognizedClientException`, `InvalidClientTokenId`, `InvalidAccessKeyId`: The security token included in the request is invalid.",
    meaning: "The key was deleted or made inactive, is of another partition (aws, aws-cn, aws-us-gov), or its session token is missing or of another key.",
    steps: [
        "is the key active? (command below)",
        "keys that begin with ASIA need their session_token; AKIA keys have none",
        "for China and GovCloud use keys of that partition",
    ],
    commands: ["aws iam list-access-keys --user-name USER"],
}
unsigned, Signature {
    verdict: "the request arrives without a signature",
    seen: "`Missing Authentication Token` at an address that is right.",
    meaning: "The destination has no sigv4 block, or something on the way removes the Authorization header.",
    steps: [
        "add sigv4: {} to this destination (the standard credential chain)",
        "if it has one, look for a proxy that removes Authorization",
    ],
    commands: [],
}
trailing_slash, Signature {
    verdict: "the URL ends in a slash, and Amazon Managed Prometheus knows no such path",
    seen: "403 `Missing Authentication Token`, although the request is signed.",
    meaning: "The gateway before AMP says these words to every path it does not know, a trailing slash included.",
    steps: ["remove the slash: url: {right_url}"],
    commands: [],
}
wrong_path, Signature {
    verdict: "the path {path} does not exist on Amazon Managed Prometheus",
    seen: "403 `Missing Authentication Token`, although the request is signed; or 404.",
    meaning: "The gateway before AMP says these words to every path it does not know. Writing is at /workspaces/WORKSPACE-ID/api/v1/remote_write.",
    steps: ["write url: {right_url}", "the workspace id begins with ws-"],
    commands: ["aws amp list-workspaces --region {region}"],
}
wrong_bucket_region, Signature {
    verdict: "the bucket is in region {right_region}",
    seen: "301 `PermanentRedirect`, 400 `AuthorizationHeaderMalformed`.",
    meaning: "A bucket lives in one region, and its requests must go there, signed for it.",
    steps: ["set region: {right_region} and use the host s3.{right_region}.amazonaws.com"],
    commands: ["aws s3api get-bucket-location --bucket {bucket}"],
}
// --- permissions ---------------------------------------------------------------------------------------------------
missing_permission, Permission {
    verdict: "this identity is not allowed {action}",
    seen: "`AccessDenied`, `AccessDeniedException`: User ARN is not authorized to perform: ACTION on resource: ARN.",
    meaning: "The signature is right, and no policy of {caller} allows the action.",
    steps: [
        "add this statement to a policy of {caller}: {\"Effect\": \"Allow\", \"Action\": \"{action}\", \"Resource\": \"{resource}\"}",
        "wait a minute: policies take some seconds to reach all of AWS",
        "with a permissions boundary or a service control policy, those must allow it too; a VPC endpoint has a policy of its own",
    ],
    commands: ["aws iam simulate-principal-policy --policy-source-arn {principal} --action-names {action} --resource-arns {resource}"],
    iam: ("{action}", "{resource}"),
}
explicit_deny, Permission {
    verdict: "a policy denies this identity {action}",
    seen: "`... is not authorized to perform: ACTION ... with an explicit deny in ...`.",
    meaning: "A Deny wins over every Allow. The message says in what kind of policy it stands.",
    steps: [
        "find the Deny for {action}: identity policy, permissions boundary, service control policy, resource policy, VPC endpoint policy",
        "look at its Condition: source VPC, source IP, organisation, tags, secure transport",
    ],
    commands: ["aws iam simulate-principal-policy --policy-source-arn {principal} --action-names {action} --resource-arns {resource}"],
    iam: ("{action}", "{resource}"),
}
service_not_enabled, Permission {
    verdict: "the account is not set up for {service} in {region}",
    seen: "`OptInRequired`, `SubscriptionRequiredException`, `RegionDisabledException`.",
    meaning: "The region or the service is not enabled for the account, or the account is not in order.",
    steps: ["enable the region (Account > AWS Regions) or the service", "look at the account's billing"],
    commands: ["aws account get-region-opt-status --region-name {region}"],
}
login_refused, Permission {
    verdict: "the receiver does not accept this destination's user name, password or token",
    seen: "401, or 403, from a receiver that is not AWS.",
    meaning: "basic_auth, authorization or oauth2 is wrong or missing for this receiver.",
    steps: [
        "compare user name and password (or the token) with the receiver's; a password_file is used without its last newline",
        "the receiver may want none of them but a sigv4 block: is it AWS behind another name?",
    ],
    commands: [],
}
tenant_header, Permission {
    verdict: "Amazon Managed Prometheus refuses the header X-Scope-OrgID",
    seen: "400 or 403 on an `aps` destination that has a tenant header.",
    meaning: "The header is how Mimir and Cortex tell tenants apart. On AMP the workspace in the URL is the tenant, and the header is refused.",
    steps: ["remove X-Scope-OrgID from `headers` of this destination"],
    commands: [],
}
no_token, Permission {
    verdict: "the OAuth2 server gives no token",
    seen: "`no OAuth2 token from HOST`.",
    meaning: "The token endpoint refuses client_id or client_secret, or cannot be reached.",
    steps: ["compare client_id, client_secret, scopes and token_url with what the server was told"],
    commands: [],
}
// --- other answers -------------------------------------------------------------------------------------------------
not_found, Answer {
    verdict: "there is nothing at this address ({status})",
    seen: "404, 405 or 410; `ResourceNotFoundException`, `NoSuchBucket`.",
    meaning: "The path, the workspace or the bucket does not exist, or not in this region or account.",
    steps: [
        "compare the path with the receiver's documentation: Prometheus /api/v1/write (with --web.enable-remote-write-receiver), Mimir /api/v1/push, AMP /workspaces/ID/api/v1/remote_write, Loki /loki/api/v1/push, OTLP /v1/logs",
        "compare workspace or bucket, region and account",
    ],
    commands: [],
}
redirected, Answer {
    verdict: "the endpoint sends us elsewhere ({location})",
    seen: "A 3xx answer.",
    meaning: "Data is not posted to where a redirect points: a signature names its host, and passwords are not for others. Often http instead of https, or a login page.",
    steps: ["write the final address into `url`"],
    commands: ["curl -sI {url} | grep -i '^location'"],
}
throttled, Answer {
    verdict: "it takes nothing more just now ({status})",
    seen: "429, `ThrottlingException`, `Rate exceeded`, `SlowDown`.",
    meaning: "Identity and address are right; a quota is used up. The agent slows down and keeps the data.",
    steps: ["look at the service's quotas and at who else writes there", "run doctor again in a minute"],
    commands: ["aws service-quotas list-service-quotas --service-code {service} --region {region}"],
}
receiver_broken, Answer {
    verdict: "the receiver is in trouble ({status})",
    seen: "500, 502, 503, 504.",
    meaning: "The request arrived; the receiver or a load balancer before it cannot serve it now. The agent tries again and keeps the data.",
    steps: ["look at the receiver's health, or at the AWS Health Dashboard", "501 means that it does not play this kind of request"],
    commands: [],
}
probe_refused, Answer {
    verdict: "it refuses the probe's request ({status})",
    seen: "400, 413, 415 or 422 to an empty request.",
    meaning: "The address answers and lets us in, but does not take this kind of request: it speaks another protocol, or it refuses empty requests.",
    steps: [
        "read its words above: does it want another protocol or another content type?",
        "if it only dislikes empty requests, doctor --write-probe sends one real sample or line",
    ],
    commands: ["sigpost doctor -config.file={config} --destination {name} --write-probe"],
}
store_unproven, Answer {
    verdict: "this store does not tell who may write without writing",
    seen: "501 or another answer to a part of an upload that does not exist.",
    meaning: "Stores that imitate S3 may not play multipart uploads. Signature and address are right; the permission is not shown.",
    steps: ["run doctor with --write-probe: it stores one object of one byte under the prefix"],
    commands: ["sigpost doctor -config.file={config} --destination {name} --write-probe"],
}
examination_late, Answer {
    verdict: "the examination did not end in time",
    seen: "The whole examination of a destination is cut off after half a minute.",
    meaning: "Several things hang at once: names, connections, credentials.",
    steps: ["look at the first fact above that is missing, and run doctor again"],
    commands: [],
}
// --- notes ---------------------------------------------------------------------------------------------------------
clock_off, Note {
    verdict: "this machine's clock is {offset}: fix NTP",
    seen: "Nothing, or a warning about the clock once a minute: requests are signed with AWS's time.",
    meaning: "Correction hides it from AWS, not from your data: samples carry this machine's time, and AMP refuses those older than an hour.",
    steps: ["fix NTP: start chronyd or systemd-timesyncd; on EC2 its server is 169.254.169.123"],
    commands: ["timedatectl", "chronyc tracking"],
}
region_differs, Note {
    verdict: "the region to sign for ({region}) is not the one in the host's name ({right_region})",
    seen: "`sigpost check` warns of it.",
    meaning: "AWS refuses signatures for another region than the endpoint's, with few exceptions.",
    steps: ["remove region from the sigv4 block: the host names it"],
    commands: [],
}
certificate_ends_soon, Note {
    verdict: "the server's certificate ends in {days} days",
    seen: "Nothing yet.",
    meaning: "After that day the connection is refused.",
    steps: ["tell who runs the server"],
    commands: [],
}
tls_opened, Note {
    verdict: "something between here and AWS opens TLS ({issuer}); it is trusted here",
    seen: "The certificate for an AWS host is not issued by Amazon.",
    meaning: "A TLS-inspecting proxy or firewall reads and may change requests; a changed header breaks the signature.",
    steps: ["have {host_only} exempted from inspection, if signatures fail now and then"],
    commands: [],
}
unverified_tls, Note {
    verdict: "certificates are not verified (insecure_skip_verify)",
    seen: "Nothing.",
    meaning: "Anybody on the way can read and change what is sent.",
    steps: ["set tls_config: {ca_file: FILE} and remove insecure_skip_verify"],
    commands: [],
}
identity_refused_by_sts, Note {
    verdict: "STS does not say who this is",
    seen: "GetCallerIdentity is refused or STS is not reachable.",
    meaning: "It needs no permission, so either STS cannot be reached from here, or it does not accept the key. The agent itself needs STS only to assume roles.",
    steps: ["nothing, if the probe is accepted"],
    commands: [],
}
region_learnt, Note {
    verdict: "the bucket is in {right_region}; the agent found out and signs for it",
    seen: "One refused request at each start.",
    meaning: "S3 named the right region in its refusal.",
    steps: ["set region: {right_region} in the sigv4 block"],
    commands: [],
}
credentials_end_soon, Note {
    verdict: "these credentials end {expires} and their source has no newer ones",
    seen: "Nothing yet.",
    meaning: "Less than five minutes are left, and a fresh look gave the same ones.",
    steps: ["look at what renews them"],
    commands: [],
}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_every_row_is_complete() {
        let ids: BTreeSet<&str> = all().map(|c| c.id).collect();
        assert_eq!(ids.len(), all().count());
        for cause in all() {
            assert!(!cause.steps.is_empty(), "{}", cause.id);
            assert!(!cause.verdict.ends_with('.') && cause.seen.ends_with('.'), "{}", cause.id);
            assert!(cause.meaning.ends_with('.'), "{}", cause.id);
        }
    }

    #[test]
    fn every_id_that_the_code_names_is_in_the_table() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/command/doctor");
        let mut named = BTreeSet::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let Ok(text) = std::fs::read_to_string(entry.unwrap().path()) else { continue };
            for rest in text.split("cause(\"").skip(1) {
                named.insert(rest.split('"').next().unwrap().to_owned());
            }
        }
        named.remove("");
        assert!(named.len() > 30, "{named:?}");
        for id in &named {
            assert!(all().any(|c| c.id == id), "{id} is not in the table");
        }
        // And no row that nothing can find.
        for cause in all() {
            assert!(named.contains(cause.id), "nothing names {}", cause.id);
        }
    }
}
