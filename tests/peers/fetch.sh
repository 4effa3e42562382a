#!/usr/bin/env bash
# Puts the programs the tests talk to under $1/bin: Debian's prometheus, prometheus-node-exporter and vmagent,
# and Python packages in an environment of their own.
# A program already on PATH is linked; otherwise its package is downloaded and unpacked there. Nothing is installed, no service starts.
set -euo pipefail

dest=${1:?usage: fetch.sh DIRECTORY}
mkdir -p "$dest/bin"

# program -> Debian package
wanted=(
  "prometheus:prometheus"
  "prometheus-node-exporter:prometheus-node-exporter"
  "vmagent:victoria-metrics"
)

update_lists() {
  [ -n "${lists_updated:-}" ] && return
  lists_updated=1
  if [ "$(id -u)" = 0 ]; then apt-get update -qq >&2; else sudo -n apt-get update -qq >&2 || true; fi
}

download() { # packages, into the working directory
  apt-get download -q "$@" 2>/dev/null || { update_lists; apt-get download -q "$@"; }
}

# A registry that does not answer at once may answer a moment later.
patiently() { # a command
  local try
  for try in 1 2 3; do
    "$@" >&2 && return
    echo "fetch.sh: attempt $try of 3 failed: $*" >&2
    sleep $((try * 5))
  done
  return 1
}

