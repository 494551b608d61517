#!/usr/bin/env bash
# Measures what each part of the model for photographs adds, in short runs on the CPU or a GPU.
#
#     launch/ladder.sh [--steps=600] [FLAGS...]
#
# Trains configs/photographs.py. Each of the first four runs has one change more than the one before
# it; the others differ from the fourth, imagenet, in one thing. Then all are scored on real
# photographs (benchmarks/real_photos.py). Finished runs are skipped and interrupted ones resume.
# --steps is the number of steps of a run, of 4 images each. FLAGS, such as
# --config.data.batch_size=64, are passed to every run. PYTHON is the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

steps=600
if [[ "${1:-}" == --steps=* ]]; then
  steps=${1#--steps=}
  shift
fi
flags=("$@")
runs=()
train() {  # NAME, STEPS, FLAGS...
  local workdir="runs/ladder-$1"
  runs+=("$workdir")
  if [[ -f "$workdir/test.json" ]]; then
    echo "$workdir is finished"
  else
    "${PYTHON:-python}" -m psp_jax.main --config=configs/photographs.py --workdir="$workdir" \
      "--config.phases[0].steps=$2" "--config.phases[0].warmup_steps=$(($2 / 10))" \
      "--config.validate_every=$2" "${@:3}" "${flags[@]+"${flags[@]}"}"
  fi
}

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

train random "$steps" "${random[@]}" "${boxes[@]}" "${unchanged[@]}"
train augmented "$steps" "${random[@]}" "${boxes[@]}"
train varied "$steps" "${random[@]}"
train imagenet "$steps"
# A task whose weight is a millionth leaves the features to the other one.
train depth "$steps" --config.objective.frontier_weight=1e-6
train frontiers "$steps" --config.objective.depth_weight=1e-6
train coarse "$steps" --config.data.source.color_scale=1 --config.model.output_stride=1
train lite2 "$steps" --config.model.segmenter.trunk.variant=2
train longer "$((steps * 4))"
"${PYTHON:-python}" -m benchmarks.real_photos "${runs[@]}"
