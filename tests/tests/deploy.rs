//! How people run it: units, manifests, policies and scripts under deploy/ are checked by the tools that will read them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use e2e::peers::{find, find_unless_missing};
use serde_json::Value;
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, ending)?);
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Runs a tool; what it said if it failed.
fn run(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("running {command:?}"))?;
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if !out.status.success() {
        bail!("{command:?} ended with {}:\n{text}", out.status);
    }
    Ok(text)
}

/// Each action that a policy may name, and the words in our code that show that it is asked for (or, with `trust`, that a
/// trust policy needs it for what the code asks).
const ACTIONS: &[(&str, &str)] = &[
    ("aps:RemoteWrite", "aps:RemoteWrite"),
    ("s3:PutObject", "s3:PutObject"),
    // S3 asks for the data key in our name when `sse: {type: aws:kms}` is set.
    ("kms:GenerateDataKey", "x-amz-server-side-encryption-aws-kms-key-id"),
    ("logs:PutLogEvents", "\"PutLogEvents\""),
    ("logs:CreateLogGroup", "\"CreateLogGroup\""),
    ("logs:CreateLogStream", "\"CreateLogStream\""),
    ("logs:PutRetentionPolicy", "\"PutRetentionPolicy\""),
    ("firehose:PutRecordBatch", "Firehose_20150804.PutRecordBatch"),
    ("firehose:DescribeDeliveryStream", "Firehose_20150804.DescribeDeliveryStream"),
    ("kinesis:PutRecords", "Kinesis_20131202.PutRecords"),
    ("logs:FilterLogEvents", "Logs_20140328.FilterLogEvents"),
    ("logs:DescribeLogGroups", "Logs_20140328.DescribeLogGroups"),
    ("s3:ListBucket", "list-type=2"),
    ("s3:GetObject", "GetObject"),
    ("sqs:ReceiveMessage", "AmazonSQS.ReceiveMessage"),
    ("sqs:DeleteMessage", "AmazonSQS.DeleteMessageBatch"),
    ("sqs:ChangeMessageVisibility", "AmazonSQS.ChangeMessageVisibility"),
    ("execute-api:Invoke", "execute-api"),
    ("secretsmanager:GetSecretValue", "secretsmanager.GetSecretValue"),
    ("ssm:GetParameter", "AmazonSSM.GetParameter"),
    // Both stores ask for it in our name; the code tells so where they refuse.
    ("kms:Decrypt", "kms:Decrypt"),
    ("sts:AssumeRole", "AssumeRole"),
    ("sts:AssumeRoleWithWebIdentity", "WebIdentity"),
    ("sts:TagSession", "session_tags"),
    // Roles Anywhere sets it to the certificate's subject.
    ("sts:SetSourceIdentity", "AWS4-X509-"),
];

fn production_code() -> Result<String> {
    let mut code = String::new();
    for folder in fs::read_dir(root().join("crates"))? {
        let folder = folder?.path();
        // The sandbox knows AWS's side of things.
        if !folder.ends_with("sandbox") {
            for file in files(&folder.join("src"), "rs")? {
                code += &fs::read_to_string(file)?;
            }
        }
    }
    Ok(code)
}

/// Every value under `Action` of a policy document.
fn actions(policy: &Value) -> Vec<&str> {
    let statements = policy["Statement"].as_array().map(Vec::as_slice).unwrap_or_default();
    statements
        .iter()
        .flat_map(|statement| match &statement["Action"] {
            Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect::<Vec<_>>(),
        })
        .collect()
}

fn check_policy(place: &str, policy: &Value, code: &str) -> usize {
    assert_eq!(policy["Version"], "2012-10-17", "{place}");
    let named = actions(policy);
    assert!(!named.is_empty(), "{place} names no action");
    for action in &named {
        let Some((_, words)) = ACTIONS.iter().find(|(known, _)| known == action) else {
            panic!("{place} names {action}, which the agent does not use");
        };
        assert!(code.contains(words), "{place} names {action}, but nothing in the code says {words}");
    }
    named.len()
}

