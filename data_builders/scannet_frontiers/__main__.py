"""Builds a data set of RGB-D recordings, for training.

    python -m data_builders.scannet_frontiers --manual_dir=FOLDER --name=my_office

builds the set `my_office` of any recordings, and

    python -m data_builders.scannet_frontiers --manual_dir=SCANS --config=thesis

one of the sets of ScanNet.
"""

import argparse
import os
import re
from typing import Any

from psp_jax.io import command_line, files
from psp_jax.recordings import inputs, layouts

_OWN = ("size", "crop", "color_scale", "space_regex", "frame_stride")  # Flags of a set with a name.
FRAMES_PER_WORKER = 200  # Of fewer, starting a process takes longer than it saves.


def main(arguments: argparse.Namespace) -> None:
    """Builds the data set and prints which frames were kept and which were left out, and why."""
    manual_dir = _check(arguments)
    # Imported here so that --help and the checks above take no time.
    from data_builders.scannet_frontiers import plan, pool
    from data_builders.scannet_frontiers import scannet_frontiers_dataset_builder as dataset

    config = _own(arguments, manual_dir) if arguments.name else _known(arguments)
    runner, workers = pool.serially, arguments.num_workers or 1
    if arguments.beam_runner:
        runner = pool.Beam(arguments.beam_runner, arguments.beam_options, workers=workers)
    builder = dataset.Builder(config=config, data_dir=arguments.data_dir, runner=runner)
    if not arguments.beam_runner:
        workers = arguments.num_workers or _workers(builder, manual_dir)
        builder.runner = pool.Processes(workers) if workers > 1 else pool.serially
    if arguments.dry_run:
        print(plan.describe(builder, manual_dir=manual_dir, workers=workers))
        return
    dataset.build(builder, manual_dir=manual_dir, overwrite=arguments.overwrite)
    print(dataset.describe(builder))
    if arguments.name:
        print(_next_command(arguments))


def _check(arguments: argparse.Namespace) -> str:
    """Checks what needs no imports, and returns the folder of the recordings."""
    manual_dir, lists = arguments.manual_dir, arguments.split_files
    files.utf8_path(arguments.data_dir, "--data_dir")
    if arguments.tfds:
        manual_dir = manual_dir or arguments.data_dir
    if not manual_dir:
        raise ValueError("--manual_dir is missing: the folder of the recordings")
    if not os.path.isdir(manual_dir):
        raise FileNotFoundError(f"--manual_dir={manual_dir}: there is no such folder")
    if lists and len(lists) != 3:
        raise ValueError(
            "--split_files: expected three files (train.txt,validation.txt,test.txt), "
            f"got {len(lists)}"
        )
    if arguments.name and arguments.config:
        raise ValueError("expected --name or --config, got both")
    own = {flag: getattr(arguments, flag) for flag in _OWN} | _options(arguments)
    for flag, value in own.items():
        if value is not None and not arguments.name:
            raise ValueError(f"--{flag} is for a set of your own; expected --name with it")
    return os.fspath(manual_dir)


def _known(arguments: argparse.Namespace) -> Any:
    """Returns a configuration of this program, as the flags change it."""
    from data_builders.scannet_frontiers import configurations, splits

    config = configurations.named(arguments.config or "thesis")
    if arguments.split_files:
        config = configurations.split_by_files(config, splits.FileSplit(*arguments.split_files))
    if arguments.limit_scans is not None:
        config = configurations.limited(config, arguments.limit_scans)
    configurations.check(config)
    return config


