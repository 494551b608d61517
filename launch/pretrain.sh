#!/usr/bin/env bash
# Trains the model that ships with psp_jax on drawn rooms, and exports it.
#
#     launch/pretrain.sh [--small] [FLAGS...]
#
# Draws 50,400 frames with one process per core, trains on a GPU, calibrates on other rooms and
# exports the model to runs/photographs-large/model; --small draws 1,536 frames and trains a smaller
# network. The same command resumes where it was. Needs
# pip install "psp_jax[pretrained]". FLAGS, such as --config.data.threads=8, are passed to the run.
# PYTHON is the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python}
variant=large
if [[ "${1:-}" == --small ]]; then
  variant=rooms
  shift
fi
workdir=runs/photographs-$variant

"$python" -m psp_jax.main --config=configs/photographs.py:$variant --workdir="$workdir" "$@"
"$python" -m psp_jax.calibrate --workdir="$workdir" --data=configs/photographs.py:calibration --images=400
if [[ -e $workdir/model ]]; then
  echo "$workdir/model exists; move it away to export the run again"
else
  "$python" -m psp_jax.weights export "$workdir" "$workdir/model"
fi
