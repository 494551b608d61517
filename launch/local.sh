#!/usr/bin/env bash
# Runs an experiment in one process on this machine, on all its GPUs or on the CPU.
#
#     launch/local.sh [--dry_run] --config=configs/depth_mse.py [FLAGS...]
#
# The same command resumes an interrupted run. PYTHON is the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command=("${PYTHON:-python}" -m psp_jax.main)
if [[ ${1-} == --dry_run ]]; then
  echo "${command[*]} ${*:2}"
else
  exec "${command[@]}" "$@"
fi
