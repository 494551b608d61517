"""Fits temperature, bias and decoder of a finished run anew.

    python -m psp_jax.calibrate --workdir=runs/frontier_edges

does to the newest checkpoint what the end of a run does: predicts the validation split, fits both
numbers to its frontiers, chooses the decoder of the best partitions, and writes `calibration.json`
into the workdir, where prediction looks for it. Runs that predict depth alone need none.
"""

import itertools
import pathlib
import sys

import tqdm

from psp_jax import checkpoints, data, experiment
from psp_jax.evaluation import partition_scores, run_report
from psp_jax.io import command_line
from psp_jax.partition import calibration


def calibrate(
    workdir: str | pathlib.Path, *, images: int = run_report.THRESHOLD_IMAGES
) -> calibration.Calibration:
    """Fits a calibration to the newest checkpoint of a run, and stores it.

    Args:
        workdir: folder of the run.
        images: validation images that choose the decoder; all of them fit the rest.

    Raises:
        OSError: if there is no run, no checkpoint or no data set.
        ValueError: if the run predicts no frontiers, or frontiers that nothing can be told from.
    """
    folder = pathlib.Path(workdir)
    config = experiment.load(folder)
    variables = checkpoints.load_variables(folder)
    model = config.model.make(config.objective.channels)
    examples = data.open_splits(config.data.source.prepare())["validation"]
    data.check_labels(examples, config.data)
    views = run_report.views_of(run_report.predictor(config, model, variables), config, examples)
    first = next(views)
    if first.edges is None:
        raise ValueError(f"{workdir} predicts no frontiers, so there is nothing to calibrate")
    shown = tqdm.tqdm(
        itertools.chain([first], views),
        total=len(examples),
        desc="validation",
        unit="image",
        mininterval=0.1 if sys.stderr.isatty() else 10,
    )
    fitted = partition_scores.calibrate(shown, count=len(examples), images=images)
    calibration.save(fitted, folder / run_report.CALIBRATION_FILE)
    return fitted


def main() -> None:
    """Calibrates the run of the command line."""
    parser = command_line.Parser(prog="python -m psp_jax.calibrate", description=__doc__)
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="folder of the run")
    parser.add_argument(
        "--images",
        type=int,
        default=run_report.THRESHOLD_IMAGES,
        help="validation images that choose the decoder (default: %(default)s)",
    )
    arguments = parser.parse_args()
    try:
        if arguments.images < 1:
            raise ValueError(f"--images={arguments.images}: at least 1 was expected")
        fitted = calibrate(arguments.workdir, images=arguments.images)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(
        f"temperature {fitted.temperature:.3f}, bias {fitted.bias:+.3f}, fragments along edges "
        f"above {fitted.cut_above:g}, frontiers kept above {fitted.threshold:g}: written to "
        f"{arguments.workdir / run_report.CALIBRATION_FILE}"
    )


if __name__ == "__main__":
    main()
