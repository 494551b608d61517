"""Command line: `python -m data_builders.scannet_frontiers --manual_dir=... --data_dir=...`."""

import os

from absl import flags

from data_builders import command_line

_MANUAL_DIR = flags.DEFINE_string(
    "manual_dir", None, "Folder that holds scans/sceneXXXX_YY/sceneXXXX_YY.sens, or exports."
)
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "Folder of the prepared data sets.")
_CONFIG = flags.DEFINE_string(
    "config",
    "thesis",
    "Way to prepare: thesis, thesis_small, official_v2, planar, thesis_planar (both label sets), "
    "found (whatever scans are there) or rooms.",
)
_SPLIT_FILES = flags.DEFINE_list(
    "split_files", [], "Lists of scan ids: train.txt,validation.txt,test.txt."
)
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 1, "Processes that work on scans.")
_BEAM_RUNNER = flags.DEFINE_string(
    "beam_runner",
    None,
    "Works on scans through Apache Beam: DirectRunner, FlinkRunner, SparkRunner, ...",
)
_BEAM_OPTIONS = flags.DEFINE_list(
    "beam_options", [], "For Beam, without dashes: flink_master=host:8081,parallelism=32."
)
_LIMIT_SCANS = flags.DEFINE_integer("limit_scans", None, "Scans of each split to use at most.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only say what would be built, how large, how long.")


def main() -> None:
    """Builds and prints what was kept, what was left out, and why."""
    if not _MANUAL_DIR.value:
        raise ValueError("--manual_dir is missing: the folder that holds scans/sceneXXXX_YY/")
    if not os.path.isdir(_MANUAL_DIR.value):
        raise FileNotFoundError(f"--manual_dir={_MANUAL_DIR.value}: there is no such folder")
    if _SPLIT_FILES.value and len(_SPLIT_FILES.value) != 3:
        raise ValueError("--split_files needs three files: train.txt,validation.txt,test.txt")
    if _NUM_WORKERS.value < 1:
        raise ValueError(f"--num_workers={_NUM_WORKERS.value}: at least 1 was expected")
    # Imported here so that --help and the checks above answer at once.
    from data_builders.scannet_frontiers import configurations, plan, pool, splits
    from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset

    config = configurations.named(_CONFIG.value)
    if _SPLIT_FILES.value:
        config = configurations.split_by_files(config, splits.FileSplit(*_SPLIT_FILES.value))
    if _LIMIT_SCANS.value is not None:
        config = configurations.limited(config, _LIMIT_SCANS.value)
    workers = _NUM_WORKERS.value
    if _BEAM_RUNNER.value:
        runner = pool.Beam(_BEAM_RUNNER.value, _BEAM_OPTIONS.value, workers=workers)
    else:
        runner = pool.Processes(workers) if workers > 1 else pool.serially
    builder = dataset.Builder(config=config, data_dir=_DATA_DIR.value, runner=runner)
    if _DRY_RUN.value:
        print(plan.describe(builder, manual_dir=_MANUAL_DIR.value, workers=workers))
        return
    dataset.build(builder, manual_dir=_MANUAL_DIR.value)
    print(dataset.describe(builder))


if __name__ == "__main__":
    command_line.run(main)
