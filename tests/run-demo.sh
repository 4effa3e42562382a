#!/usr/bin/env bash
# Starts the sandbox and the agent, says where to look, and stops both on Ctrl-C (or SIGTERM).
set -euo pipefail
sigpost=${1:?usage: run-demo.sh SIGPOST CONFIG} config=${2:?usage: run-demo.sh SIGPOST CONFIG}

"$sigpost" sandbox &
sandbox=$!
# The sandbox listens before the agent's first request; the agent would wait for it anyway.
"$sigpost" -config.file="$config" -config.expand-env &
agent=$!

stop() {
  trap - INT TERM EXIT
  kill "$agent" 2>/dev/null || true
  wait "$agent" 2>/dev/null || true
  kill "$sandbox" 2>/dev/null || true
  wait "$sandbox" 2>/dev/null || true
}
trap 'stop; exit 0' INT TERM
trap stop EXIT

cat <<TEXT

  What arrives, signed:  http://127.0.0.1:9009/
  The agent itself:      http://127.0.0.1:12345/
  Stop with Ctrl-C.

TEXT
wait "$agent"
