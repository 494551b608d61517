#!/usr/bin/env bash
# Measures what each part of the model for photographs adds, in short runs on the CPU or a GPU.
#
#     launch/ladder.sh [FLAGS...]
#
# Trains configs/photographs.py for 600 steps of 4 images, each run with one change more than the
# one before it, and scores all of them on real photographs (benchmarks/real_photos.py). Finished
# runs are skipped and interrupted ones resume. FLAGS, such as --config.phases[0].steps=1200, are
# passed to every run. PYTHON is the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

runs=()
train() {  # NAME, FLAGS...
  local workdir="runs/ladder-$1"
  runs+=("$workdir")
  if [[ -f "$workdir/test.json" ]]; then
    echo "$workdir is finished"
  else
    "${PYTHON:-python}" -m psp_jax.main --config=configs/photographs.py --workdir="$workdir" \
      --config.phases[0].steps=600 --config.validate_every=300 "${@:2}" "${flags[@]+"${flags[@]}"}"
  fi
}

flags=("$@")
unchanged=(
  --config.data.augmentation.crop=1 --config.data.augmentation.aspect=0
  --config.data.augmentation.gamma=0 --config.data.augmentation.gain=0
  --config.data.augmentation.channel_gain=0 --config.data.augmentation.contrast=0
  --config.data.augmentation.saturation=0 --config.data.augmentation.gray_probability=0
  --config.data.augmentation.blur_probability=0 --config.data.augmentation.noise_probability=0
  --config.data.augmentation.jpeg_probability=0 --config.data.augmentation.border_probability=0
)
boxes=(--config.data.source.rooms.ideal_depth=false --config.data.source.rooms.variety=false)
random=(--config.init_from= "--config.phases[0].lr_multipliers={}")

train random "${random[@]}" "${boxes[@]}" "${unchanged[@]}"
train augmented "${random[@]}" "${boxes[@]}"
train varied "${random[@]}"
train imagenet
"${PYTHON:-python}" -m benchmarks.real_photos "${runs[@]}"