#[test]
fn policies_parse_and_name_only_actions_that_the_code_uses() -> Result<()> {
    let code = production_code()?;
    let mut seen = BTreeSet::new();
    for path in files(&root().join("deploy/iam"), "json")? {
        let place = path.display().to_string();
        let policy: Value = serde_json::from_str(&fs::read_to_string(&path)?).context(place.clone())?;
        check_policy(&place, &policy, &code);
        seen.extend(actions(&policy).into_iter().map(str::to_owned));
    }
    let known: BTreeSet<String> = ACTIONS.iter().map(|(action, _)| (*action).to_owned()).collect();
    assert_eq!(seen, known, "an action without a policy, or a policy without its action");
    Ok(())
}

#[test]
fn json_in_the_operations_pages_parses_and_its_policies_too() -> Result<()> {
    let code = production_code()?;
    let mut policies = 0;
    for path in files(&root().join("docs/operations"), "md")? {
        let text = fs::read_to_string(&path)?;
        let mut lines = text.lines();
        while lines.by_ref().any(|l| l.trim() == "```json") {
            let block: Vec<&str> = lines.by_ref().take_while(|l| l.trim() != "```").collect();
            let place = path.display().to_string();
            let value: Value = serde_json::from_str(&block.join("\n")).with_context(|| place.clone())?;
            if value["Statement"].is_array() {
                policies += check_policy(&place, &value, &code);
            }
        }
    }
    assert!(policies > 5, "the pages show only {policies} actions");
    Ok(())
}

#[test]
fn the_systemd_unit_and_its_drop_ins_verify() -> Result<()> {
    let Some(analyze) = find_unless_missing("systemd-analyze")? else { return Ok(()) };
    let (deploy, work) = (root().join("deploy"), TempDir::new()?);
    // The binary has to exist where the unit says.
    let unit = fs::read_to_string(deploy.join("systemd/sigpost.service"))?;
    let path = work.path().join("sigpost.service");
    fs::write(&path, unit.replace("/usr/local/bin/sigpost", "/bin/true"))?;
    let verify = || run(Command::new(&analyze).args(["verify", "--man=no", "--recursive-errors=no"]).arg(&path));
    assert_eq!(verify()?, "");
    let drop_ins = work.path().join("sigpost.service.d");
    fs::create_dir(&drop_ins)?;
    let mut copied = 0;
    for path in files(&deploy, "conf")? {
        fs::copy(&path, drop_ins.join(path.file_name().context("a file")?))?;
        copied += 1;
    }
    assert!(copied >= 3);
    let merged = run(Command::new(&analyze).env("SYSTEMD_UNIT_PATH", format!("{}:", work.path().display())).args([
        "verify",
        "--man=no",
        "--recursive-errors=no",
        "sigpost.service",
    ]))?;
    assert_eq!(merged, "");
    // Exposure in tenths: 0 is nothing, 100 is everything.
    run(Command::new(&analyze).args(["security", "--offline=true", "--threshold=20"]).arg(&path))?;
    Ok(())
}

#[test]
fn the_unit_starts_and_reloads_what_the_command_line_takes() -> Result<()> {
    let unit = fs::read_to_string(root().join("deploy/systemd/sigpost.service"))?;
    let daemon_set = fs::read_to_string(root().join("deploy/kubernetes/base/daemonset.yaml"))?;
    let work = TempDir::new()?;
    let file = work.path().join("agent.yaml");
    fs::write(&file, "metrics: {}\n")?;
    let check: Vec<String> = unit
        .lines()
        .find_map(|l| l.strip_prefix("ExecReload=/usr/local/bin/sigpost "))
        .context("the reload checks first")?
        .split(' ')
        .map(|word| word.replace("/etc/sigpost/agent.yaml", &file.display().to_string()))
        .collect();
    let out = run(Command::new(e2e::peers::sigpost()?).args(check))?;
    assert!(out.contains("metrics:"), "{out}");
    // Unknown flags would be a usage error; -version ends before anything starts.
    let start = unit.lines().find_map(|l| l.strip_prefix("ExecStart=/usr/local/bin/sigpost ")).context("ExecStart")?;
    let in_pod = daemon_set.lines().filter_map(|l| l.trim().strip_prefix("- -"));
    for flags in [start.split(' ').map(str::to_owned).collect::<Vec<_>>(), in_pod.map(|f| format!("-{f}")).collect()] {
        assert!(flags.len() >= 3, "{flags:?}");
        let out = run(Command::new(e2e::peers::sigpost()?).args(&flags).arg("-version"))?;
        assert!(out.starts_with("sigpost "), "{out}");
    }
    Ok(())
}

