#!/usr/bin/env bash
# Starts the sandbox and the agent, says where to look, and stops both on Ctrl-C.
set -euo pipefail
sigpost=${1:?usage: run-demo.sh SIGPOST CONFIG} config=${2:?usage: run-demo.sh SIGPOST CONFIG}

"$sigpost" sandbox &
sandbox=$!
trap 'kill "$sandbox" 2>/dev/null || true; wait "$sandbox" 2>/dev/null || true' EXIT
trap 'exit 0' INT TERM

cat <<TEXT

  What arrives, signed:  http://127.0.0.1:9009/
  The agent itself:      http://127.0.0.1:12345/agent/api/v1/metrics/targets
  Stop with Ctrl-C.

TEXT
"$sigpost" -config.file="$config" -config.expand-env
