"""Draws pictures of predictions and curves of a run into PNG files."""

import dataclasses
import io
import itertools
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence

import jax
import numpy as np

try:
    import matplotlib as _  # noqa: F401
except ValueError:  # MPLBACKEND is not installed, as a notebook's may be; none is needed here.
    del os.environ["MPLBACKEND"]
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        del sys.modules[name]  # Else it stays imported in part.
from matplotlib import colormaps
from matplotlib import image as image_files
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from psp_jax.batch import Batch
from psp_jax.evaluation.predicted_image import PredictedImage
from psp_jax.io import image_kinds

_SHEET_IN, _TITLES_IN, _BARS_IN = 10.0, 0.3, 0.6  # Width of a sheet; heights in it, inches.
ERROR_LIMIT_M = 1.0  # Errors are drawn from 0 to this; larger ones saturate.


def depth_sheet(path: pathlib.Path | io.BytesIO, images: Sequence[PredictedImage]) -> None:
    """Draws one row per image: RGB, depth, predicted depth and absolute error.

    Pixels without a reading are black.
    """
    readings = np.concatenate([image.truth.depth[image.truth.depth > 0] for image in images])
    depths = _colors("turbo_r", *np.percentile(readings, (1, 99)))
    errors = _colors("inferno", 0, ERROR_LIMIT_M)
    rows = []
    for image in images:
        truth, predicted = np.asarray(image.truth.depth), np.asarray(image.prediction.depth)
        error = np.ma.masked_where(truth == 0, np.abs(predicted - truth))
        known = np.ma.masked_equal(truth, 0)
        rows.append(
            (
                image.rgb,
                *(_painted(depths, each) for each in (known, predicted)),
                _painted(errors, error),
            )
        )
    figure = _sheet(("RGB", "depth", "predicted depth", "error"), rows, below_in=_BARS_IN)
    _color_bar(figure, depths, (0.25, 0.75), "depth [m]")
    _color_bar(figure, errors, (0.75, 1), "error [m]")
    _save(figure, path)


def frontier_sheet(
    path: pathlib.Path | io.BytesIO,
    images: Sequence[PredictedImage],
    probability: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
) -> None:
    """Draws one row per image: RGB, true regions, probability of a frontier, predicted regions.

    Args:
        path: PNG file to write, or where to put its content.
        images: the images.
        probability: `[H, W]` float32 of every image, that a pixel lies at a frontier.
        predicted: `[H, W]` int32 predicted partition of every image.
    """
    chances = _colors("magma", 0, 1)
    rows = [
        (
            image.rgb,
            outlined(image.rgb, image.true_labels),
            _painted(chances, chance),
            outlined(image.rgb, labels),
        )
        for image, chance, labels in zip(images, probability, predicted, strict=True)
    ]
    titles = ("RGB", "true regions", "probability of a frontier", "predicted regions")
    _save(_sheet(titles, rows), path)


def input_sheet(path: pathlib.Path, batch: Batch, count: int) -> None:
    """Draws the first `count` images of a batch of NumPy arrays: RGB, depth, frontier classes.

    Pixels without a reading are black.
    """
    classes, rows = _colors("tab20", 0, 19), []
    for index in range(min(count, len(batch.depth))):
        example = jax.tree.map(np.asarray, batch[index])
        rgb = example.image if example.image.dtype == np.uint8 else _as_bytes(example.image)
        depth = _painted(_colors("turbo_r"), np.ma.masked_equal(example.depth, 0))
        rows.append((rgb, depth, _painted(classes, example.frontier)))
    _save(_sheet(("RGB", "depth", "frontier classes"), rows), path)


def _colors(name: str, least: float | None = None, most: float | None = None) -> ScalarMappable:
    """Returns a colour map of values, by default from the least that is painted to the greatest.

    Masked values are black.
    """
    return ScalarMappable(Normalize(least, most), colormaps[name].with_extremes(bad="black"))


