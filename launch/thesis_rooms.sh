#!/usr/bin/env bash
# Runs the experiments of configs/ on the rooms, one after the other, and reports them all.
#
#     launch/thesis_rooms.sh [--dry_run] [FLAGS...]
#
# Experiments that others start from run first; new files in configs/ run too. The same command
# skips finished runs and resumes interrupted ones. To repeat a run, delete its folder in runs/; to
# repeat only its evaluation, delete its test.json. After a run fails, the others still run. FLAGS,
# such as --config.data.threads=8, are passed to all runs; --dry_run prints the commands. PYTHON is
# the interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dry_run=false
flags=()
for argument in "$@"; do
  case "$argument" in
    --dry_run) dry_run=true ;;
    --*) flags+=("$argument") ;;
    *) echo "error: unexpected argument '$argument'; see the head of $0" >&2; exit 2 ;;
  esac
done

# First those that others start from, then the thesis's in its order, then all others.
names=(depth_mse depth_to_frontier feature_classifier finetune_head weighted_ce depth_ce depth_msle
  two_phase)
for file in configs/*.py; do
  name=$(basename "$file" .py)
  # The experiment on photographs takes hours without a GPU: launch/pretrain.sh runs it.
  [[ " ${names[*]} photographs " == *" $name "* ]] || names+=("$name")
done

failed=() runs=()
attempt() {  # RUN, CONFIG, FLAGS...
  local workdir="runs/$1" status=0
  local command=("${PYTHON:-python}" -m psp_jax.main "--config=configs/$2.py" "--workdir=$workdir"
    "${@:3}" "${flags[@]+"${flags[@]}"}")
  runs+=("$workdir")
  if $dry_run; then
    echo "${command[*]}"
  elif [[ -f "$workdir/test.json" ]]; then
    echo "$workdir is finished"
  else
    echo "${command[*]}"
    "${command[@]}" || status=$?
    if ((status == 130 || status == 143)); then
      exit "$status"  # Interrupted: the same command resumes it.
    elif ((status != 0)); then
      failed+=("$1")
    fi
  fi
}

for name in "${names[@]}"; do
  attempt "$name" "$name"
  if [[ "$name" == weighted_ce ]]; then  # The thesis's last run: only frontiers count.
    attempt weighted_ce-frontiers_only weighted_ce --config.objective.interior_weight=0
  fi
done
# The same objective on the thesis's labels, to compare with planar ones.
attempt frontier_edges-seeds frontier_edges --config.data.labels=seeds

report=("${PYTHON:-python}" -m psp_jax.report "${runs[@]}")
echo "${report[*]}"
$dry_run || "${report[@]}"
if ((${#failed[@]})); then
  echo "error: ${#failed[@]} of ${#runs[@]} runs failed: ${failed[*]}" >&2
  exit 1
fi
