#!/usr/bin/env bash
# Builds a data set on a cluster with Apache Beam on Spark, Flink or Dataflow.
#
#     launch/build_beam.sh [--dry_run] spark MASTER:7077 --manual_dir=SCANS --data_dir=DATA [FLAGS...]
#     launch/build_beam.sh [--dry_run] flink MASTER:8081 --manual_dir=SCANS --data_dir=DATA [FLAGS...]
#     launch/build_beam.sh [--dry_run] dataflow PROJECT  --manual_dir=SCANS --data_dir=DATA [FLAGS...]
#
# SCANS and DATA must have the same paths on the workers as on this machine. PARALLELISM is the
# number of workers (default 32); only Dataflow needs REGION, BUCKET and IMAGE. PYTHON is the
# interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

run=
if [[ ${1-} == --dry_run ]]; then
  run=echo
  shift
fi
parallelism=${PARALLELISM:-32}
# Start this on every worker of Spark or Flink, with psp_jax[beam] installed:
#     python -m apache_beam.runners.worker.worker_pool_main --service_port=50000
pool=environment_type=EXTERNAL,environment_config=localhost:50000
case "${1-}" in
  spark) runner=SparkRunner options="spark_master_url=spark://${2:?},$pool" ;;
  flink) runner=FlinkRunner options="flink_master=${2:?},parallelism=$parallelism,$pool" ;;
  dataflow)
    runner=DataflowRunner
    options="project=${2:?},region=${REGION:?},temp_location=gs://${BUCKET:?}/temp"
    options+=",sdk_container_image=${IMAGE:?},sdk_location=container,max_num_workers=$parallelism"
    ;;
  *)
    echo "error: runner: expected spark, flink or dataflow, got '${1-}'; see the head of $0" >&2
    exit 2
    ;;
esac
$run "${PYTHON:-python}" -m data_builders.scannet_frontiers "--beam_runner=$runner" \
  "--beam_options=$options" "${@:3}"
