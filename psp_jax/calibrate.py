"""Refits the calibration of a finished run: temperature, bias and decoder thresholds.

    python -m psp_jax.calibrate --workdir=runs/frontier_edges

predicts the validation split with the best checkpoint, fits temperature and bias to its
frontiers, chooses the decoder thresholds by the mean adjusted Rand index, and writes
`calibration.json` into the workdir, where prediction reads it. Every run that predicts frontiers
does this at its end; runs that predict only depth need no calibration.
`--data=configs/photographs.py:calibration` takes the validation split of another experiment, such
as one with other labels.
"""

import argparse
import dataclasses
import pathlib
import runpy

from psp_jax import checkpoints, data, experiment
from psp_jax.evaluation import predictions
from psp_jax.io import command_line
from psp_jax.partition import calibration


def calibrate(
    workdir: str | pathlib.Path,
    *,
    data_of: str = "",
    images: int = predictions.DECODER_IMAGES,
) -> calibration.Calibration:
    """Fits a calibration to the best checkpoint of a run and writes it into the workdir.

    Args:
        workdir: folder of the run.
        data_of: config file of an experiment whose data is used, `FILE` or `FILE:VARIANT`; empty
            for the run's.
        images: validation images that choose the decoder; all of them fit the rest.

    Raises:
        OSError: if there is no run, no checkpoint or no data set.
        ValueError: if the run predicts no frontiers, or does not separate them from other edges.
    """
    folder = pathlib.Path(workdir)
    config = experiment.load(folder)
    if data_of:
        config = dataclasses.replace(config, data=load_data(data_of))
    variables = checkpoints.load_variables(folder)
    predict = predictions.BatchPredictor(config, config.model.make(config.objective.channels))
    if predict.kinds(variables).edges is None:
        raise ValueError(f"{workdir} predicts no frontiers, so there is nothing to calibrate")
    examples = data.open_splits(config.data.source.prepare())["validation"]
    data.check_labels(examples, config.data)
    fitted = predictions.calibrate(predict, variables, examples, decoder_images=images)
    calibration.save(fitted, folder / calibration.FILE)
    return fitted


def load_data(config_file: str) -> experiment.Data:
    """Returns the data of an experiment, given as `FILE` or `FILE:VARIANT`.

    Raises:
        ValueError: if there is no such config file or variant.
    """
    path, _, variant = config_file.partition(":")
    try:
        get_config = runpy.run_path(path)["get_config"]
    except (OSError, SyntaxError, KeyError) as error:
        raise ValueError(
            f"--data={config_file}: expected a file with get_config(): {error}"
        ) from None
    return (get_config(variant) if variant else get_config()).data


def main() -> None:
    """Calibrates the run of the command line."""
    parser = command_line.Parser(prog="python -m psp_jax.calibrate", description=__doc__)
    parser.add_argument(
        "--workdir", required=True, type=command_line.path, help="folder of the run"
    )
    parser.add_argument(
        "--data",
        default="",
        metavar="FILE[:VARIANT]",
        help="config file of an experiment whose validation split is used (default: the run's own)",
    )
    parser.add_argument(
        "--images",
        type=command_line.positive_int,
        default=predictions.DECODER_IMAGES,
        help="validation images that choose the decoder (default: %(default)s)",
    )
    command_line.run(_calibrate, parser)


def _calibrate(arguments: argparse.Namespace) -> None:
    fitted = calibrate(arguments.workdir, data_of=arguments.data, images=arguments.images)
    print(
        f"temperature {fitted.temperature:.3f}, bias {fitted.bias:+.3f}, fragments along edges "
        f"above {fitted.cut_above:g}, frontiers kept above {fitted.threshold:g}: written to "
        f"{arguments.workdir / calibration.FILE}"
    )


if __name__ == "__main__":
    main()
