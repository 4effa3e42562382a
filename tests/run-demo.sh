#!/usr/bin/env bash
# Starts the sandbox and the agent, says where to look, and stops both on Ctrl-C (or SIGTERM).
# Where a port is taken, choose another: SIGPOST_SANDBOX_PORT (9009), SIGPOST_HTTP_PORT (12345); SIGPOST_NODE_PORT (9100)
# is where a node exporter is looked for. The configuration is then read from a copy with these ports in it.
set -euo pipefail
sigpost=${1:?usage: run-demo.sh SIGPOST CONFIG} config=${2:?usage: run-demo.sh SIGPOST CONFIG}
sandbox_port=${SIGPOST_SANDBOX_PORT:-9009} http_port=${SIGPOST_HTTP_PORT:-12345} node_port=${SIGPOST_NODE_PORT:-9100}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

need_port() {
  listens "$1" || return 0
  echo "run-demo.sh: port $1 on 127.0.0.1, for $2, is taken: stop what listens there, or choose another: $3=$(($1 + 1)) make run" >&2
  exit 1
}
need_port "$sandbox_port" "the sandbox" SIGPOST_SANDBOX_PORT
need_port "$http_port" "the agent" SIGPOST_HTTP_PORT

copy='' sandbox='' agent=''
stop() {
  trap - INT TERM EXIT
  # The agent first, so that what it still has to say finds somebody.
  for pid in $agent $sandbox; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  if [ -n "$copy" ]; then rm -f "$copy"; fi
}
trap 'stop; exit 0' INT TERM
trap stop EXIT

if [ "$sandbox_port:$http_port:$node_port" != 9009:12345:9100 ]; then
  copy=$(mktemp --suffix=.yaml)
  # By way of names, so that one new port may be another's old one.
  sed -e 's/127\.0\.0\.1:9009\b/127.0.0.1:@sandbox@/g; s/127\.0\.0\.1:12345\b/127.0.0.1:@http@/g; s/127\.0\.0\.1:9100\b/127.0.0.1:@node@/g' \
    -e "s/@sandbox@/$sandbox_port/g; s/@http@/$http_port/g; s/@node@/$node_port/g" "$config" >"$copy"
  config=$copy
fi

"$sigpost" sandbox --listen "127.0.0.1:$sandbox_port" &
sandbox=$!
# The sandbox listens before the agent's first request; the agent would wait for it anyway.
"$sigpost" -config.file="$config" -config.expand-env -server.http.address="127.0.0.1:$http_port" &
agent=$!

cat <<TEXT

  What arrives, signed:  http://127.0.0.1:$sandbox_port/
  The agent itself:      http://127.0.0.1:$http_port/
  Stop with Ctrl-C.

TEXT
code=0
wait -n -p ended "$agent" "$sandbox" || code=$?
name=agent
if [ "${ended:-}" = "$sandbox" ]; then name=sandbox; fi
echo "run-demo.sh: the $name ended by itself (exit code $code); its last lines above say why" >&2
[ "$code" != 0 ] || code=1
exit "$code"
