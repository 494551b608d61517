"""A trained run as a function of an image: depth, frontiers and regions of any RGB image.

    predict = psp_jax.load("runs/frontier_edges")
    found = predict(image)  # [H, W, 3] uint8
    print(found.regions.max() + 1, "regions")

The network sees an image with as many pixels as those it was trained on, at the image's own aspect,
so that neither shapes nor, of cameras alike, sizes are new to it; a camera turned on its side then
shows as many pixels per degree as before. Frontiers are decoded and depth is cut at that size,
which the calibration and the algorithms belong to. On the way back to the image's size depth is
interpolated, and a pixel belongs to the region of the network's pixel that it lies in.
"""

import dataclasses
import math
import pathlib
import threading
from collections.abc import Sequence
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from psp_jax import checkpoints, experiment, steps
from psp_jax.batch import Batch
from psp_jax.evaluation import run_report
from psp_jax.io import units
from psp_jax.partition import calibration, edge_logits, frontier_classes, superpixels
from psp_jax.partition.frontier_classes import Side

SAME_ASPECT = 0.01  # 1296x968 colour belongs to 640x480 depth and differs by 0.4 %.
SIDE_MULTIPLE_PX = 8  # The trunk's stride; fewer sizes are fewer compilations.
LEAST_SIDE_PX = superpixels.MIN_SIDE_PX
MOST_ASPECT = 16  # A strip beyond would be seen through a pyramid of one row of cells.


@dataclasses.dataclass(frozen=True)
class ImagePrediction:
    """What a run says of one image, at the image's size; None is what it does not speak of.

    Attributes:
        depth_m: `[H, W]` float32 metres along the optical axis.
        edges: `[H, W, 2]` float32 calibrated probabilities of a frontier, channel 0 between a pixel
            and its right neighbour, channel 1 between it and the one below; 0 at the border.
        classes: `[H, W]` uint8 frontier classes 0 to 15: the network's own, or those of the regions
            where it predicts depth alone.
        regions: `[H, W]` int32 labels, contiguous from 0, every region 4-connected; decoded from
            the edges, or else cut from the depth by what made the labels of the training images.
    """

    depth_m: np.ndarray | None = None
    edges: np.ndarray | None = None
    classes: np.ndarray | None = None
    regions: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Output:
    """What the network says of one image, at the network's size, on the host.

    Attributes:
        depth_m: `[h, w]` float32 metres, or None.
        edges: `[h, w, 2]` float32 logits, or None.
        classes: `[h, w]` uint8, or None.
    """

    depth_m: np.ndarray | None
    edges: np.ndarray | None
    classes: np.ndarray | None


