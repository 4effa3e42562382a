#!/usr/bin/env bash
# Makes the trust anchor, the role and the profile of IAM Roles Anywhere with the AWS CLI, and prints their ARNs.
# usage: AWS_REGION=eu-central-1 aws-setup.sh CA_PEM HOST
# Run by a person who may administer IAM. Every step may be repeated by hand: docs/operations/roles-anywhere.md explains them.
set -euo pipefail

ca=${1:?usage: aws-setup.sh CA_PEM HOST}
host=${2:?usage: aws-setup.sh CA_PEM HOST}
: "${AWS_REGION:?set AWS_REGION to the region of the workspace}"
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The certificate with its line breaks, as JSON.
printf '{"sourceType":"CERTIFICATE_BUNDLE","sourceData":{"x509CertificateData":"%s"}}' \
  "$(awk '{printf "%s\\n", $0}' "$ca")" >"$work/source.json"
anchor=$(aws rolesanywhere create-trust-anchor --name sigpost --enabled --source "file://$work/source.json" \
  --query trustAnchor.trustAnchorArn --output text)

sed -e "s|TRUST_ANCHOR_ARN|$anchor|; s|HOST_NAME|$host|" "$here/../iam/trust-roles-anywhere.json" >"$work/trust.json"
role=$(aws iam create-role --role-name sigpost-host --assume-role-policy-document "file://$work/trust.json" \
  --query Role.Arn --output text)
aws iam put-role-policy --role-name sigpost-host --policy-name remote-write \
  --policy-document "file://$here/../iam/remote-write.json"

# Without --accept-role-session-name a `session_name:` in agent.yaml is refused; without either the session bears the
# certificate's serial number.
profile=$(aws rolesanywhere create-profile --name sigpost --enabled --role-arns "$role" --accept-role-session-name \
  --query profile.profileArn --output text)

echo "trust_anchor_arn: $anchor"
echo "profile_arn: $profile"
echo "role_arn: $role"
