#!/usr/bin/env bash
# Runs configs with all combinations of seeds and values, one after the other, and reports them.
#
#     launch/sweep.sh [--dry_run] [--slurm] [--name=NAME] CONFIG... [--seeds=3] \
#       [--set FIELD=VALUE,VALUE...]... [FLAGS...]
#
# --seeds=3 stands for the seeds 0, 1 and 2; --seeds=4,7 for those two. Workdirs are
# runs/NAME/CONFIG-VALUES-SEED; NAME is sweep by default. The same command skips finished runs and
# resumes interrupted ones; after a run fails, the others still run. --slurm submits an array of
# slurm_sweep.sbatch for each combination of values instead, with runs/NAME-VALUES/CONFIG-SEED.
# Values can't contain commas. Other FLAGS are passed to all runs; PYTHON is the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "error: $1; see the head of $0" >&2; exit 2; }

dry_run=false slurm=false name=sweep seeds=1 configs=() flags=() combinations=("")
while (($#)); do
  case "$1" in
    --dry_run) dry_run=true ;;
    --slurm) slurm=true ;;
    --name=*) name=${1#*=} ;;
    --seeds=*) seeds=${1#*=} ;;
    --set | --set=*)
      if [[ $1 == --set ]]; then
        (($# > 1)) || fail "--set: expected FIELD=VALUE,VALUE"
        shift
      fi
      assignment=${1#--set=} extended=()
      [[ $assignment == config.?*=?* ]] || fail "--set: expected config.FIELD=VALUE,VALUE, got '$assignment'"
      IFS=, read -ra values <<<"${assignment#*=}"
      for combination in "${combinations[@]}"; do
        for value in "${values[@]}"; do extended+=("$combination --${assignment%%=*}=$value"); done
      done
      combinations=("${extended[@]}") ;;
    --*) flags+=("$1") ;;
    *)
      [[ -f ${1%%:*} ]] || fail "there is no file ${1%%:*}"
      configs+=("$1") ;;
  esac
  shift
done
((${#configs[@]})) || fail "expected a config, such as configs/depth_mse.py"
if [[ $seeds =~ ^[1-9][0-9]*$ ]]; then
  mapfile -t seeds < <(seq 0 $((seeds - 1)))
elif [[ $seeds =~ ^[0-9]+(,[0-9]+)+$ ]]; then
  IFS=, read -ra seeds <<<"$seeds"
else
  fail "--seeds: expected a number above 0, or seeds such as 4,7, got '$seeds'"
fi

label() {  # " --config.data.batch_size=4" -> "-batch_size=4"
  local text=""
  for flag in $1; do
    flag=${flag#--config.}
    text+="-${flag##*.}"
  done
  echo "${text//\//_}"
}

failed=() runs=()
attempt() {  # WORKDIR, FLAGS...
  local workdir=$1 status=0
  local command=("${PYTHON:-python}" -m psp_jax.main "${@:2}" "--workdir=$workdir"
    "${flags[@]+"${flags[@]}"}")
  runs+=("$workdir")
  if ! $dry_run && [[ -f "$workdir/test.json" ]]; then
    echo "$workdir is finished"
    return
  fi
  echo "${command[*]}"
  $dry_run || "${command[@]}" || status=$?
  if ((status == 130 || status == 143)); then
    exit "$status"  # Interrupted: the same command resumes it.
  elif ((status != 0)); then
    failed+=("$workdir")
  fi
}

for combination in "${combinations[@]}"; do
  read -ra overrides <<<"$combination" || true
  if $slurm; then
    command=(sbatch "--job-name=$name$(label "$combination")"
      "--array=0-$((${#configs[@]} * ${#seeds[@]} - 1))" launch/slurm_sweep.sbatch
      "${configs[*]}" "${seeds[*]}" "${overrides[@]+"${overrides[@]}"}" "${flags[@]+"${flags[@]}"}")
    printf '%q ' "${command[@]}"
    echo
    $dry_run || "${command[@]}"
    continue
  fi
  for config in "${configs[@]}"; do
    variant=${config#*.py} base=$(basename "${config%%:*}" .py)
    for seed in "${seeds[@]}"; do
      attempt "runs/$name/$base${variant/:/-}$(label "$combination")-$seed" "--config=$config" \
        "--config.seed=$seed" "${overrides[@]+"${overrides[@]}"}"
    done
  done
done
if $slurm; then exit 0; fi

report=("${PYTHON:-python}" -m psp_jax.report "${runs[@]}" "--out=runs/$name/report")
echo "${report[*]}"
$dry_run || "${report[@]}" || ((${#failed[@]}))
if ((${#failed[@]})); then
  echo "error: ${#failed[@]} of ${#runs[@]} runs failed: ${failed[*]}" >&2
  exit 1
fi
