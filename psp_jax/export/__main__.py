"""Exports a trained network to StableHLO and ONNX, which run without this package.

    python -m psp_jax.export --out=model
    python -m psp_jax.export --workdir=runs/frontier_edges --out=model --size=240x320
    python -m psp_jax.export --out=model --formats=stablehlo

Writes model.stablehlo, which needs only JAX, model.onnx, which needs only ONNX Runtime, and
model.json, which describes both. Their input is an RGB image, not normalised; their outputs are
depth in metres and calibrated logits of frontiers, see docs/export.md. Both compute in float32
and are compared with the run on fixed images before anything is written.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import tabulate

from psp_jax.evaluation import views
from psp_jax.export import formats
from psp_jax.export.formats import ONNX, STABLEHLO, Size
from psp_jax.io import command_line, files
from psp_jax.io.version import __version__
from psp_jax.partition import calibration
from psp_jax.predict import predictor
from psp_jax.weights import pretrained

FORMAT = "psp_jax.export 1"
TOLERANCE = 1e-4  # Of the value, or absolute where the value is below 1.
ROUNDS = 5  # The fastest counts.
DESCRIPTIONS = {
    formats.DEPTH: "depth along the optical axis, in metres",
    formats.EDGES: "calibrated logits of a frontier; channel 0 to the right neighbour (not in the "
    "last column), channel 1 to the pixel below (not in the last row); probability = sigmoid",
}


def main(arguments: argparse.Namespace) -> None:
    """Exports the model of the command line and prints how to use it."""
    # Before JAX starts its threads: times are those of one core.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    export(arguments.workdir, arguments.out, size=arguments.size, names=arguments.formats)


def export(
    workdir: str | os.PathLike | None,
    folder: pathlib.Path,
    *,
    size: Size | None = None,
    names: tuple[str, ...] = (STABLEHLO, ONNX),
) -> dict[str, Any]:
    """Exports a model, compares it with the run, and prints sizes and times.

    Args:
        workdir: of a run, or folder of an exported model; None for the one that ships.
        folder: new or empty.
        size: (height, width) of the images in pixels; None for that of training.
        names: of formats, keys of `formats.NEEDS`.

    Returns:
        What `model.json` holds.

    Raises:
        FileExistsError: if the folder is not empty.
        FileNotFoundError: if there is no model.
        ValueError: if packages are missing, the size or the network does not fit, a format can't
            express the network, or the exported one differs from the run.
    """
    formats.check(names)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists; choose another folder, nothing is overwritten")
    source = pretrained.locate(workdir)
    model = pretrained.load(source)
    size = _checked_size(source, model, size)
    label_size = size[0] // model.color_scale, size[1] // model.color_scale
    run = predictor.Predictor(source, size=label_size)  # Refuses networks that see depth.
    network = formats.network_of(model)
    images = example_images(size)
    expected = jax.device_get(jax.jit(network)(images))
    rows = [["psp_jax", None, _milliseconds(lambda image: run.run(list(image)), images[:1]), None]]
    described: dict[str, Any] = {}
    contents: dict[str, bytes] = {}
    for name in names:
        content, call, facts = formats.WRITERS[name](network, size)
        actual = [call(image[None]) for image in images]
        together = {key: np.concatenate([one[key] for one in actual]) for key in expected}
        worst = difference(together, expected, name)
        milliseconds = _milliseconds(call, images[:1])
        file = f"model.{name}"
        contents[file] = content
        described[name] = {"file": file, **facts, "largest_difference": worst}
        rows.append([file, len(content) / 1e6, milliseconds, worst])
    card = _card(model, size, expected) | {"files": described}
    for file, content in contents.items():
        files.write(folder / file, content)
    files.write(folder / "model.json", json.dumps(card, indent=2) + "\n")
    headers = ["", "MB", "ms a frame", "largest difference"]
    print(tabulate.tabulate(rows, headers, floatfmt=("", ".1f", ".0f", ".1e")))
    print(f"\nwritten: {folder}. To call it without psp_jax:\n")
    print("\n\n".join(_example(folder, name, card) for name in names))
    return card


def example_images(size: Size) -> np.ndarray:
    """Returns `[3, H, W, 3]` uint8: black, smooth gradients, and blocks of random colours."""
    height, width = size
    rows, columns = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    smooth = 127.5 + 127.5 * np.sin(np.stack([7 * rows, 5 * columns, 9 * rows * columns], -1))
    colors = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    blocks = colors[(8 * rows).astype(int), (8 * columns).astype(int)]
    return np.stack([np.zeros_like(blocks), smooth.astype(int), blocks]).astype(np.uint8)


def difference(
    actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], name: str
) -> float:
    """Returns the largest difference, relative to values above 1.

    Raises:
        ValueError: if it is above `TOLERANCE`.
    """
    worst = 0.0
    for key, wanted in expected.items():
        largest = float((np.abs(actual[key] - wanted) / np.maximum(np.abs(wanted), 1)).max())
        if not largest <= TOLERANCE:
            raise ValueError(
                f"{name}: expected the {key} of the run up to {TOLERANCE:g}, got a difference of "
                f"{largest:.1e}; nothing is written"
            )
        worst = max(worst, largest)
    return worst


def _card(
    model: pretrained.TrainedModel, size: Size, outputs: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Describes an exported network; what a program needs to call it and to decode regions."""
    card: dict[str, Any] = {
        "format": FORMAT,
        "psp_jax": __version__,
        "name": model.config.name,
        "step": model.step,
        "labels": model.config.data.labels,
        "input": {
            "name": "image",
            "shape": ["batch", *size, 3],
            "dtype": "uint8",
            "description": "RGB from 0 to 255; normalisation is inside",
        },
        "outputs": {
            name: {
                "shape": ["batch", *array.shape[1:]],
                "dtype": str(array.dtype),
                "description": DESCRIPTIONS[name],
            }
            for name, array in outputs.items()
        },
    }
    if formats.EDGES in outputs:
        decoder = (model.calibration or calibration.Calibration()).decoder
        card["calibrated"] = model.calibration is not None
        card["decoder"] = dataclasses.asdict(decoder)
    return card


