#!/usr/bin/env bash
# Runs an experiment in COUNT processes on this machine, each on its own GPU, or all on the CPU.
#
#     launch/processes.sh COUNT [--dry_run] --config=configs/depth_mse.py [FLAGS...]
#
# SIGTERM, SIGUSR1 and Ctrl-C are sent on to every process; the exit status is that of the first
# process that failed. PYTHON is the interpreter, PORT the coordinator's port (default: a free one).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

count=${1-}
if [[ ! $count =~ ^[1-9][0-9]*$ ]]; then
  echo "error: COUNT: expected a number of processes, got '$count'; see the head of $0" >&2
  exit 2
fi
shift
dry_run=false
if [[ ${1-} == --dry_run ]]; then
  dry_run=true
  shift
fi
python=${PYTHON:-python}
free='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
port=${PORT:-$($python -c "$free")}

set -m  # Each child is its own process group: it gets Ctrl-C once, from the trap below.
children=()
signal=""
for name in TERM INT USR1; do
  # shellcheck disable=SC2064
  trap "signal=$name; "'reached=${#children[@]}
    kill -s $signal "${children[@]}" 2>/dev/null || true' "$name"
done
for ((id = 0; id < count; id++)); do
  command=(env "JAX_LOCAL_DEVICE_IDS=$id" "$python" -m psp_jax.main "--coordinator=127.0.0.1:$port"
    "--num_processes=$count" "--process_id=$id" "$@")
  if $dry_run; then
    echo "${command[*]}"
  else
    "${command[@]}" &
    children+=($!)
  fi
done
# Send the signal to the children that were started after it.
[[ -z $signal ]] || kill -s "$signal" "${children[@]:$reached}" 2>/dev/null || true
status=0
for child in "${children[@]+"${children[@]}"}"; do
  code=0
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do  # A signal ended the wait, not the child.
    code=0
    wait "$child" || code=$?
  done
  ((status)) || status=$code
done
exit "$status"
