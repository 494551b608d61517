"""Scores a trained model on a prepared data set of other recordings.

    python -m psp_jax.evaluate --workdir=runs/frontier_edges --data=my_office

predicts the test split of `data/scannet_frontiers/my_office` with the best checkpoint of the run,
prints the tables that a run ends with, and writes them to `runs/frontier_edges/evaluate/my_office`.
`--workdir` may also be a folder that `python -m psp_jax.weights export` wrote. Without it, the
model that ships is scored, and the results are in `evaluate/my_office`.

Predicted frontiers are decoded with the calibration of the model, which was fitted to its own
validation split. The baselines of depth are means of the train split of the data set.

`--flip` and `--scales` average the predictions of the mirror image and of several sizes, as
`python -m psp_jax.predict` does. Frontier classes are then not scored, since logits of edges are
averaged; regions are.
"""

import argparse
import pathlib

from psp_jax import data, experiment, prepared
from psp_jax.evaluation import run_report, views
from psp_jax.evaluation.predictions import BatchPredictor
from psp_jax.io import command_line
from psp_jax.partition import calibration
from psp_jax.weights import pretrained

FOLDER = "evaluate"  # Within the workdir, or the current folder.
SPLITS = ("train", "validation", "test")
BATCH_SIZE = 8  # At most: batches of a training on a GPU take gigabytes.


def evaluate(
    workdir: str | pathlib.Path | None,
    source: experiment.Source,
    out: str | pathlib.Path,
    *,
    split: str = "test",
    averaged: views.Views | None = None,
) -> None:
    """Scores a model on a data set.

    Args:
        workdir: folder of a run, of which the best checkpoint is taken, or of an exported model;
            None for the model that ships. Nothing in it is changed.
        source: the data set.
        out: folder that metrics and pictures are written to.
        split: name of the split.
        averaged: mirror images and scales whose predictions are averaged; None for the image.

    Raises:
        OSError: if there is no model or no data set, or `out` can't be written.
        ValueError: if the model is damaged, the data set lacks its labels, `out` is the folder of a
            run or of an exported model, or views of a network that sees depth are to be averaged.
    """
    folder, out = pretrained.locate(workdir), pathlib.Path(out)
    if (out / experiment.CONFIG_FILE).exists():
        raise ValueError(f"--out={out} is the folder of a model; pass another one")
    trained = pretrained.load(folder)
    config = trained.config
    config.data.source = source
    config.data.batch_size = min(config.data.batch_size, BATCH_SIZE)
    splits = data.open_splits(source.prepare())
    data.check_labels(splits[split], config.data)
    model = config.model.make(config.objective.channels)
    predict = BatchPredictor(config, model, averaged, color_scale=trained.color_scale)
    if trained.color_scale != source.color_scale:
        print(
            f"images are resized to {trained.color_scale} times the height and width of depth, as "
            f"in the model's training; the data set has {source.color_scale} times"
        )
    fitted = None
    if predict.kinds(trained.variables).edges is not None:
        fitted = trained.calibration or calibration.Calibration()
        if trained.calibration is None:
            print(f"frontiers are decoded without calibration: {folder} has no {calibration.FILE}")
    out.mkdir(parents=True, exist_ok=True)
    run = run_report.Evaluation(config, predict, trained.variables, fitted)
    pictures = run_report.score(config, model, run, splits, out, split=split)
    run_report.draw(run, pictures, out)


def main() -> None:
    """Evaluates the model of the command line."""
    parser = command_line.Parser(prog="python -m psp_jax.evaluate", description=__doc__)
    add, path = parser.add_argument, command_line.path
    models = "folder of a run or of an exported model (default: the model that ships)"
    add("--workdir", type=path, help=models)
    add("--data", required=True, metavar="NAME", help="name of the prepared data set")
    add("--data_dir", default="data", help="folder of the data sets (default: %(default)s)")
    add("--split", choices=SPLITS, default="test", help="default: %(default)s")
    add("--out", type=path, help=f"output folder (default: {FOLDER}/NAME, in the workdir)")
    views.add_flags(parser)
    command_line.run(_evaluate, parser)


def _evaluate(arguments: argparse.Namespace) -> None:
    out = arguments.out or (arguments.workdir or pathlib.Path()) / FOLDER / arguments.data
    source = prepared.Prepared(arguments.data, arguments.data_dir)
    averaged = views.Views(flip=arguments.flip, scales=arguments.scales)
    evaluate(arguments.workdir, source, out, split=arguments.split, averaged=averaged)
    print(f"metrics and pictures are in {out}")


if __name__ == "__main__":
    main()