for entry in "${wanted[@]}"; do
  program=${entry%%:*} package=${entry##*:}
  [ -x "$dest/bin/$program" ] && continue
  if found=$(command -v "$program"); then
    ln -sf "$found" "$dest/bin/$program"
    continue
  fi
  if ! command -v apt-get >/dev/null; then
    echo "fetch.sh: $program is not on PATH and this is not a Debian-like machine: install $package by hand" >&2
    exit 1
  fi
  work=$(mktemp -d "$dest/unpack.XXXXXX")
  chmod 755 "$work"
  (cd "$work" && patiently download "$package")
  dpkg-deb -x "$work"/*.deb "$work/root"
  cp "$work/root/usr/bin/$program" "$dest/bin/$program"
  rm -rf "$work"
  echo "fetched $program ($package)"
done

# The tests say SKIPPED for what is listed in $dest/missing, and fail for what nobody tried to fetch.
: >"$dest/missing"
lacks() { # program, why
  echo "$1: $2" >>"$dest/missing"
  echo "fetch.sh: COULD NOT INSTALL $1 ($2): the tests that need it will be SKIPPED" >&2
}

unpack() { # directory, packages: downloads and unpacks, installs nothing
  local root=$1 work package
  shift
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
  work=$(mktemp -d "$dest/unpack.XXXXXX")
  chmod 755 "$work"
  (cd "$work" && patiently download "$@") || { rm -rf "$work"; return 1; }
  for package in "$work"/*.deb; do dpkg-deb -x "$package" "$root"; done
  rm -rf "$work"
}

# systemd-analyze with its own libraries, and the units that ours are ordered by.
if [ ! -x "$dest/bin/systemd-analyze" ]; then
  if found=$(command -v systemd-analyze); then
    ln -sf "$found" "$dest/bin/systemd-analyze"
  elif unpack "$dest/systemd" systemd libsystemd-shared libseccomp2 libapparmor1 libip4tc2 libkmod2 libssl3 libgcrypt20 libgpg-error0; then
    cat >"$dest/bin/systemd-analyze" <<'END'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/../systemd
libraries=$(find "$root/usr/lib" "$root/lib" -maxdepth 2 -type d 2>/dev/null | tr '\n' ':')
export LD_LIBRARY_PATH="$libraries$LD_LIBRARY_PATH" SYSTEMD_UNIT_PATH="${SYSTEMD_UNIT_PATH:-}$root/lib/systemd/system:"
exec "$root/usr/bin/systemd-analyze" "$@"
END
    chmod 755 "$dest/bin/systemd-analyze"
    "$dest/bin/systemd-analyze" --version >/dev/null 2>&1 && echo "fetched systemd-analyze (systemd)" ||
      { rm -f "$dest/bin/systemd-analyze"; lacks systemd-analyze "Debian's package does not run here"; }
  else
    lacks systemd-analyze "Debian's package systemd cannot be downloaded"
  fi
fi

# kustomize reads what kubectl reads; Debian's kubectl is too old for `patches`.
if [ ! -x "$dest/bin/kubectl" ]; then
  if found=$(command -v kubectl); then
    ln -sf "$found" "$dest/bin/kubectl"
  else
    lacks kubectl "no package of Debian is new enough to be fetched here"
  fi
fi

if [ ! -x "$dest/bin/openssl" ]; then
  if found=$(command -v openssl); then
    ln -sf "$found" "$dest/bin/openssl"
  elif unpack "$dest/openssl" openssl && "$dest/openssl/usr/bin/openssl" version >/dev/null 2>&1; then
    ln -sf ../openssl/usr/bin/openssl "$dest/bin/openssl"
    echo "fetched openssl (openssl)"
  else
    lacks openssl "Debian's package cannot be downloaded, or does not run here"
  fi
fi

# Python packages the tests ask, in an environment of their own: command -> package.
python_tools=(
  "kubernetes-validate:kubernetes-validate"
  "moto_server:moto[server]"
)
for entry in "${python_tools[@]}"; do
  tool=${entry%%:*} package=${entry##*:}
  [ -x "$dest/bin/$tool" ] && continue
  if { [ -x "$dest/python/bin/pip" ] || python3 -m venv "$dest/python"; } && patiently "$dest/python/bin/pip" install -q "$package"; then
    ln -sf "$dest/python/bin/$tool" "$dest/bin/$tool"
    echo "fetched $tool (Python package $package)"
  else
    lacks "$tool" "the Python package $package cannot be installed"
  fi
done

# Python libraries the tests' own scripts use: module -> packages. The OpenTelemetry SDK sends to the agent's receivers.
python_modules=(
  "opentelemetry.exporter.otlp:opentelemetry-sdk opentelemetry-exporter-otlp"
)
for entry in "${python_modules[@]}"; do
  module=${entry%%:*} packages=${entry##*:}
  "$dest/python/bin/python" -c "import $module" 2>/dev/null && continue
  # shellcheck disable=SC2086
  if { [ -x "$dest/python/bin/pip" ] || python3 -m venv "$dest/python"; } && patiently "$dest/python/bin/pip" install -q $packages; then
    echo "fetched $module (Python packages $packages)"
  else
    lacks "$module" "the Python packages $packages cannot be installed"
  fi
done

# Clients of Zipkin and Jaeger. They are not made any more and want the libraries of their time: an environment of their own,
# whose interpreter is bin/spans-python.
old_clients="opentelemetry-sdk==1.21.0 opentelemetry-exporter-zipkin-json==1.21.0 opentelemetry-exporter-zipkin-proto-http==1.21.0
  opentelemetry-exporter-jaeger-thrift==1.21.0 opentelemetry-exporter-jaeger-proto-grpc==1.21.0 py_zipkin jaeger-client six requests setuptools"
if [ ! -x "$dest/bin/spans-python" ]; then
  # shellcheck disable=SC2086
  if python3 -m venv "$dest/python-spans" && patiently "$dest/python-spans/bin/pip" install -q $old_clients; then
    printf '#!/bin/sh\nexec "$(dirname "$0")/../python-spans/bin/python" "$@"\n' >"$dest/bin/spans-python"
    chmod 755 "$dest/bin/spans-python"
    echo "fetched clients of Zipkin and Jaeger (Python packages)"
  else
    lacks spans-python "the Python packages of the clients of Zipkin and Jaeger cannot be installed"
  fi
fi

# OpenTelemetry's SDK for Node, where there is a Node: bin/otel-node runs it with the packages.
node_packages="@opentelemetry/api@1.9.1"
for package in resources sdk-trace-base sdk-metrics exporter-zipkin; do
  node_packages="$node_packages @opentelemetry/$package@2.12.1"
done
for package in sdk-logs exporter-{trace,metrics,logs}-otlp-{grpc,proto,http}; do
  node_packages="$node_packages @opentelemetry/$package@0.223.1"
done
if [ -x "$dest/bin/otel-node" ]; then
  :
elif ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  lacks otel-node "there is no Node with npm on PATH"
else
  mkdir -p "$dest/node"
  # shellcheck disable=SC2086
  if patiently npm install --no-audit --no-fund --loglevel=error --prefix "$dest/node" $node_packages; then
    printf '#!/bin/sh\nNODE_PATH="$(dirname "$0")/../node/node_modules" exec node "$@"\n' >"$dest/bin/otel-node"
    chmod 755 "$dest/bin/otel-node"
    echo "fetched OpenTelemetry's SDK for Node (npm packages)"
  else
    lacks otel-node "the npm packages of OpenTelemetry's SDK cannot be installed"
  fi
fi