#[test]
fn the_kubernetes_manifests_fit_the_published_schemas() -> Result<()> {
    let Some(validate) = find_unless_missing("kubernetes-validate")? else { return Ok(()) };
    let folder = root().join("deploy/kubernetes");
    let manifests: Vec<PathBuf> = files(&folder, "yaml")?
        .into_iter()
        .filter(|p| !p.ends_with("kustomization.yaml") && !p.ends_with("agent.yaml"))
        .collect();
    assert!(manifests.len() >= 4);
    let said = run(Command::new(&validate).arg("--strict").args(&manifests))?;
    for kind in ["namespace", "serviceaccount", "clusterrole", "clusterrolebinding", "daemonset"] {
        assert!(said.contains(&format!("passed for resource {kind}/sigpost")), "no {kind} in\n{said}");
    }
    // A manifest with a mistake is told, or the check would be worth nothing.
    let work = TempDir::new()?;
    let wrong = work.path().join("wrong.yaml");
    let text = fs::read_to_string(folder.join("base/daemonset.yaml"))?.replace("periodSeconds: 15", "periodSecond: 15");
    fs::write(&wrong, text)?;
    assert!(run(Command::new(&validate).arg("--strict").arg(&wrong)).is_err());
    Ok(())
}

#[test]
fn kustomize_builds_both_variants() -> Result<()> {
    let (build, words): (PathBuf, &str) = match find("kustomize") {
        Ok(kustomize) => (kustomize, "build"),
        Err(_) => match find_unless_missing("kubectl")? {
            Some(kubectl) => (kubectl, "kustomize"),
            None => return Ok(()),
        },
    };
    for (variant, annotated) in [("irsa", true), ("pod-identity", false)] {
        let built = run(Command::new(&build).arg(words).arg(root().join("deploy/kubernetes").join(variant)))?;
        assert_eq!(built.contains("eks.amazonaws.com/role-arn"), annotated, "{variant}");
        for kind in ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "DaemonSet"] {
            assert!(built.lines().any(|l| l == format!("kind: {kind}")), "{variant} lacks {kind}");
        }
    }
    Ok(())
}

#[test]
fn the_certificates_are_such_as_roles_anywhere_takes() -> Result<()> {
    let Some(openssl) = find_unless_missing("openssl")? else { return Ok(()) };
    let work = TempDir::new()?;
    let script = root().join("deploy/roles-anywhere/make-certificates.sh");
    for host in ["host1.example.com", "host2.example.com"] {
        run(Command::new("bash").arg(&script).arg(work.path()).arg(host))?;
    }
    let text =
        |file: &str| run(Command::new(&openssl).args(["x509", "-noout", "-text", "-in", file]).current_dir(&work));
    let (ca, host) = (text("ca.pem")?, text("host1.example.com.pem")?);
    assert!(ca.contains("CA:TRUE") && ca.contains("Certificate Sign"), "{ca}");
    assert!(host.contains("Version: 3") && host.contains("CA:FALSE") && host.contains("Digital Signature"), "{host}");
    assert!(host.contains("CN = host1.example.com") || host.contains("CN=host1.example.com"), "{host}");
    // The second host has the same authority.
    run(Command::new(&openssl).args(["verify", "-CAfile", "ca.pem", "host2.example.com.pem"]).current_dir(&work))?;
    let key = fs::metadata(work.path().join("host1.example.com.key"))?;
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o077, 0, "others can read the key");
    for script in files(&root().join("deploy"), "sh")? {
        run(Command::new("bash").arg("-n").arg(script))?;
    }
    Ok(())
}