def _painted(colors: ScalarMappable, values: np.ndarray) -> np.ndarray:
    """Returns `[H, W, 3]` uint8 colours of values."""
    return colors.to_rgba(values, bytes=True)[..., :3]


def _sheet(
    titles: Sequence[str], rows: Sequence[Sequence[np.ndarray]], *, below_in: float = 0
) -> Figure:
    """Returns a figure of rows of pictures, `[H, W, 3]` uint8, with titles above the columns.

    All pictures form one, since axes and layouts of their own take matplotlib most of the time.

    Args:
        titles: of the columns.
        rows: pictures of one aspect ratio, which may be finer than others by a whole factor.
        below_in: inches that are left free below.
    """
    height, width = np.max([picture.shape[:2] for row in rows for picture in row], axis=0)
    gap = round(0.03 * width)
    sheet = np.full((len(rows) * (height + gap), len(titles) * (width + gap), 3), 255, np.uint8)
    places = itertools.product(
        range(0, len(sheet), height + gap), range(0, sheet.shape[1], width + gap)
    )
    for (y, x), picture in zip(places, itertools.chain(*rows), strict=True):
        enlarged = picture.repeat(height // len(picture), 0).repeat(width // picture.shape[1], 1)
        sheet[y : y + height, x : x + width] = enlarged
    shown_in = _SHEET_IN * sheet.shape[0] / sheet.shape[1]
    figure = Figure(figsize=(_SHEET_IN, _TITLES_IN + shown_in + below_in))
    total_in = figure.get_figheight()
    axis = figure.add_axes((0, below_in / total_in, 1, shown_in / total_in))
    axis.imshow(sheet, aspect="auto")
    axis.axis("off")
    for column, title in enumerate(titles):
        place = (column + 0.5) / len(titles), 1 - 0.7 * _TITLES_IN / total_in
        figure.text(*place, title, ha="center", fontsize=10)
    return figure


def _color_bar(
    figure: Figure, colors: ScalarMappable, between: tuple[float, float], label: str
) -> None:
    """Draws a colour bar in the space below a sheet, between two fractions of its width."""
    left, right = between
    bottom = 0.75 * _BARS_IN / figure.get_figheight()
    place = (left + 0.01, bottom, right - left - 0.03, 0.1 * bottom)
    figure.colorbar(colors, cax=figure.add_axes(place), label=label, orientation="horizontal")


@dataclasses.dataclass(frozen=True)
class Panel:
    """One plot of curves.

    Attributes:
        title: of the vertical axis.
        lines: x and y values by label.
        levels: horizontal lines to compare with, by label.
        from_zero: whether the vertical axis begins at 0, as for losses and errors.
    """

    title: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    levels: Mapping[str, float] = dataclasses.field(default_factory=dict)
    from_zero: bool = True


def panels(path: pathlib.Path, shown: Sequence[Panel], *, across: str) -> None:
    """Draws panels side by side; `across` is the title of their horizontal axes."""
    figure = Figure(figsize=(4.5 * max(len(shown), 1.4), 3.2), layout="constrained")
    for axis, panel in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for index, (label, (xs, ys)) in enumerate(panel.lines.items()):
            style = "-" if index < 10 else "--"  # There are ten colours.
            axis.plot(xs, ys, style, marker=".", label=label)
        for label, level in panel.levels.items():
            axis.axhline(level, color="gray", linestyle=":", label=label)
        axis.set(xlabel=across, ylabel=panel.title)
        if panel.from_zero:
            axis.set_ylim(0, None)
        if len(panel.lines) + len(panel.levels) > 1:
            axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    _save(figure, path)


def curves(path: pathlib.Path, records: Sequence[dict], shown: str, title: str) -> None:
    """Draws the losses and a metric of the validation split over the steps.

    Args:
        path: PNG file to write.
        records: lines of `metrics.jsonl`, one per validation.
        shown: name of the metric in the records, after `validation_`.
        title: of its axis.
    """
    steps = [record["step"] for record in records]
    losses = {
        name.partition("_")[0]: (steps, [record[name] for record in records])
        for name in ("train_loss", "validation_loss")
    }
    values = {title: (steps, [record[f"validation_{shown}"] for record in records])}
    baseline = records[0].get("validation_interior_share") if shown == "accuracy" else None
    levels = {} if baseline is None else {"always interior": baseline}
    both = [Panel("loss", losses), Panel(f"validation {title}", values, levels, not levels)]
    panels(path, both, across="step")


def _save(figure: Figure, path: pathlib.Path | io.BytesIO) -> None:
    """Writes a PNG that no program reads as a photograph."""
    metadata = {image_kinds.KEYWORD: image_kinds.PICTURE}
    fast = {"compress_level": 4}  # 40 % of the time of the default; 3 % larger.
    figure.savefig(path, dpi=80, format="png", metadata=metadata, pil_kwargs=fast)


def smaller(path: pathlib.Path) -> bytes:
    """Converts a picture to a JPEG, smaller than a PNG of photographs.

    Raises:
        ValueError: if the file is not a picture.
    """
    try:
        pixels = image_files.imread(path)
    except (OSError, SyntaxError, ValueError) as error:  # The reader's errors of damaged files.
        raise ValueError(f"{path} is damaged: {error}") from None
    out = io.BytesIO()
    image_files.imsave(out, pixels[..., :3], format="jpeg", pil_kwargs={"quality": 85})
    return out.getvalue()


def partition_sheet(
    path: pathlib.Path,
    depth: np.ndarray,
    rgb: np.ndarray | None,
    partitions: Mapping[str, np.ndarray],
    classes: Mapping[str, np.ndarray],
    marked: Mapping[str, np.ndarray],
) -> None:
    """Draws one row per partition of a depth image (thesis, figures 3.4 to 3.6).

    The columns are the depth or the markers, boundaries over depth and over colour, and the
    frontier classes in 16 colours.

    Args:
        path: PNG file to write.
        depth: `[H, W]` float32 metres without holes.
        rgb: `[H, W, 3]` uint8, or None where there is no colour.
        partitions: `[H, W]` int32 labels by name.
        classes: `[H, W]` uint8 frontier classes by name.
        marked: `[H, W]` float32 gradient with markers, for algorithms that start from them.
    """
    rows, (height, width) = len(partitions), depth.shape
    figure = Figure(figsize=(13, 0.4 + 3.3 * rows * height / width), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False)
    shown = colormaps["turbo_r"](_stretched(depth))[..., :3]
    colour = np.full_like(shown, 0.5) if rgb is None else rgb / 255.0
    for row, (name, labels) in zip(axes, partitions.items(), strict=True):
        boundary = (classes[name] > 0)[..., None]
        start = marked.get(name)
        row[0].imshow(shown if start is None else _stretched(start), cmap="gray")
        row[1].imshow(np.where(boundary, 0.0, shown))
        row[2].imshow(np.where(boundary, (1.0, 0.9, 0.0), colour))
        row[3].imshow(classes[name], cmap="tab20", vmin=0, vmax=19, interpolation="nearest")
        row[0].set_ylabel(f"{name}\n{labels.max() + 1} regions", fontsize=10)
    titles = ("depth, or gradient and markers", "on depth", "on colour", "frontier classes")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    _save(figure, path)


def _stretched(values: np.ndarray) -> np.ndarray:
    """Maps the 1st to 99th percentile to 0 to 1."""
    low, high = np.percentile(values, (1, 99))
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)


def outlined(rgb: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Draws the boundaries of regions in yellow over a dimmed image, `[H, W, 3]` uint8."""
    boundary = np.zeros(labels.shape, bool)
    boundary[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    boundary[:-1] |= labels[1:] != labels[:-1]
    return _as_bytes(np.where(boundary[..., None], (1.0, 0.9, 0.0), 0.2 + 0.6 * rgb / 255.0))


def _as_bytes(colours: np.ndarray) -> np.ndarray:
    return np.round(255 * np.clip(colours, 0, 1)).astype(np.uint8)
