"""Draws pictures of predictions and curves of a run into PNG files."""

import dataclasses
import io
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np

try:
    import matplotlib as _  # noqa: F401
except ValueError:  # MPLBACKEND is not installed, as a notebook's may be; none is needed here.
    del os.environ["MPLBACKEND"]
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        del sys.modules[name]  # Else it stays imported in part.
from matplotlib import colormaps
from matplotlib import image as image_files
from matplotlib.figure import Figure

from psp_jax.batch import Batch
from psp_jax.evaluation.predicted_image import PredictedImage
from psp_jax.io import image_kinds

_COLORMAPS = ("turbo_r", "inferno")  # Of depth and of errors.
ERROR_LIMIT_M = 1.0  # Errors are drawn from 0 to this; larger ones saturate.


def depth_sheet(path: pathlib.Path | io.BytesIO, images: Sequence[PredictedImage]) -> None:
    """Draws one row per image: RGB, depth, predicted depth and absolute error.

    Pixels without a reading are black.
    """
    figure, axes = _sheet(
        [image.truth for image in images], ("RGB", "depth", "predicted depth", "error"), margin=0.9
    )
    colors, error_colors = (colormaps[name].with_extremes(bad="black") for name in _COLORMAPS)
    readings = np.concatenate([image.truth.depth[image.truth.depth > 0] for image in images])
    nearest, farthest = np.percentile(readings, (1, 99))
    for row, image in zip(axes, images, strict=True):
        truth, predicted = np.asarray(image.truth.depth), np.asarray(image.prediction.depth)
        shown = np.ma.masked_equal(truth, 0)
        row[0].imshow(image.rgb)
        row[1].imshow(shown, cmap=colors, vmin=nearest, vmax=farthest)
        depth_image = row[2].imshow(predicted, cmap=colors, vmin=nearest, vmax=farthest)
        error = np.ma.masked_where(truth == 0, np.abs(predicted - truth))
        error_image = row[3].imshow(error, cmap=error_colors, vmin=0, vmax=ERROR_LIMIT_M)
    for image, columns, label in (
        (depth_image, axes[:, 1:3], "depth [m]"),
        (error_image, axes[:, 3], "error [m]"),
    ):
        figure.colorbar(image, ax=columns, label=label, location="bottom", fraction=0.04, aspect=30)
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
    titles = ("RGB", "true regions", "probability of a frontier", "predicted regions")
    figure, axes = _sheet([image.truth for image in images], titles, margin=0.4)
    for row, image, chance, labels in zip(axes, images, probability, predicted, strict=True):
        row[0].imshow(image.rgb)
        row[1].imshow(outlined(image.rgb, image.true_labels), interpolation="nearest")
        row[2].imshow(chance, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
        row[3].imshow(outlined(image.rgb, labels), interpolation="nearest")
    _save(figure, path)


def input_sheet(path: pathlib.Path, batch: Batch, count: int) -> None:
    """Draws the first `count` images of a batch of NumPy arrays: RGB, depth, frontier classes.

    Pixels without a reading are black.
    """
    truths = [batch[index] for index in range(min(count, len(batch.depth)))]
    colors = colormaps[_COLORMAPS[0]].with_extremes(bad="black")
    figure, axes = _sheet(truths, ("RGB", "depth", "frontier classes"), margin=0.4)
    for row, truth in zip(axes, truths, strict=True):
        row[0].imshow(truth.image)
        row[1].imshow(np.ma.masked_equal(np.asarray(truth.depth), 0), cmap=colors)
        row[2].imshow(truth.frontier, cmap="tab20", vmin=0, vmax=19, interpolation="nearest")
    _save(figure, path)


def _sheet(
    truths: Sequence[Batch], titles: Sequence[str], *, margin: float
) -> tuple[Figure, np.ndarray]:
    """Returns a figure of a row per example and `[rows, columns]` axes without ticks."""
    height, width = truths[0].depth.shape
    size = (10, margin + 2.5 * len(truths) * height / width)  # Inches.
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(truths), len(titles), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    return figure, axes


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
    figure.savefig(path, dpi=80, format="png", metadata=metadata)


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
