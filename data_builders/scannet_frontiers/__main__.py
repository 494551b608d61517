"""Builds the data set: `python -m data_builders.scannet_frontiers --manual_dir=SCANS`."""

import argparse
import os

from psp_jax.io import command_line


def main(arguments: argparse.Namespace) -> None:
    """Builds the data set and prints which frames were kept and which were left out, and why."""
    manual_dir, data_dir, workers = arguments.manual_dir, arguments.data_dir, arguments.num_workers
    if not manual_dir:
        raise ValueError("--manual_dir is missing: the folder that holds scans/sceneXXXX_YY/")
    if not os.path.isdir(manual_dir):
        raise FileNotFoundError(f"--manual_dir={manual_dir}: there is no such folder")
    if arguments.split_files and len(arguments.split_files) != 3:
        raise ValueError(
            "--split_files: expected three files (train.txt,validation.txt,test.txt), "
            f"got {len(arguments.split_files)}"
        )
    # Imported here so that --help and the checks above take no time.
    from data_builders.scannet_frontiers import configurations, plan, pool, splits
    from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset

    config = configurations.named(arguments.config)
    if arguments.split_files:
        config = configurations.split_by_files(config, splits.FileSplit(*arguments.split_files))
    if arguments.limit_scans is not None:
        config = configurations.limited(config, arguments.limit_scans)
    if arguments.beam_runner:
        runner = pool.Beam(arguments.beam_runner, arguments.beam_options, workers=workers)
    else:
        runner = pool.Processes(workers) if workers > 1 else pool.serially
    builder = dataset.Builder(config=config, data_dir=data_dir, runner=runner)
    if arguments.dry_run:
        print(plan.describe(builder, manual_dir=manual_dir, workers=workers))
        return
    dataset.build(builder, manual_dir=manual_dir)
    print(dataset.describe(builder))


def _parser() -> command_line.Parser:
    parser = command_line.Parser(
        prog="python -m data_builders.scannet_frontiers", description=__doc__
    )
    add, positive = parser.add_argument, command_line.positive_int
    add(
        "--manual_dir",
        type=command_line.path,
        help="folder that holds scans/sceneXXXX_YY/sceneXXXX_YY.sens, or exports",
    )
    add(
        "--data_dir",
        type=command_line.path,
        default="data",
        help="folder of the data sets (default: %(default)s)",
    )
    add(
        "--config",
        default="thesis",
        help="configuration: thesis, thesis_small, official_v2, planar, thesis_planar (both label "
        "sets), found (any scans in the folder) or rooms (default: %(default)s)",
    )
    lists = "lists of scan ids: train.txt,validation.txt,test.txt"
    add("--split_files", type=_comma_list, default=[], help=lists)
    add("--num_workers", type=positive, default=1, help="worker processes (default: %(default)s)")
    runners = "process scans with Apache Beam: DirectRunner, FlinkRunner, SparkRunner, ..."
    add("--beam_runner", help=runners)
    options = "options of Beam without dashes: flink_master=host:8081,parallelism=32"
    add("--beam_options", type=_comma_list, default=[], help=options)
    add("--limit_scans", type=positive, help="maximum number of scans per split")
    add("--dry_run", action="store_true", help="only print the scans, the size and the time needed")
    return parser


def _comma_list(text: str) -> list[str]:
    return text.split(",") if text else []


if __name__ == "__main__":
    command_line.run(main, _parser(), resumes=True)
