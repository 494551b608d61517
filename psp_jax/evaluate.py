"""Scores a finished run on a prepared data set of other recordings.

    python -m psp_jax.evaluate --workdir=runs/frontier_edges --data=my_office

predicts the test split of `data/scannet_frontiers/my_office` with the newest checkpoint of the run,
prints the tables that a run ends with, and writes them to `runs/frontier_edges/evaluate/my_office`.
Predicted frontiers are decoded with the calibration of the run, which was fitted to its own
validation split. The baselines know the train split of the data set.
"""

import argparse
import pathlib

from psp_jax import checkpoints, data, experiment, prepared
from psp_jax.evaluation import run_report
from psp_jax.evaluation.predictions import BatchPredictor
from psp_jax.io import command_line
from psp_jax.partition import calibration

FOLDER = "evaluate"  # Within a workdir.
SPLITS = ("train", "validation", "test")


def evaluate(
    workdir: str | pathlib.Path,
    source: experiment.Source,
    out: str | pathlib.Path,
    *,
    split: str = "test",
) -> None:
    """Scores the newest checkpoint of a run on a data set.

    Args:
        workdir: folder of the run; nothing in it is changed.
        source: the data set.
        out: folder that metrics and pictures are written to.
        split: name of the split.

    Raises:
        OSError: if there is no run, no checkpoint or no data set, or `out` can't be written.
        ValueError: if the data set lacks the labels of the run, or `out` is the folder of a run.
    """
    folder, out = pathlib.Path(workdir), pathlib.Path(out)
    config = experiment.load(folder)
    if (out / experiment.CONFIG_FILE).exists():
        raise ValueError(f"--out={out} is the folder of a run; pass another one")
    config.data.source = source
    splits = data.open_splits(source.prepare())
    data.check_labels(splits[split], config.data)
    variables = checkpoints.load_variables(folder)
    model = config.model.make(config.objective.channels)
    predict = BatchPredictor(config, model)
    fitted = None
    if predict.kinds(variables).edges is not None:
        fitted = _calibration(folder)
    out.mkdir(parents=True, exist_ok=True)
    run = run_report.Evaluation(config, predict, variables, fitted)
    pictures = run_report.score(config, model, run, splits, out, split=split)
    run_report.draw(run, pictures, out)


def _calibration(folder: pathlib.Path) -> calibration.Calibration:
    path = folder / calibration.FILE
    if path.exists():
        return calibration.load(path)
    print(f"frontiers are decoded without calibration: there is no {path}")
    return calibration.Calibration()


def main() -> None:
    """Evaluates the run of the command line."""
    parser = command_line.Parser(prog="python -m psp_jax.evaluate", description=__doc__)
    add, path = parser.add_argument, command_line.path
    add("--workdir", required=True, type=path, help="folder of the run")
    add("--data", required=True, metavar="NAME", help="name of the prepared data set")
    add("--data_dir", default="data", help="folder of the data sets (default: %(default)s)")
    add("--split", choices=SPLITS, default="test", help="default: %(default)s")
    add("--out", type=path, help=f"output folder (default: WORKDIR/{FOLDER}/NAME)")
    command_line.run(_evaluate, parser)


def _evaluate(arguments: argparse.Namespace) -> None:
    out = arguments.out or arguments.workdir / FOLDER / arguments.data
    source = prepared.Prepared(arguments.data, arguments.data_dir)
    evaluate(arguments.workdir, source, out, split=arguments.split)
    print(f"metrics and pictures are in {out}")


if __name__ == "__main__":
    main()
