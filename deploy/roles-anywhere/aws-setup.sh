#!/usr/bin/env bash
# Makes the trust anchor, the role and the profile of IAM Roles Anywhere with the AWS CLI, and prints their ARNs.
# usage: AWS_REGION=eu-central-1 WORKSPACE=ws-... aws-setup.sh CA_PEM HOST [HOST ...]
# Run by a person who may administer IAM. Run again, it changes what is there to what it is given now, and adds the hosts to
# those that the role trusts already. Every step may be taken by hand: docs/operations/roles-anywhere.md explains them.
set -euo pipefail

usage='usage: AWS_REGION=eu-central-1 WORKSPACE=ws-... aws-setup.sh CA_PEM HOST [HOST ...]'
ca=${1:?$usage}
: "${2:?$usage}"
shift
: "${AWS_REGION:?set AWS_REGION to the region of the workspace}"
: "${WORKSPACE:?set WORKSPACE to the id of the workspace, such as ws-0123abcd (aws amp list-workspaces)}"
case $WORKSPACE in
  ws-*) ;;
  *) echo "WORKSPACE is the id of the workspace alone; it begins with ws-" >&2; exit 2 ;;
esac
# Version 1 of the AWS CLI knows the second name alone.
export AWS_REGION AWS_DEFAULT_REGION=$AWS_REGION
name=${NAME:-sigpost}
role_name=$name-host
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What a list has under this name; nothing where it has none.
found() {
  local text
  text=$(aws rolesanywhere "$1" --query "$2[?name=='$name'].$3 | [0]" --output text)
  if [ "$text" != None ]; then echo "$text"; fi
}

# The certificate with its line breaks, as JSON.
printf '{"sourceType":"CERTIFICATE_BUNDLE","sourceData":{"x509CertificateData":"%s"}}' \
  "$(awk '{printf "%s\\n", $0}' "$ca")" >"$work/source.json"
anchor_id=$(found list-trust-anchors trustAnchors trustAnchorId)
if [ -n "$anchor_id" ]; then
  anchor=$(aws rolesanywhere update-trust-anchor --trust-anchor-id "$anchor_id" --name "$name" \
    --source "file://$work/source.json" --query trustAnchor.trustAnchorArn --output text)
else
  anchor=$(aws rolesanywhere create-trust-anchor --name "$name" --enabled --source "file://$work/source.json" \
    --query trustAnchor.trustAnchorArn --output text)
fi
partition=$(cut -d: -f2 <<<"$anchor")
account=$(cut -d: -f5 <<<"$anchor")

# Who is trusted already, one a line, and who is new.
known=$(aws iam get-role --role-name "$role_name" --output text --query \
  'Role.AssumeRolePolicyDocument.Statement[0].Condition.StringEquals."aws:PrincipalTag/x509Subject/CN"' 2>"$work/why" || true)
if [ -s "$work/why" ] && ! grep -q NoSuchEntity "$work/why"; then cat "$work/why" >&2; exit 1; fi
is_new=$([ -s "$work/why" ] && echo yes || echo no)
hosts=$( (tr '\t' '\n' <<<"$known"; printf '%s\n' "$@") | grep -v -e '^$' -e '^None$' | sort -u | sed 's/.*/"&"/' | paste -sd, -)
sed -e "s|TRUST_ANCHOR_ARN|$anchor|; s|\"HOST_NAME\"|[$hosts]|" "$here/../iam/trust-roles-anywhere.json" >"$work/trust.json"
if [ "$is_new" = yes ]; then
  aws iam create-role --role-name "$role_name" --assume-role-policy-document "file://$work/trust.json" >"$work/made"
else
  aws iam update-assume-role-policy --role-name "$role_name" --policy-document "file://$work/trust.json"
fi
role=arn:$partition:iam::$account:role/$role_name

sed -e "s|arn:aws:aps:us-east-1:111122223333:workspace/ws-EXAMPLE|arn:$partition:aps:$AWS_REGION:$account:workspace/$WORKSPACE|" \
  "$here/../iam/remote-write.json" >"$work/policy.json"
aws iam put-role-policy --role-name "$role_name" --policy-name remote-write --policy-document "file://$work/policy.json"

# Without --accept-role-session-name a `session_name:` in agent.yaml is refused; without either the session bears the
# certificate's serial number.
profile_id=$(found list-profiles profiles profileId)
if [ -n "$profile_id" ]; then
  profile=$(aws rolesanywhere update-profile --profile-id "$profile_id" --name "$name" --role-arns "$role" \
    --accept-role-session-name --query profile.profileArn --output text)
else
  profile=$(aws rolesanywhere create-profile --name "$name" --enabled --role-arns "$role" --accept-role-session-name \
    --query profile.profileArn --output text)
fi

echo "hosts: $hosts"
echo "url: https://aps-workspaces.$AWS_REGION.amazonaws.com/workspaces/$WORKSPACE/api/v1/remote_write"
echo "trust_anchor_arn: $anchor"
echo "profile_arn: $profile"
echo "role_arn: $role"
