"""Trained models: runs, and the folders that a run is exported to, one of which ships.

An exported model is a folder that can be passed on: `config.json` of the run, its variables in
`variables.safetensors`, its `calibration.json` if it has one, a `MODEL_CARD.md` to edit, and
`SHA256SUMS` of the others. Kernels are stored in float16, everything else in float32, since
variances of batch norms under- or overflow in float16.

    python -m psp_jax.weights export runs/frontier_edges frontier_edges_model
"""

import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np
import safetensors

from psp_jax import experiment
from psp_jax.io import dataclass_json, files, manifest
from psp_jax.models.precision import in_float32
from psp_jax.partition import calibration
from psp_jax.state import Variables
from psp_jax.weights import converted
from psp_jax.weights.network import flatten, unflatten

NAME = "pretrained"  # Of the model that ships, in `init_from` and `--workdir`.
SHIPPED = pathlib.Path(__file__).parent / "shipped"
VARIABLES_FILE = "variables.safetensors"
CARD_FILE = "MODEL_CARD.md"
FORMAT = "psp_jax.model 1"
_METADATA = "psp_jax"


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A trained model, from a run or from an exported folder.

    Attributes:
        config: the experiment.
        step: step of the variables.
        variables: nested dicts of NumPy arrays, floats in float32.
        size: (height, width) of the labels in training; None if they are unknown.
        color_scale: pixels of the training images along a side of a pixel of the labels.
        calibration: of the predicted edges; None if there is none.
    """

    config: experiment.Experiment
    step: int
    variables: Variables
    size: tuple[int, int] | None
    color_scale: int
    calibration: calibration.Calibration | None


def locate(source: str | os.PathLike | None) -> pathlib.Path:
    """Returns the folder of a model: a local path, or the shipped model for None or its name.

    Raises:
        ValueError: if it is a URL.
        FileNotFoundError: if this installation ships no model.
    """
    if source is not None and os.fspath(source) != NAME:
        return files.local_path(source)
    if not is_exported(SHIPPED):
        raise FileNotFoundError(
            "this installation ships no trained model; pass the workdir of a run, as in "
            "--workdir=runs/frontier_edges, or a folder that "
            "`python -m psp_jax.weights export` wrote"
        )
    return SHIPPED


def is_exported(folder: pathlib.Path) -> bool:
    """Returns whether a folder holds an exported model."""
    return (folder / VARIABLES_FILE).is_file()


def load(folder: pathlib.Path) -> TrainedModel:
    """Loads an exported model, or the best intact checkpoint of a run.

    Raises:
        FileNotFoundError: if the folder holds neither.
        ValueError: if a file is damaged or of another version.
        OSError: if no checkpoint is intact.
    """
    path = folder / calibration.FILE
    if is_exported(folder):
        _check(folder)
    config = experiment.load(folder)
    if is_exported(folder):
        variables, card = _read(folder)
        step, color_scale = card["step"], card["color_scale"]
        size = None if card["size"] is None else (card["size"][0], card["size"][1])
    else:
        from psp_jax import checkpoints  # Orbax, which exported models do without, takes a second.

        step, variables = checkpoints.load_best(folder)
        source = config.data.source
        size, color_scale = source.size(), source.color_scale
    fitted = calibration.load(path) if path.exists() else None
    return TrainedModel(config, step, variables, size, color_scale, fitted)


def export(workdir: pathlib.Path, folder: pathlib.Path) -> TrainedModel:
    """Exports the best intact checkpoint of a run; returns what was written.

    Absolute paths in the config are shortened to their last part, since they name files of one
    machine, and `init_from` is emptied, since the variables are there. The network computes in
    float32, whatever it was trained in: CPUs are slow in bfloat16.

    Raises:
        FileExistsError: if the folder exists and is not empty.
        FileNotFoundError, ValueError, OSError: as `load` does; also for values that do not fit
            float16.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists; choose another folder, nothing is overwritten")
    model = load(workdir)
    arrays = {path: _compact(path, value) for path, value in flatten(model.variables).items()}
    card = {"format": FORMAT, "step": model.step, "size": model.size}
    card["color_scale"] = model.color_scale
    network = in_float32(model.config.model)
    config = dataclasses.replace(
        model.config, model=network, init_from="", init_from_parts={}, writers=()
    )
    text = json.dumps(_without_paths(dataclass_json.to_plain(config)), indent=2)
    files.write(folder / experiment.CONFIG_FILE, text + "\n")
    if model.calibration is not None:
        calibration.save(model.calibration, folder / calibration.FILE)
    files.write(folder / CARD_FILE, _card(model, arrays))
    converted.save(folder / VARIABLES_FILE, arrays, metadata={_METADATA: json.dumps(card)})
    manifest.write(folder)
    return model


def _compact(path: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim < 2 or array.dtype != np.float32:
        return array
    small = array.astype(np.float16)
    if not np.isfinite(small).all():
        raise ValueError(f"{path}: expected values that fit float16, got {np.abs(array).max()}")
    return small


def _check(folder: pathlib.Path) -> None:
    """Raises ValueError if a file is not the one that was exported; the card may be edited."""
    damage = manifest.damage(folder, "*.json") + manifest.damage(folder, "*.safetensors")
    if damage:
        raise ValueError(f"{folder} is damaged: {damage[0]}; copy or export the model again")


def _read(folder: pathlib.Path) -> tuple[Variables, dict[str, Any]]:
    """Reads the variables and the metadata of an exported model."""
    path = folder / VARIABLES_FILE
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            card = json.loads((file.metadata() or {}).get(_METADATA, "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        got = card.get("format") if isinstance(card, dict) else None
        raise ValueError(f"{path}: expected the format {FORMAT!r}, got {got!r}")
    single = {
        name: array.astype(np.float32) if array.dtype == np.float16 else array
        for name, array in arrays.items()
    }
    return unflatten(single), card


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    if isinstance(value, str) and os.path.isabs(value):
        return os.path.basename(value.rstrip(os.sep))
    return value


def _card(model: TrainedModel, arrays: dict[str, np.ndarray]) -> str:
    """Describes a model in Markdown, with the facts that its files state."""
    count = sum(int(array.size) for array in arrays.values())
    config, size = model.config, "unknown"
    if model.size is not None:
        size = f"{model.size[0]}x{model.size[1]}"
    rows = (
        ("experiment", config.name),
        ("network", type(config.model).__name__),
        ("objective", type(config.objective).__name__),
        ("parameters and statistics", f"{count:,}"),
        ("step", str(model.step)),
        ("training data", type(config.data.source).__name__),
        ("label set", config.data.labels),
        ("size of the labels in training", size),
        ("calibrated edges", "no" if model.calibration is None else "yes"),
    )
    table = "".join(f"| {name} | {value} |\n" for name, value in rows)
    return (
        f"# {config.name}\n\nA model trained with psp_jax. `config.json` holds the whole "
        f"experiment.\n\n| | |\n|---|---|\n{table}\n"
        "```\npython -m psp_jax.predict photo.jpg --workdir=THIS_FOLDER\n```\n"
    )