/// As much of the AWS CLI as the script asks for: what it makes is in files under `$STATE`, every call is a line in `$STATE/calls`.
const CLI: &str = r#"#!/usr/bin/env bash
set -euo pipefail
echo "$*" >>"$STATE/calls"
document() { for word in "$@"; do case $word in file://*) cat "${word#file://}";; esac; done; }
list() { if [ -e "$STATE/$1" ]; then echo "$1-id"; else echo None; fi; }
# Version 1 of the CLI reads AWS_DEFAULT_REGION, version 2 both.
[ "$AWS_REGION" = "$AWS_DEFAULT_REGION" ]
arn="arn:aws:rolesanywhere:$AWS_DEFAULT_REGION:444455556666"
case "$1 $2" in
  "rolesanywhere list-trust-anchors") list anchor ;;
  "rolesanywhere create-trust-anchor") [ ! -e "$STATE/anchor" ]; document "$@" >"$STATE/anchor"; echo "$arn:trust-anchor/anchor-id" ;;
  "rolesanywhere update-trust-anchor") [ "$4" = anchor-id ]; document "$@" >"$STATE/anchor"; echo "$arn:trust-anchor/anchor-id" ;;
  "rolesanywhere list-profiles") list profile ;;
  "rolesanywhere create-profile") [ ! -e "$STATE/profile" ]; echo "$*" >"$STATE/profile"; echo "$arn:profile/profile-id" ;;
  "rolesanywhere update-profile") [ "$4" = profile-id ]; echo "$arn:profile/profile-id" ;;
  "iam get-role")
    if [ ! -e "$STATE/role" ]; then echo "An error occurred (NoSuchEntity) when calling the GetRole operation" >&2; exit 254; fi
    grep -o '"aws:PrincipalTag/x509Subject/CN": \[[^]]*\]' "$STATE/role" | grep -o '"[a-z0-9.]*"' | tr -d '"' | paste -s - ;;
  "iam create-role") [ ! -e "$STATE/role" ]; document "$@" >"$STATE/role" ;;
  "iam update-assume-role-policy") document "$@" >"$STATE/role" ;;
  "iam put-role-policy") document "$@" >"$STATE/policy" ;;
  *) echo "not asked for: $*" >&2; exit 1 ;;
esac
"#;

#[test]
fn the_set_up_of_roles_anywhere_may_be_run_again_and_for_more_hosts() -> Result<()> {
    let work = TempDir::new()?;
    let (bin, state) = (work.path().join("bin"), work.path().join("state"));
    fs::create_dir_all(&bin)?;
    fs::create_dir_all(&state)?;
    fs::write(bin.join("aws"), CLI)?;
    fs::set_permissions(bin.join("aws"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let ca = work.path().join("ca.pem");
    fs::write(&ca, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")?;
    let set_up = |hosts: &[&str], workspace: Option<&str>| {
        let mut command = Command::new("bash");
        command.arg(root().join("deploy/roles-anywhere/aws-setup.sh")).arg(&ca).args(hosts);
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).env("STATE", &state);
        command.env("AWS_REGION", "eu-west-3");
        command.envs(workspace.map(|id| ("WORKSPACE", id)));
        run(&mut command)
    };
    let read = |name: &str| -> Result<Value> { Ok(serde_json::from_str(&fs::read_to_string(state.join(name))?)?) };
    let trusted = || -> Result<Value> {
        Ok(read("role")?["Statement"][0]["Condition"]["StringEquals"]["aws:PrincipalTag/x509Subject/CN"].clone())
    };
    let first = set_up(&["host1.example.com"], Some("ws-1"))?;
    assert_eq!(trusted()?, serde_json::json!(["host1.example.com"]));
    let policy = read("policy")?;
    assert_eq!(policy["Statement"][0]["Resource"], "arn:aws:aps:eu-west-3:444455556666:workspace/ws-1");
    for line in [
        "url: https://aps-workspaces.eu-west-3.amazonaws.com/workspaces/ws-1/api/v1/remote_write",
        "trust_anchor_arn: arn:aws:rolesanywhere:eu-west-3:444455556666:trust-anchor/anchor-id",
        "role_arn: arn:aws:iam::444455556666:role/sigpost-host",
    ] {
        assert!(first.lines().any(|l| l == line), "{line} in\n{first}");
    }
    // The same again, and then a second host: the first one stays.
    assert_eq!(set_up(&["host1.example.com"], Some("ws-1"))?, first);
    set_up(&["host2.example.com"], Some("ws-1"))?;
    assert_eq!(trusted()?, serde_json::json!(["host1.example.com", "host2.example.com"]));
    // What has to be said is asked for before anything is made.
    let calls = fs::read_to_string(state.join("calls"))?;
    for workspace in [None, Some("https://aps-workspaces.eu-west-3.amazonaws.com/workspaces/ws-1")] {
        assert!(set_up(&["host1.example.com"], workspace).is_err_and(|e| e.to_string().contains("WORKSPACE")));
    }
    assert_eq!(fs::read_to_string(state.join("calls"))?, calls);
    Ok(())
}
