//! The table of causes: what can keep a destination from taking data, what one sees, and what to do.
//!
//! The one source of doctor's verdicts and of docs/operations/troubleshooting.md. Keeps true: ids are unique and never
//! change their meaning; every row says what to do.

use super::{
    cause::{
        Cause,
        Kind::{Answer, Network, Note, Permission, Signature},
        causes,
    },
    credential_causes::CREDENTIAL_CAUSES,
    log_causes::LOG_CAUSES,
    source_causes::SOURCE_CAUSES,
};

/// Looks a cause up. Ids in the code are checked by a test, so the fallback is never seen.
pub fn cause(id: &str) -> &'static Cause {
    CAUSES
        .iter()
        .chain(CREDENTIAL_CAUSES)
        .chain(SOURCE_CAUSES)
        .chain(LOG_CAUSES)
        .find(|cause| cause.id == id)
        .unwrap_or(&UNKNOWN)
}

/// Every row.
#[cfg(test)]
pub fn all() -> impl Iterator<Item = &'static Cause> + Clone {
    CAUSES.iter().chain(CREDENTIAL_CAUSES).chain(SOURCE_CAUSES).chain(LOG_CAUSES).chain(std::iter::once(&UNKNOWN))
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
token_server_unreachable, Network {
    verdict: "the OAuth2 token server {token_url} cannot be reached; the destination itself was not asked",
    seen: "`no OAuth2 token from HOST: cannot connect to HOST`, or a timeout, a name without an address, a TLS failure there.",
    meaning: "Each request needs a token from token_url first, and that server is down, or the way to it is closed. It has a proxy and TLS settings of its own (oauth2.proxy_url, oauth2.tls_config).",
    steps: [
        "is the token server up, and does token_url ({token_url}) name it rightly?",
        "compare oauth2.proxy_url and oauth2.tls_config: those of the destination do not hold for it",
    ],
    commands: ["curl -sS -m 5 -o /dev/null -w '%{http_code}\\n' {token_url}"],
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
// --- signatures and addresses --------------------------------------------------------------------------------------
wrong_secret, Signature {
    verdict: "the secret key does not belong to access key {key}",
    seen: "`SignatureDoesNotMatch`, `InvalidSignatureException`: The request signature we calculated does not match.",
    meaning: "The key is known and the signature is not made with its secret: a secret of another key, cut off, or with a blank or a quote in it.",
    steps: [
        "set access key and secret together, from the same place; a secret has 40 characters and may hold / and +",
        "look for quotes, blanks and newlines around it, and for a variable that replaced part of it",
        "if it is lost, make a new key for the user that the command below names: a secret cannot be read back",
    ],
    commands: ["aws iam get-access-key-last-used --access-key-id {key}", "aws sts get-access-key-info --access-key-id {key}"],
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
        "is the key active, and of the account that you think? (commands below)",
        "keys that begin with ASIA need their session_token; AKIA keys have none",
        "for China and GovCloud use keys of that partition",
    ],
    commands: ["aws sts get-access-key-info --access-key-id {key}", "aws iam get-access-key-last-used --access-key-id {key}"],
}
unsigned, Signature {
    verdict: "the request arrives without a signature",
    seen: "`Missing Authentication Token` at an address that is right.",
    meaning: "The destination has no sigv4 block.",
    steps: ["add sigv4: {} to this destination (the standard credential chain)"],
    commands: [],
}
signature_removed, Signature {
    verdict: "the request leaves here signed and arrives without a signature",
    seen: "`Missing Authentication Token` at an address that is right, although the destination has a sigv4 block.",
    meaning: "Something on the way removes the Authorization header, or another service answers at that address.",
    steps: [
        "look for a proxy, a load balancer or a gateway on the way that removes Authorization",
        "do url and endpoint_url name the service itself?",
    ],
    commands: ["curl -sS -m 5 -i -H 'Authorization: probe' {url} | head -c 600"],
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
endpoint_path, Signature {
    verdict: "endpoint_url has a path ({endpoint_path}), which comes before the one of url",
    seen: "403 `Missing Authentication Token`, 404 or 405; `url URL (sent to ADDRESS)` shows one path behind the other.",
    meaning: "Requests go to the path of endpoint_url and then that of url: {sent_to}. A VPC endpoint or a load balancer knows the path of url alone.",
    steps: [
        "write endpoint_url: {right_endpoint} (scheme, host and port), and leave the path in url",
        "keep a path there only where a gateway wants it in front and takes it away",
    ],
    commands: [],
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
    verdict: "the OAuth2 server {token_url} gives no token",
    seen: "`no OAuth2 token from HOST: it answered 401`.",
    meaning: "The token endpoint answers and refuses client_id or client_secret, or its answer holds no token.",
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
not_the_service, Answer {
    verdict: "a web page answers ({page}), not the service",
    seen: "200 with text/html: a login page, a captive portal, the console of a load balancer. The agent holds the data: `it answered with a web page, which no receiver of data does`.",
    meaning: "Something on the way, or at this address, answers everything with a page. No receiver of data does, so nothing was taken.",
    steps: [
        "open {url} in a browser from this machine's network: a portal or single sign-on shows itself",
        "compare host and path in `url`: an address without its API path often ends at a user interface",
        "let the proxy or gateway pass this host without a login",
    ],
    commands: ["curl -sS -m 5 {url} | head -c 300"],
}
page_between, Answer {
    verdict: "something between here and the service refuses, with a web page ({page})",
    seen: "403 (or 401) with text/html: `Access Denied`, `Request blocked`. AWS and receivers of data refuse without a page.",
    meaning: "A proxy, a load balancer, a web application firewall or a login gateway answers before the service has seen the request. No permission of this identity is at fault as far as that shows.",
    steps: [
        "the page's own words tell who wrote it (command below): look for a product's name, a request number, a rule",
        "have it let POST to {host_only} through, unchanged: rules against unknown clients, binary bodies or large ones are usual",
        "if a proxy is shown above, its rules may refuse this host: ask its owner, or go round it with no_proxy",
    ],
    commands: ["curl -sS -m 5 -i -X POST {url} | head -c 600"],
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
bucket_name, Answer {
    verdict: "{bucket} is no name that a bucket can have",
    seen: "`InvalidBucketName`: The specified bucket is not valid; `sigpost check` says what is wrong with it.",
    meaning: "Names of buckets have 3 to 63 characters: small letters, digits, hyphens and single dots, a letter or digit first and last.",
    steps: [
        "correct the bucket in `url`: the first part of the path, or of the host before .s3",
        "path style needs the bucket before the prefix: https://s3.REGION.amazonaws.com/BUCKET/PREFIX",
    ],
    commands: ["aws s3api list-buckets --query 'Buckets[].Name'"],
}
write_refused, Answer {
    verdict: "it refuses what was really written ({status})",
    seen: "400, 413, 415 or 422 to one sample, line or object of --write-probe.",
    meaning: "The address answers and lets us in, and does not take this kind of request: another protocol, another content type, a limit.",
    steps: [
        "read its words above: does it want another protocol, another content type, other labels?",
        "compare `protocol` and the path in `url` with the receiver's documentation",
    ],
    commands: ["sigpost check {config}"],
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
own_certificate_ends_soon, Note {
    verdict: "the certificate of Roles Anywhere, {whom}, ends {ends}",
    seen: "Nothing yet. Less than a tenth of its life is left, or less than a week.",
    meaning: "After that moment no session can be had with it. The session that runs then lasts until its own end.",
    steps: ["renew {certificate}; the agent reads it again by itself when it changes"],
    commands: ["openssl x509 -in {certificate} -noout -subject -dates"],
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
