#!/usr/bin/env bash
# Runs every experiment of configs/ on the rooms, one after the other, and reports them side by side.
#
#     launch/thesis_rooms.sh [--dry_run] [FLAGS...]
#
# Those that others start from come first; a file that is new in configs/ is run as well. A run that
# is finished is not done again, one that was interrupted goes on where it was: delete its folder in
# runs/ to start it anew, or its test.json alone to have it evaluated again. A run that fails does
# not keep the others from running. FLAGS, such as --config.data.threads=8, are given to all of
# them; --dry_run prints the commands instead. PYTHON names the interpreter.
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

# What others start from, then the rest of the thesis in its order; then whatever else there is.
names=(depth_mse depth_to_frontier feature_classifier finetune_head weighted_ce depth_ce depth_msle
  two_phase)
for file in configs/*.py; do
  name=$(basename "$file" .py)
  [[ " ${names[*]} " == *" $name "* ]] || names+=("$name")
done

failed=() runs=()
attempt() {  # NAME OF THE RUN, CONFIG, FLAGS OF ITS OWN...
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
      exit "$status"  # Interrupted: the same command goes on.
    elif ((status != 0)); then
      failed+=("$1")
    fi
  fi
}

for name in "${names[@]}"; do
  attempt "$name" "$name"
  if [[ "$name" == weighted_ce ]]; then  # Its last run in the thesis: only frontiers count.
    attempt weighted_ce-frontiers_only weighted_ce --config.objective.interior_weight=0
  fi
done
# The best head on the labels of the thesis, beside its own on planar ones.
attempt frontier_edges-seeds frontier_edges --config.data.labels=seeds

report=("${PYTHON:-python}" -m psp_jax.report "${runs[@]}")
echo "${report[*]}"
$dry_run || "${report[@]}"
if ((${#failed[@]})); then
  echo "error: ${#failed[@]} of ${#runs[@]} runs failed: ${failed[*]}" >&2
  exit 1
fi