def _own(arguments: argparse.Namespace, manual_dir: str) -> Any:
    """Returns the configuration of a set with a name."""
    import dataclasses

    from data_builders.scannet_frontiers import configurations, reading, splits

    spaces, options = splits.Spaces(arguments.space_regex or ""), _options(arguments)
    split = splits.HashSplit(space_of=spaces)
    if arguments.split_files:
        split = splits.FileSplit(*arguments.split_files, space_of=spaces)
    stride = arguments.frame_stride
    if stride is None:
        stride = configurations.stride_of(reading.survey(manual_dir, options).recordings)
        if stride > 1:
            print(f"using every {stride}th frame (--frame_stride)")
    config = configurations.own(
        arguments.name,
        size=arguments.size or configurations.LAPTOP_SIZE,
        frame_stride=stride,
        split=split,
        crop=arguments.crop == "center",
        color_scale=arguments.color_scale or 1,
        reading=options,
    )
    return dataclasses.replace(config, limit_scans=arguments.limit_scans)


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of `reading.survey` that were given."""
    given = inputs.reading(arguments) | {"tfds": arguments.tfds}
    given |= {"tolerant": True} if arguments.tolerant else {}
    return {name: value for name, value in given.items() if value not in (None, layouts.AUTO)}


def _workers(builder: Any, manual_dir: str) -> int:
    """Chooses the number of processes, and prints it."""
    jobs = sum(builder.jobs(builder.survey(manual_dir))[0].values(), [])
    frames = sum(job.count() for job in jobs)
    workers = min(len(os.sched_getaffinity(0)), len(jobs), frames // FRAMES_PER_WORKER)
    workers = max(workers, 1)
    print(f"{frames} frames, {workers} worker processes (--num_workers)")
    return workers


def _next_command(arguments: argparse.Namespace) -> str:
    height, width = arguments.size or (0, 0)
    variant = "prepared_full" if height * width >= 480 * 640 else "prepared"
    place = (
        ""
        if str(arguments.data_dir) == "data"
        else (f" --config.data.source.data_dir={arguments.data_dir}")
    )
    return (
        f"to train on it: python -m psp_jax.main --config=configs/depth_mse.py:{variant} "
        f"--config.data.source.name={arguments.name}{place}"
    )


def parser() -> command_line.Parser:
    """Returns the parser of the command line."""
    result = command_line.Parser(
        prog="python -m data_builders.scannet_frontiers", description=__doc__
    )
    add, positive = result.add_argument, command_line.positive_int
    add("--manual_dir", type=command_line.path, help="folder of the recordings")
    data_dir = "folder of the data sets (default: %(default)s)"
    add("--data_dir", type=command_line.path, default="data", help=data_dir)
    add("--name", help="name of a set of your own recordings")
    add(
        "--config",
        help="configuration: thesis, thesis_small, official_v2, planar, thesis_planar (both label "
        "sets), found (any scans in the folder) or rooms (default: thesis)",
    )
    other = (
        "NAME or NAME/CONFIG of a TFDS data set with image and depth, read instead of recordings"
    )
    add("--tfds", help=f"{other}; in --manual_dir (default: --data_dir)")
    add("--size", type=_size, help="HEIGHTxWIDTH of the images with --name (default: 120x160)")
    crop = "crop images of other proportions than --size at the centre (default: leave them out)"
    add("--crop", choices=("center",), help=crop)
    scale = "colour has N times the height and width of --size (default: 1)"
    add("--color_scale", type=int, choices=(1, 2), metavar="N", help=scale)
    add("--frame_stride", type=positive, help="use every N-th frame (default: at most 10,000)")
    spaces = "pattern whose first group in the name of a recording is its room"
    add("--space_regex", help=f"{spaces} (default: each recording is a room)")
    lists = "lists of scan ids: train.txt,validation.txt,test.txt"
    add("--split_files", type=_comma_list, default=[], help=lists)
    add("--overwrite", action="store_true", help="replace a set that was made from something else")
    add("--num_workers", type=positive, help="worker processes (default: by number of frames)")
    runners = "process scans with Apache Beam: DirectRunner, FlinkRunner, SparkRunner, ..."
    add("--beam_runner", help=runners)
    options = "options of Beam without dashes: flink_master=host:8081,parallelism=32"
    add("--beam_options", type=_comma_list, default=[], help=options)
    add("--limit_scans", type=positive, help="maximum number of scans per split")
    add("--dry_run", action="store_true", help="only print the scans, the size and the time needed")
    inputs.add_flags(result)
    inputs.add_color_flags(result)
    return result


def _comma_list(text: str) -> list[str]:
    return text.split(",") if text else []


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH, such as 120x160, got {text!r}")
    return int(match[1]), int(match[2])


if __name__ == "__main__":
    command_line.run(main, parser(), resumes=True)