class Predictor:
    """The newest checkpoint of a run, ready for images; calling it is safe from several threads.

    Attributes:
        config: the experiment.
        step: of the checkpoint.
        size: (height, width) of the images that the network was trained on.
        calibrated: what makes predicted edges fit for a decoder; that of the run, or the neutral
            one where it has none.
        is_calibrated: whether it is that of the run.
        cut: what made the labels, None if that is not known; predicted depth is cut by it.
    """

    def __init__(self, workdir: str | pathlib.Path, *, size: tuple[int, int] | None = None):
        """Restores a run.

        Args:
            workdir: its folder.
            size: (height, width) of the images it was trained on; only for runs on a data set of a
                configuration of one's own that is no longer there.

        Raises:
            FileNotFoundError: if the folder holds no run or no finished checkpoint.
            ValueError: if the run's network does not see RGB, if its files are damaged or of
                another version, or if the size is not known.
        """
        folder = pathlib.Path(workdir)
        self.config = experiment.load(folder)
        self._model: Any = self.config.model.make(self.config.objective.channels)
        if self._model.INPUT_CHANNELS != 3:
            raise ValueError(
                f"{workdir} holds a network that sees depth; one that sees RGB alone was expected"
            )
        found = self.config.data.source.size() if size is None else size
        if found is None:
            raise ValueError(
                f"what size {workdir} was trained at is not known, since its data set, built with "
                "a configuration of its own, is not there; pass it, as in size=(480, 640)"
            )
        if min(found) < LEAST_SIDE_PX:
            raise ValueError(f"size={found}: at least {LEAST_SIDE_PX} pixels a side were expected")
        self.size = found
        self.step, variables = checkpoints.load_newest(folder)
        self._variables = jax.device_put(variables)
        self.cut = self.config.data.source.segmentations().get(self.config.data.labels)
        path = folder / run_report.CALIBRATION_FILE
        self.is_calibrated = path.exists()
        self.calibrated = (
            calibration.load(path) if self.is_calibrated else calibration.Calibration()
        )
        self._apply = jax.jit(self._forward)
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> ImagePrediction:
        """Predicts one image.

        Args:
            image: `[H, W, 3]` uint8 RGB of any size.

        Raises:
            ValueError: if it is something else, or the network's output is not finite.
        """
        (output,) = self.run([self.prepare(image)])
        return self.finish(output, image.shape[:2])

    @property
    def predicts_edges(self) -> bool:
        """Whether the run predicts frontiers, rather than depth alone."""
        shape = jax.ShapeDtypeStruct((1, *self.size, 3), np.uint8)
        return jax.eval_shape(self._forward, self._variables, shape).edges is not None

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Brings an image to the size that the network sees, `[h, w, 3]` uint8."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(
                f"an image of {image.dtype} {image.shape}; uint8 [H, W, 3], RGB, was expected"
            )
        height, width = seen_size(image.shape[:2], self.size)
        if (height, width) != image.shape[:2]:
            shrinks = height * width < image.shape[0] * image.shape[1]
            # The builder of the training images shrinks by area too.
            rule = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = np.asarray(cv2.resize(image, (width, height), interpolation=rule))
        return image

    def run(self, prepared: Sequence[np.ndarray], *, pad_to: int = 0) -> list[Output]:
        """Runs the network on images of one size.

        Args:
            prepared: what `prepare` returned.
            pad_to: least size of the batch, so that a last, smaller one is not compiled anew.
        """
        missing = max(pad_to - len(prepared), 0)
        batch = np.stack([*prepared, *[np.zeros_like(prepared[0])] * missing])
        with self._lock:  # Two threads would compile the same thing.
            found = self._apply(self._variables, batch)
        depth, logits, classes = (
            None if value is None else np.asarray(value)
            for value in (found.depth, found.edges, found.classes)
        )
        return [
            Output(
                depth_m=None if depth is None else depth[index],
                edges=None if logits is None else logits[index],
                classes=None if classes is None else classes[index],
            )
            for index in range(len(prepared))
        ]

    def finish(self, output: Output, size: tuple[int, ...]) -> ImagePrediction:
        """Cuts an output into regions and brings everything to the image's (height, width).

        Raises:
            ValueError: if the output is not finite.
        """
        depth_m, probabilities, classes, labels = output.depth_m, None, output.classes, None
        if depth_m is not None and not np.isfinite(depth_m).all():
            raise ValueError("the predicted depth is not finite: the network has diverged")
        if output.edges is not None:
            scored = self.calibrated(edge_logits.from_edge_head(output.edges))
            probabilities = np.zeros(output.edges.shape, np.float32)
            probabilities[:, :-1, 0], probabilities[:-1, :, 1] = scored.probabilities
            labels = self.calibrated.decoder(scored)
        elif depth_m is not None and self.cut is not None:
            millimetres = np.clip(np.round(depth_m * units.MM_PER_M), 1, 65535)
            labels = self.cut(millimetres.astype(np.uint16))
        if classes is None and labels is not None:
            classes = frontier_classes.encode(labels)
        return _resized(ImagePrediction(depth_m, probabilities, classes, labels), size)

    def _forward(self, variables: Any, image: jax.Array) -> Any:
        nothing = jnp.zeros(image.shape[:3])
        batch = Batch(
            image=image,
            depth=nothing,
            filled_depth=nothing,
            frontier=nothing.astype(jnp.uint8),
            filled=nothing.astype(bool),
            valid=jnp.ones(len(image), bool),
        )
        objective = self.config.objective
        _, prediction = steps.predict(variables, batch, model=self._model, objective=objective)
        return prediction


