//! The part of the table of causes that is about credentials: where they come from, and what says no on the way.
//!
//! Keeps true: what `causes` keeps true.

use super::cause::{Cause, Kind::Credentials, causes};

causes! { CREDENTIAL_CAUSES =
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
    meaning: "access_key_file, secret_key_file, a shared AWS file, a certificate or a key is missing, or not readable by the user the agent runs as.",
    steps: [
        "correct the path, or let the agent's user read it: chown root:sigpost FILE; chmod 640 FILE (and x on each directory)",
        "in Kubernetes, compare the volume's mountPath and the Secret's keys",
        "the file is read again by itself: no restart is needed",
    ],
    commands: ["namei -l {file}"],
}
secret_malformed, Credentials {
    verdict: "{secret} is not the one word that a key is",
    seen: "`static keys: secret_key: the file PATH has 2 lines`, `is empty`, `has a blank inside`, `is binary`, `is DER`.",
    meaning: "The file or secret that a key is read from is empty, or holds more than the key: two lines, `NAME = value`, a whole document. AWS would call the secret wrong.",
    steps: [
        "write the key alone into it; one newline at the end is fine",
        "a secret that is a JSON document is referred to by its member: aws-secretsmanager://NAME#MEMBER",
        "it is read again by itself: no restart is needed",
    ],
    commands: [],
}
keys_swapped, Credentials {
    verdict: "access key id and secret key are swapped",
    seen: "`access key id and secret key are swapped`.",
    meaning: "Where the secret key is expected (a file, a variable, a profile, a stored secret) there is an access key id, and the other way round. Nothing was signed with them, and neither is shown.",
    steps: [
        "the access key id has 20 characters and begins with AKIA or ASIA; the secret key has 40",
        "change them over; files and stored secrets are read again by themselves",
        "what was written as the access key id may have been seen by others (it is no secret by its place): think of replacing the key",
    ],
    commands: [],
}
stored_secret_missing, Credentials {
    verdict: "a secret that its settings refer to cannot be read ({reference})",
    seen: "`the secret REFERENCE is not read yet: ...`.",
    meaning: "A value of this destination is kept in Secrets Manager or SSM, and the store does not give it. Vault is `vault_secret_missing`, a missing permission `stored_secret_denied`.",
    steps: [
        "read the store's words above: the name, the region, the credentials of the identity that reads secrets (secrets: {aws: {}} or the standard chain)",
        "no answer, or no connection: the store's host has to be reachable from here (ssm_endpoint and secretsmanager_endpoint of `secrets`, a VPC endpoint, a proxy, a firewall)",
        "the agent asks again by itself; nothing is lost meanwhile",
    ],
    commands: [],
}
profile_unknown, Credentials {
    verdict: "the profile {profile} is in none of the shared files",
    seen: "`profile X (FILES): there is no such profile in the files`, `source_profile Y of profile X is not in the files`.",
    meaning: "The name is misspelt, or the files are those of another user: the agent's HOME is rarely yours.",
    steps: [
        "it was looked for in {config_file} and {credentials_file}; set shared_config_file and shared_credentials_file to the files that hold it",
        "in the config file the section is [profile NAME], in the credentials file [NAME]",
    ],
    commands: ["AWS_CONFIG_FILE={config_file} AWS_SHARED_CREDENTIALS_FILE={credentials_file} aws configure list-profiles"],
}
profile_loop, Credentials {
    verdict: "its profiles lead round in a circle ({profile})",
    seen: "`the profiles lead in a circle: a -> b -> a`.",
    meaning: "A source_profile points, over others, back to the profile that it is the source of.",
    steps: [
        "follow source_profile from {profile} through the shared files: one of them must end in keys, credential_source, credential_process or web_identity_token_file",
    ],
    commands: ["grep -n -A6 '^\\[' {config_file} {credentials_file}"],
}
profile_incomplete, Credentials {
    verdict: "the profile {profile} says too little, or contradicts itself",
    seen: "`profile X has no credentials`, `has a role_arn, and neither source_profile nor credential_source`.",
    meaning: "A profile needs keys, or a role_arn with one source for it, or a credential_process, or a web_identity_token_file.",
    steps: ["write what the message above misses into the profile, or name another profile"],
    commands: ["AWS_CONFIG_FILE={config_file} AWS_SHARED_CREDENTIALS_FILE={credentials_file} aws configure list --profile {profile}"],
}
profile_broken, Credentials {
    verdict: "the shared AWS file {file} is none (profile {profile})",
    seen: "`profile X (FILES): FILE, line N: this is neither [section] nor key = value nor a comment`, `this is not text (UTF-8)`.",
    meaning: "A line is neither [section] nor key = value nor a comment, or the file is no text at all. Files that cannot be read at all are `file_unreadable`.",
    steps: [
        "look at the line that is named: a line without `=`, a key before the first [section], a bracket that is not closed",
        "the file is read again when it changes",
    ],
    commands: ["AWS_CONFIG_FILE={config_file} AWS_SHARED_CREDENTIALS_FILE={credentials_file} aws configure list --profile {profile}"],
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
web_identity_trust, Credentials {
    verdict: "the trust policy of role {role} does not let this token assume it",
    seen: "`AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity`.",
    meaning: "The token is good, and there is no such role, or its trust policy names another provider, service account or audience. The call is not signed, so no policy of a caller is asked.",
    steps: [
        "the role must exist, and its trust policy must allow sts:AssumeRoleWithWebIdentity to the cluster's OIDC provider (Principal Federated)",
        "sub in its Condition must be the token's: system:serviceaccount:NAMESPACE:NAME of the pod; aud must be sts.amazonaws.com",
        "the token's own sub, aud and iss are shown by the second command; the provider in the trust policy is its iss without https://",
    ],
    commands: [
        "aws iam get-role --role-name {role_name} --query Role.AssumeRolePolicyDocument",
        "cut -d. -f2 {file} | tr '_-' '/+' | base64 -d 2>/dev/null",
    ],
    iam: ("sts:AssumeRoleWithWebIdentity", "the trust policy of {role}, Principal Federated: the cluster's OIDC provider"),
}
trust_policy, Credentials {
    verdict: "the trust policy of role {role} does not let this identity assume it",
    seen: "`AccessDenied: User X is not authorized to perform: sts:AssumeRole on resource: ROLE`.",
    meaning: "Two policies must agree: the role's trust policy names who may assume it (and the external id), and the caller's own policy allows the call.",
    steps: [
        "the role must exist, and its trust policy must name as Principal: {from}",
        "in the caller's own policy, allow {action} on {role} (needed across accounts, and wherever the trust policy names the account)",
        "if the trust policy asks for sts:ExternalId, set external_id to exactly that",
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
    seen: "`assuming role R ...: cannot connect to ...`, a timeout, a refused connection, a proxy that refuses.",
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
imds_refused, Credentials {
    verdict: "instance metadata at {endpoint} answers, and refuses ({status})",
    seen: "403 (or another refusal) to the PUT for a token, or to the question for the role.",
    meaning: "Something is there and says no: metadata is switched off for this instance (403), or a proxy, a metadata filter of the cluster or another program stands at that address. The hop limit is not the reason: its sign is silence.",
    steps: [
        "on EC2: switch it on (command below); 403 is what a disabled one answers",
        "in Kubernetes: a metadata proxy or NetworkPolicy may refuse pods on purpose; then give the pod an identity of its own: IRSA or EKS Pod Identity",
        "elsewhere: name another source in the sigv4 block",
    ],
    commands: [
        "aws ec2 modify-instance-metadata-options --instance-id ID --http-endpoint enabled",
        "curl -sS -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {endpoint}/latest/api/token -o /dev/null -w '%{http_code}\\n'",
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
        "openssl x509 -in {certificate} -noout -pubkey | openssl sha256",
        "openssl pkey -in {private_key} -pubout | openssl sha256",
    ],
}
certificate_expired, Credentials {
    verdict: "the certificate {whom} that Roles Anywhere is shown is not valid now",
    seen: "`the certificate SUBJECT (FILE) expired at ...`, or it is not valid yet.",
    meaning: "Roles Anywhere exchanges only certificates that are valid today.",
    steps: ["renew {whom} in {file}; the file is read again by itself", "compare this machine's clock with the real time"],
    commands: ["openssl x509 -in {file} -noout -subject -dates", "date -u"],
}
intermediate_expired, Credentials {
    verdict: "the intermediate certificate {whom} is not valid now",
    seen: "`the intermediate certificate SUBJECT (FILE, number 2 of 2 in it) expired at ...`, or it is not valid yet.",
    meaning: "Every certificate between the one of this machine and the trust anchor must be valid too. The one of this machine may be good.",
    steps: [
        "get a new certificate of {whom} from the authority that has that name, and put it in place of the old one in {file}; the file is read again by itself",
        "where the authority has a new key too, it has to issue this machine's certificate anew",
        "compare this machine's clock with the real time",
    ],
    commands: [
        "openssl storeutl -noout -text -certs {file} | grep -e 'Subject:' -e 'Not Before' -e 'Not After'",
        "date -u",
    ],
}
roles_anywhere_refused, Credentials {
    verdict: "IAM Roles Anywhere does not accept the certificate for {role}",
    seen: "`Roles Anywhere, role R: AWS said AccessDeniedException: Untrusted certificate`.",
    meaning: "The certificate is not issued by the trust anchor's authority, an intermediate one is missing, it is revoked, or it is not such as Roles Anywhere takes (X.509 v3, CA:FALSE, digitalSignature, SHA-256).",
    steps: [
        "the trust anchor's authority must have issued the certificate; send what is between them in certificate_chain",
        "`Insufficient certificate`: issue it anew as X.509 v3 with basicConstraints CA:FALSE and keyUsage digitalSignature, signed with SHA-256 (openssl: an extension file with `basicConstraints=critical,CA:FALSE` and `keyUsage=critical,digitalSignature`; deploy/roles-anywhere/make-certificates.sh does it so)",
        "the trust anchor must be enabled, and the certificate in no revocation list that was imported",
    ],
    commands: ["openssl x509 -in {certificate} -noout -subject -issuer -serial -ext keyUsage,basicConstraints", "aws rolesanywhere list-trust-anchors", "aws rolesanywhere list-crls"],
}
credentials_failed, Credentials {
    verdict: "its credentials cannot be had",
    seen: "`no AWS credentials for DESTINATION: ...`.",
    meaning: "The source exists and fails; the message names it and what it said.",
    steps: ["do what the message above says; the agent tries again by itself, and data waits on disk meanwhile"],
    commands: [],
}
profile_without_region, Credentials {
    verdict: "the profile {profile} has no region, and nothing else names one",
    seen: "`profile NAME (FILES) has no region`.",
    meaning: "Its credentials may be right, but a signature names a region: the URL's host holds none, the sigv4 block and the profile name none, AWS_REGION is not set and there is no instance metadata.",
    steps: [
        "write region: us-east-1 (the region of the workspace or bucket) into the sigv4 block",
        "or write region = us-east-1 under {section} in {config_file}",
    ],
    commands: ["AWS_CONFIG_FILE={config_file} AWS_SHARED_CREDENTIALS_FILE={credentials_file} aws configure get region --profile {profile}"],
}
no_region, Credentials {
    verdict: "no region is known to sign for",
    seen: "`no AWS region for HOST`, or `no region: region is empty` from `sigpost check`.",
    meaning: "The host's name holds no region, and neither the sigv4 block, the profile, AWS_REGION nor metadata names one. An empty `region:` is not the default.",
    steps: ["write region: us-east-1 (the region of the workspace or bucket) into the sigv4 block"],
    commands: ["sigpost check {config}"],
}
}
