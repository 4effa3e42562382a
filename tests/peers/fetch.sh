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
  (cd "$work" && { apt-get download -q "$package" 2>/dev/null || { update_lists; apt-get download -q "$package"; }; }) >&2
  dpkg-deb -x "$work"/*.deb "$work/root"
  cp "$work/root/usr/bin/$program" "$dest/bin/$program"
  rm -rf "$work"
  echo "fetched $program ($package)"
done

# Python packages the tests ask, in an environment of their own: command -> package.
python_tools=(
  "kubernetes-validate:kubernetes-validate"
  "moto_server:moto[server]"
)
for entry in "${python_tools[@]}"; do
  tool=${entry%%:*} package=${entry##*:}
  [ -x "$dest/bin/$tool" ] && continue
  if { [ -x "$dest/python/bin/pip" ] || python3 -m venv "$dest/python"; } && "$dest/python/bin/pip" install -q "$package" >&2; then
    ln -sf "$dest/python/bin/$tool" "$dest/bin/$tool"
    echo "fetched $tool (Python package $package)"
  else
    echo "fetch.sh: COULD NOT INSTALL $package: the tests that need $tool will be SKIPPED" >&2
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
  if { [ -x "$dest/python/bin/pip" ] || python3 -m venv "$dest/python"; } && "$dest/python/bin/pip" install -q $packages >&2; then
    echo "fetched $module (Python packages $packages)"
  else
    echo "fetch.sh: COULD NOT INSTALL $packages: the tests that need $module will be SKIPPED" >&2
  fi
done