def _example(folder: pathlib.Path, name: str, card: Mapping[str, Any]) -> str:
    """Returns the five lines of Python that predict an image."""
    _, height, width, _ = card["input"]["shape"]
    read = f'np.asarray(Image.open("photo.jpg").convert("RGB").resize(({width}, {height})))[None]'
    file = json.dumps(str(folder / f"model.{name}"))
    names = list(card["outputs"])
    if name == STABLEHLO:
        return (
            "import jax, jax.export, numpy as np  # pip install jax flatbuffers pillow\n"
            "from PIL import Image\n"
            f"network = jax.jit(jax.export.deserialize(open({file}, 'rb').read()).call)\n"
            f"image = {read}\n"
            f"outputs = network(image)  # {', '.join(names)}"
        )
    return (
        "import numpy as np, onnxruntime  # pip install onnxruntime pillow\n"
        "from PIL import Image\n"
        f"network = onnxruntime.InferenceSession({file})\n"
        f"image = {read}\n"
        f'outputs = dict(zip({json.dumps(names)}, network.run(None, {{"image": image}})))'
    )


def _checked_size(source: pathlib.Path, model: pretrained.TrainedModel, given: Size | None) -> Size:
    scale = model.color_scale
    if given is None:
        if model.size is None:
            raise ValueError(
                f"{source}: the size of the training images is not known; pass it, as in "
                "--size=480x640"
            )
        return scale * model.size[0], scale * model.size[1]
    least = scale * views.MIN_SIDE_PX
    if min(given) < least or any(side % scale for side in given):
        multiple = f", multiples of {scale}" if scale > 1 else ""
        raise ValueError(
            f"--size={given[0]}x{given[1]}: expected sides of at least {least} pixels{multiple}"
        )
    if given[0] * given[1] > views.MAX_UNTILED_PX:
        raise ValueError(
            f"--size={given[0]}x{given[1]}: expected at most {views.MAX_UNTILED_PX} pixels"
        )
    return given


def _milliseconds(call: Callable[[np.ndarray], Any], image: np.ndarray) -> float:
    call(image)
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call(image)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    if not set(names) <= formats.NEEDS.keys():
        raise argparse.ArgumentTypeError(
            f"expected some of {','.join(formats.NEEDS)}, got {text!r}"
        )
    return names


def _size(text: str) -> Size:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(
            f"expected HEIGHTxWIDTH in pixels such as 240x320, got {text!r}"
        )
    return int(height), int(width)


def parser() -> command_line.Parser:
    """Returns the parser of the command line."""
    parser = command_line.Parser(prog="python -m psp_jax.export", description=__doc__)
    parser.add_argument(
        "--workdir",
        type=command_line.path,
        help="run, or folder of an exported model; default: the model that ships",
    )
    parser.add_argument("--out", type=command_line.path, required=True, help="new folder")
    parser.add_argument(
        "--size",
        type=_size,
        metavar="HxW",
        help="height and width of the images in pixels; default: those of training",
    )
    parser.add_argument(
        "--formats",
        type=_formats,
        default=(STABLEHLO, ONNX),
        help="some of stablehlo,onnx; default: both",
    )
    return parser


if __name__ == "__main__":
    command_line.run(main, parser())
