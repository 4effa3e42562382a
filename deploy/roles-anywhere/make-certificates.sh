#!/usr/bin/env bash
# Makes a certificate authority (once) and a certificate for one host, as IAM Roles Anywhere wants them.
# usage: make-certificates.sh DIRECTORY HOST [DAYS]
# The authority's key (ca.key) belongs on a machine that is not the host. Use your own PKI instead if you have one.
set -euo pipefail
umask 077

directory=${1:?usage: make-certificates.sh DIRECTORY HOST [DAYS]}
host=${2:?usage: make-certificates.sh DIRECTORY HOST [DAYS]}
days=${3:-365}
mkdir -p "$directory"
cd "$directory"

if [ ! -e ca.pem ]; then
  openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -sha256 -nodes -days 3650 \
    -subj "/O=Sigpost/CN=Sigpost hosts" \
    -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" \
    -addext "subjectKeyIdentifier=hash" \
    -keyout ca.key -out ca.pem
fi

openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -sha256 -nodes \
  -subj "/O=Sigpost/CN=$host" -keyout "$host.key" -out "$host.csr"
# The serial is random: Roles Anywhere and its revocation lists tell certificates apart by it.
openssl x509 -req -sha256 -days "$days" -in "$host.csr" -CA ca.pem -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" \
  -out "$host.pem" -extfile /dev/stdin <<EXTENSIONS
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
EXTENSIONS
rm "$host.csr"
chmod 644 ca.pem "$host.pem"

openssl verify -CAfile ca.pem "$host.pem"
openssl x509 -in "$host.pem" -noout -subject -serial -enddate
echo "on the host: install -m 0600 $host.key /etc/sigpost/identity/host.key; install -m 0644 $host.pem /etc/sigpost/identity/host.pem"
