//! The part of the table of causes that is about single sources of credentials: what exactly one of them lacks.
//!
//! Keeps true: what `causes` keeps true.

use super::cause::{
    Cause,
    Kind::{Credentials, Note},
    causes,
};

causes! { SOURCE_CAUSES =
environment_half, Credentials {
    verdict: "half of the keys in the environment are missing: {missing} is not set",
    seen: "`AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not`.",
    meaning: "The standard chain takes the environment's keys as a pair; half a pair is passed over, and nothing after it has credentials either.",
    steps: [
        "set {missing} too, where the agent's other variables are set (EnvironmentFile= of the unit, env of the container)",
        "or remove its other half, if another source is meant",
    ],
    commands: ["env | grep -o '^AWS_[A-Z_]*'"],
}
not_pem, Credentials {
    verdict: "{file} is not the PEM text that is wanted there",
    seen: "`the certificate (FILE) is DER, not PEM`, `is cut off: the section that begins at line N`, `holds a certificate (line 1) and no private key`.",
    meaning: "The file is there and can be read, but it is DER or PKCS #12, cut off, damaged, encrypted, or another file than its key of the configuration says.",
    steps: [
        "do what the message above says; certificate takes BEGIN CERTIFICATE, private_key BEGIN PRIVATE KEY (or RSA, or EC)",
        "a changed file is read again by itself",
    ],
    commands: ["grep -n -e '-----' {file}"],
}
vault_secret_missing, Credentials {
    verdict: "Vault does not give a secret that its settings refer to ({reference})",
    seen: "`the secret vault://... is not read yet: Vault said permission denied (HTTP 403)`, `asking Vault: ...`, `logging in to Vault at ...`.",
    meaning: "A value of this destination is kept in Vault, which refuses, has none there, or cannot be reached as the `vault` block says.",
    steps: [
        "403: the token has ended, or its policy lacks `read` at this path: for a secret of version 2 the policy names MOUNT/data/PATH",
        "404: compare mount and path with `vault kv list`; the reference is vault://MOUNT/PATH#KEY, without data/",
        "no connection, a time-out, 503: look at address, namespace and tls_config of the `vault` block, and whether Vault is sealed",
        "a login that fails: compare the method, its mount and its role in the `vault` block with `vault auth list`",
        "the agent asks again by itself; nothing is lost meanwhile",
    ],
    commands: ["vault status", "vault token lookup"],
}
stored_secret_denied, Credentials {
    verdict: "the identity that reads secrets is not allowed {action} ({reference})",
    seen: "`the secret REFERENCE is not read yet: AWS said AccessDeniedException: User: ARN is not authorized to perform: secretsmanager:GetSecretValue on resource: ARN`.",
    meaning: "A value of this destination is kept in Secrets Manager or SSM, and no policy lets the identity of `secrets: {aws: ...}` (or the standard chain, where there is no such block) read it. It is another identity than the one that signs for the destination.",
    steps: [
        "add this statement to a policy of {principal}: {\"Effect\": \"Allow\", \"Action\": \"{action}\", \"Resource\": \"{resource}\"}",
        "a secret of another account needs the same in its own resource policy, and is referred to by its ARN",
        "a secret or parameter with a key of its own needs kms:Decrypt on that key too",
    ],
    commands: ["aws iam simulate-principal-policy --policy-source-arn {principal} --action-names {action} --resource-arns {resource}"],
    iam: ("{action}", "{resource}"),
}
key_encrypted, Credentials {
    verdict: "the private key {file} is encrypted, and nobody types its passphrase for an agent",
    seen: "`the private_key (FILE) is encrypted`; in the file `BEGIN ENCRYPTED PRIVATE KEY`, or `Proc-Type: 4,ENCRYPTED`.",
    meaning: "The agent starts without anybody there, so the key has to lie in its file as it is, protected by the file's permissions.",
    steps: [
        "write the key without its passphrase (first command; it asks for the passphrase once), and name that file as private_key",
        "let only the agent's user read it (second command)",
    ],
    commands: [
        "openssl pkcs8 -topk8 -nocrypt -in {file} -out {file}.plain",
        "chown root:sigpost {file}.plain && chmod 640 {file}.plain",
    ],
}
key_kind, Credentials {
    verdict: "its private key is of a kind that cannot sign for Roles Anywhere here",
    seen: "`the private key (FILE) is none of RSA (2048 to 8192 bits), ECDSA P-256, P-384 and P-521`.",
    meaning: "Ed25519, DSA and other curves are no keys of Roles Anywhere; short RSA keys are refused.",
    steps: ["issue a certificate for an RSA or ECDSA key", "other keys work through credential_process with aws_signing_helper"],
    commands: ["openssl pkey -in {private_key} -noout -text | head -n 1"],
}
container_token, Credentials {
    verdict: "the container endpoint's token cannot be read ({file})",
    seen: "`container endpoint URL: cannot read the token file PATH`.",
    meaning: "EKS Pod Identity mounts a token that its agent on the node wants to see; it is not where container.token_file or AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE says.",
    steps: [
        "the pod must have been made after the pod identity association; make it anew: the token is mounted at its start",
        "a non-root agent needs securityContext.fsGroup to read the token",
        "the default path is /var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token",
    ],
    commands: ["ls -l {file}", "kubectl get pod POD -o yaml | grep -A8 eks-pod-identity-token"],
}
container_unnamed, Credentials {
    verdict: "nothing names a container endpoint here: this is neither ECS nor a pod of EKS Pod Identity",
    seen: "`container endpoint: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and _FULL_URI are not set`.",
    meaning: "ECS and EKS Pod Identity tell a container by variables where its credentials are, and the agent has none of them: it runs elsewhere, the pod is older than its association, or the variables were not passed to the agent (sudo, a unit of systemd and `env -i` drop them).",
    steps: [
        "EKS: an association must exist for namespace and service account, and the add-on eks-pod-identity-agent must run; then make the pod anew: the variables come with its start",
        "ECS: the task definition needs a taskRoleArn",
        "if this is one of the two, pass AWS_CONTAINER_CREDENTIALS_FULL_URI (or _RELATIVE_URI) and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE on to the agent",
        "elsewhere name another source in the sigv4 block, or the address itself: container.endpoint",
    ],
    commands: ["env | grep AWS_CONTAINER", "aws eks list-pod-identity-associations --cluster-name CLUSTER"],
}
container_address, Credentials {
    verdict: "the container endpoint's address cannot be used",
    seen: "`container endpoint URL: must be https, loopback, 169.254.170.2, 169.254.170.23 or fd00:ec2::23`.",
    meaning: "The token that goes there opens the role, so it goes only where AWS puts such endpoints.",
    steps: ["correct container.endpoint, or AWS_CONTAINER_CREDENTIALS_FULL_URI: ECS and EKS set it by themselves"],
    commands: ["env | grep AWS_CONTAINER"],
}
profile_value, Credentials {
    verdict: "{value_key} of profile {profile} is none of the values it may have",
    seen: "`duration_seconds of profile X is not a number from 900 to 43200`, `credential_source of profile X is none of ...`.",
    meaning: "One value in the shared files is wrong, so the role that it belongs to is not asked for.",
    steps: ["correct {value_key} under profile {profile} in {config_file}; the file is read again when it changes"],
    commands: ["grep -n {value_key} {config_file} {credentials_file}"],
}
profile_console_login, Credentials {
    verdict: "the profile {profile} needs a person to log in at the console",
    seen: "`profile X is for a human login at the console (login_session)`.",
    meaning: "`aws login` writes login_session into a profile: a session of a person, which ends within hours.",
    steps: ["give the agent an identity of its own: instance_metadata, container, web_identity, roles_anywhere or a user's keys"],
    commands: [],
}
profile_mfa, Credentials {
    verdict: "role {role} is refused, and profile {profile} says that it wants a code of an MFA device",
    seen: "`... AccessDenied ...; profile X names mfa_serial`.",
    meaning: "A role whose trust policy demands aws:MultiFactorAuthPresent is for people: nobody types a code for an agent.",
    steps: [
        "give the agent a role of its own, without that condition, and name a profile without mfa_serial",
        "or remove the condition aws:MultiFactorAuthPresent from the trust policy of {role_name}, if that is allowed",
    ],
    commands: ["aws iam get-role --role-name {role_name} --query Role.AssumeRolePolicyDocument"],
}
anywhere_session_name, Credentials {
    verdict: "the profile of Roles Anywhere takes no session_name",
    seen: "`Roles Anywhere, role R: AWS said ValidationException: ... role session name ...`.",
    meaning: "Sessions are named after the certificate's serial number, unless the profile accepts names of the caller's own.",
    steps: [
        "remove session_name from roles_anywhere",
        "or let the profile accept it (command below)",
    ],
    commands: ["aws rolesanywhere update-profile --profile-id PROFILE-ID --accept-role-session-name"],
}
anywhere_duration, Credentials {
    verdict: "the session_duration for {role} is longer than Roles Anywhere grants",
    seen: "`Roles Anywhere, role R: AWS said ValidationException: durationSeconds ...`.",
    meaning: "It is over the profile's duration, or over the role's own maximum.",
    steps: ["lower session_duration, or leave it out", "or raise both: the profile's duration and the role's maximum"],
    commands: [
        "aws rolesanywhere list-profiles --query 'profiles[].[name,durationSeconds]'",
        "aws iam get-role --role-name {role_name} --query Role.MaxSessionDuration",
    ],
}
anywhere_missing, Credentials {
    verdict: "Roles Anywhere knows no such trust anchor or profile",
    seen: "`Roles Anywhere, role R: AWS said ResourceNotFoundException: Trust anchor not found`.",
    meaning: "trust_anchor_arn or profile_arn is misspelt, deleted, or of another region or account than it is asked in.",
    steps: [
        "compare trust_anchor_arn ({trust_anchor}) and profile_arn ({anywhere_profile}) with the lists below",
        "both must be in the region that is asked: the trust anchor's, or roles_anywhere.region",
    ],
    commands: ["aws rolesanywhere list-trust-anchors", "aws rolesanywhere list-profiles"],
}
anywhere_role, Credentials {
    verdict: "Roles Anywhere believes the certificate and may not give it {role}",
    seen: "`Roles Anywhere, role R: AWS said AccessDeniedException: Unable to assume role for R`.",
    meaning: "The certificate is good. The role is not in the profile, anchor or profile are disabled, or the role's trust policy lacks the service, one of its three actions, this anchor or this certificate's name.",
    steps: [
        "the profile must list {role}; anchor and profile must be enabled",
        "the role's trust policy must allow rolesanywhere.amazonaws.com: sts:AssumeRole, sts:TagSession, sts:SetSourceIdentity",
        "its conditions must name this anchor (aws:SourceArn) and this certificate (aws:PrincipalTag/x509Subject/CN)",
    ],
    commands: [
        "aws rolesanywhere list-profiles --query 'profiles[].[name,enabled,roleArns]'",
        "aws iam get-role --role-name {role_name} --query Role.AssumeRolePolicyDocument",
    ],
    iam: ("sts:AssumeRole, sts:TagSession, sts:SetSourceIdentity", "the role's trust policy, Principal Service rolesanywhere.amazonaws.com"),
}
anywhere_unreachable, Credentials {
    verdict: "Roles Anywhere cannot be reached, so the certificate cannot be exchanged",
    seen: "`Roles Anywhere, role R: cannot connect to ...`, a timeout, a proxy that refuses.",
    meaning: "The credentials come from rolesanywhere.REGION.amazonaws.com, and the way there is closed: no internet, a proxy, a name that does not resolve.",
    steps: [
        "let the firewall or proxy carry HTTPS to rolesanywhere in the trust anchor's region (HTTPS_PROXY holds for it)",
        "or name a reachable one: roles_anywhere.endpoint (an interface endpoint of com.amazonaws.REGION.rolesanywhere)",
    ],
    commands: ["curl -sS -m 5 -o /dev/null -w '%{http_code}\\n' {anywhere}"],
}
imds_address, Credentials {
    verdict: "{variable} does not name a metadata service",
    seen: "`AWS_EC2_METADATA_SERVICE_ENDPOINT is not a URL`, `AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is not a mode`.",
    meaning: "The variable in the agent's environment says where instance metadata is, and holds something else.",
    steps: [
        "on EC2 remove {variable}: the address is known",
        "else write http://HOST:PORT into AWS_EC2_METADATA_SERVICE_ENDPOINT, or IPv4 or IPv6 into AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    ],
    commands: ["env | grep AWS_EC2_METADATA"],
}
imds_odd, Credentials {
    verdict: "what answers as instance metadata at {endpoint} is something else",
    seen: "`it names \"...\" as the instance's role, which is no name of a role`, `its answer for the role R is no JSON object but a web page`.",
    meaning: "A proxy, a web server or an imitation answers at the metadata service's address.",
    steps: [
        "on EC2, look for what catches the address 169.254.169.254: a proxy, a rule of iptables, AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "elsewhere name another source in the sigv4 block",
    ],
    commands: ["curl -sS -m 2 --noproxy '*' -i {endpoint}/latest/meta-data/ | head -n 12"],
}
imds_role_refused, Credentials {
    verdict: "EC2 may not give this instance its role",
    seen: "`it gives nothing for the role R and says AssumeRoleUnauthorizedAccess`.",
    meaning: "A role is attached, and its trust policy does not let EC2 assume it, or the role was deleted and made anew.",
    steps: [
        "the role's trust policy must allow Principal Service ec2.amazonaws.com sts:AssumeRole",
        "a role that was deleted and made anew must be attached anew",
    ],
    commands: ["aws iam get-role --role-name ROLE --query Role.AssumeRolePolicyDocument"],
}
process_stale, Credentials {
    verdict: "the command of credential_process prints credentials that are over ({ended})",
    seen: "`the command printed credentials that expired 60 min ago by AWS's clock (Expiration TIME)`, `AWS credentials came expired by this machine's clock: the command ...`.",
    meaning: "The helper hands out old credentials: it keeps a cache that it does not renew, or writes Expiration by a clock that is wrong. The agent asks AWS with them until an answer tells the time, and then uses them no more.",
    steps: [
        "run the command as the agent's user and look at Expiration: where it is past, empty the helper's cache or renew what it reads",
        "compare the clock of whoever writes Expiration, and this machine's, with the real time",
        "the agent runs the command again by itself: no restart is needed",
    ],
    commands: ["date -u"],
}
issuer_in_trouble, Credentials {
    verdict: "{issuer}, which gives its credentials, is in trouble or throttles",
    seen: "`STS is in trouble: it answered InternalFailure (HTTP 500)`, `STS throttles: it answered Throttling (HTTP 400)`.",
    meaning: "The question arrived, and the service cannot answer it now, whoever asks. Nothing is wrong with this identity as far as that shows. The agent asks again by itself; data waits on disk, and credentials that are still valid stay in use.",
    steps: [
        "wait a minute and run doctor again; look at the AWS Health Dashboard for the region",
        "if it throttles: many agents that start at once, or sessions of minutes, ask too often; lengthen session_duration",
        "if it lasts in one region only, set sts_region to another (Roles Anywhere: its own region only)",
    ],
    commands: ["aws sts get-caller-identity --region {region}"],
}
odd_answer, Credentials {
    verdict: "what answers in place of the service that gives its credentials is something else",
    seen: "`STS's answer is not XML`, `its answer is not JSON`, `a web page titled \"Access Denied\" answered (HTTP 403) in place of STS`.",
    meaning: "The address of STS, Roles Anywhere or the container endpoint leads to a web server, a proxy's page, or another service.",
    steps: [
        "compare sts_endpoint, roles_anywhere.endpoint or container.endpoint with what AWS names",
        "a proxy may answer in its place: look at HTTPS_PROXY and what it says to this host",
    ],
    commands: ["env | grep -i -e _proxy -e AWS_ENDPOINT_URL"],
}
broke_off, Credentials {
    verdict: "sigpost itself broke off while it asked for its credentials",
    seen: "`sigpost itself broke off while it read what this source gave (a panic, told on standard error)`.",
    meaning: "The source answered something that this program cannot deal with. Only this source is concerned, and it is asked again.",
    steps: [
        "report it with the words above and those on standard error",
        "meanwhile name another source in the sigv4 block",
    ],
    commands: [],
}
profile_key_ignored, Note {
    verdict: "a key of its profile has no effect",
    seen: "Nothing: `mfa_serial` in a profile is passed over, and the role is asked for without a code.",
    meaning: "mfa_serial is for people. Where the role does not demand it, nothing is wrong.",
    steps: ["remove mfa_serial from the profile that the agent uses"],
    commands: [],
}
}