def seen_size(size: tuple[int, ...], trained: tuple[int, int]) -> tuple[int, int]:
    """Returns the (height, width) at which a network sees an image.

    Args:
        size: (height, width) of the image.
        trained: that of the images that the network was trained on.

    Raises:
        ValueError: if the image is a strip.
    """
    height, width = size
    if max(size) > MOST_ASPECT * min(size):
        raise ValueError(
            f"an image of {height}x{width} pixels is a strip; sides of at most {MOST_ASPECT}:1 "
            "were expected"
        )
    if abs(height * trained[1] / (width * trained[0]) - 1) < SAME_ASPECT:
        return trained
    scale = math.sqrt(trained[0] * trained[1] / (height * width))
    rows, columns = (
        max(round(side * scale / SIDE_MULTIPLE_PX) * SIDE_MULTIPLE_PX, LEAST_SIDE_PX)
        for side in size
    )
    return rows, columns


def _resized(found: ImagePrediction, size: tuple[int, ...]) -> ImagePrediction:
    """Brings a prediction to another (height, width)."""
    arrays = (found.depth_m, found.edges, found.classes, found.regions)
    shape = next(array.shape[:2] for array in arrays if array is not None)
    if shape == tuple(size):
        return found
    rows, columns = (
        np.floor((np.arange(new) + 0.5) * old / new).astype(int)
        for old, new in zip(shape, size, strict=True)
    )
    depth_m, probabilities, classes, labels = arrays
    if depth_m is not None:
        resized = cv2.resize(depth_m, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        depth_m = np.asarray(resized)
    if probabilities is not None:
        across = _between(probabilities[rows, :-1, 0], columns)
        along = _between(probabilities[:-1, columns, 1].T, rows).T
        probabilities = np.zeros((*size, 2), np.float32)
        probabilities[:, :-1, 0], probabilities[:-1, :, 1] = across, along
    if classes is not None:
        classes = _resized_classes(classes, rows, columns)
    if labels is not None:
        labels = frontier_classes.split_connected(labels[rows][:, columns])
    return ImagePrediction(depth_m, probabilities, classes, labels)


def _resized_classes(classes: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Keeps the bits of a class where the network's pixels meet."""
    bits = (classes[..., None] >> np.arange(4, dtype=np.uint8)) & np.uint8(1)
    resized = np.zeros((len(rows), len(columns)), np.uint8)
    near = {
        Side.RIGHT: _between(bits[rows, :-1, Side.RIGHT], columns),
        Side.LEFT: _between(bits[rows, 1:, Side.LEFT], columns),
        Side.DOWN: _between(bits[:-1, columns, Side.DOWN].T, rows).T,
        Side.UP: _between(bits[1:, columns, Side.UP].T, rows).T,
    }
    resized[:, :-1] |= near[Side.RIGHT] << np.uint8(Side.RIGHT)
    resized[:, 1:] |= near[Side.LEFT] << np.uint8(Side.LEFT)
    resized[:-1] |= near[Side.DOWN] << np.uint8(Side.DOWN)
    resized[1:] |= near[Side.UP] << np.uint8(Side.UP)
    return resized


def _between(values: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Takes the largest value of what lies between the sources of every two neighbours.

    Args:
        values: `[N, w-1]`, of the edges between the columns of the network.
        sources: `[W]`, the network's column of each column of the image, rising.

    Returns:
        `[N, W-1]`; 0 where both come from the same column.
    """
    if len(sources) < 2:
        return np.zeros((len(values), 0), values.dtype)
    last = sources[-1]
    padded = np.zeros((len(values), values.shape[1] + 1), values.dtype)
    padded[:, :last] = values[:, :last]
    largest = np.maximum.reduceat(padded, sources[:-1], axis=1)
    return np.where(sources[1:] > sources[:-1], largest, 0).astype(values.dtype)
