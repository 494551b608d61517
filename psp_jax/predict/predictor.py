"""Turns a trained run into a function that predicts depth, edges and regions of any RGB image.

    predict = psp_jax.load("runs/frontier_edges")
    result = predict(image)  # [H, W, 3] uint8
    print(result.regions.max() + 1, "regions")

An image is resized to as many pixels as the training images have, at its own aspect ratio, so that
objects keep the shapes and, for similar cameras, the sizes of training. Edges are decoded and depth
is segmented at that size, for which the calibration and the superpixel algorithms were tuned. Then
everything is resized to the image: depth by interpolation, regions by the nearest pixel.
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
from psp_jax.batch import Batch, Prediction
from psp_jax.io import files, units
from psp_jax.partition import calibration, edge_logits, frontier_classes, superpixels
from psp_jax.partition.frontier_classes import Side

SAME_ASPECT = 0.01  # 1296x968 colour belongs to 640x480 depth and differs by 0.4 %.
SIDE_MULTIPLE_PX = 8  # The trunk's stride. Fewer sizes need fewer compilations.
MIN_SIDE_PX = superpixels.MIN_SIDE_PX
MAX_ASPECT = 16  # Beyond it, the pyramid would pool a single row of cells.


@dataclasses.dataclass(frozen=True)
class DecodedPrediction:
    """The prediction of one image at the image's size; None is what the run does not predict.

    Attributes:
        depth_m: `[H, W]` float32 metres along the optical axis.
        edges: `[H, W, 2]` float32 calibrated probabilities of a cut edge, channel 0 between a pixel
            and its right neighbour, channel 1 between it and the one below; 0 at the border.
        classes: `[H, W]` uint8 frontier classes 0 to 15: those of the network, or of the regions
            where the network predicts depth alone.
        regions: `[H, W]` int32 labels, contiguous from 0, every region 4-connected: decoded from
            the edges, or else segmented from the depth by the algorithm of the training labels.
    """

    depth_m: np.ndarray | None = None
    edges: np.ndarray | None = None
    classes: np.ndarray | None = None
    regions: np.ndarray | None = None


class Predictor:
    """The newest checkpoint of a run as a function of an image; safe to call from several threads.

    Attributes:
        config: the experiment.
        step: step of the checkpoint.
        size: (height, width) of the training images.
        calibration: calibration of the predicted edges; neutral if the run has none.
        is_calibrated: whether the run has a calibration.
        segment: the algorithm of the training labels, which segments predicted depth; None if it
            is not known.
    """

    def __init__(self, workdir: str | pathlib.Path, *, size: tuple[int, int] | None = None):
        """Restores a run.

        Args:
            workdir: folder of the run.
            size: (height, width) of the training images; only needed if their data set was built
                with a custom configuration and no longer exists.

        Raises:
            FileNotFoundError: if the folder holds no run or no finished checkpoint.
            ValueError: if the network takes depth as input, if files are damaged or of another
                version, or if the size is not known.
        """
        folder = files.local_path(workdir)
        self.config = experiment.load(folder)
        self._model: Any = self.config.model.make(self.config.objective.channels)
        if self._model.INPUT_CHANNELS != 3:
            raise ValueError(
                f"{workdir}: expected a network that sees RGB, got one that sees depth"
            )
        trained = self.config.data.source.size() if size is None else size
        if trained is None:
            raise ValueError(
                f"{workdir}: the size of the training images is not known, since their data set "
                "was built with a custom configuration and does not exist; pass it, as in "
                "size=(480, 640)"
            )
        if min(trained) < MIN_SIDE_PX:
            raise ValueError(f"size: expected at least {MIN_SIDE_PX} pixels a side, got {trained}")
        self.size = trained
        self.step, variables = checkpoints.load_newest(folder)
        self._variables = jax.device_put(variables)
        self.segment = self.config.data.source.segmentations().get(self.config.data.labels)
        path = folder / calibration.FILE
        self.is_calibrated = path.exists()
        self.calibration = (
            calibration.load(path) if self.is_calibrated else calibration.Calibration()
        )
        self._apply = jax.jit(self._forward)
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> DecodedPrediction:
        """Predicts one image.

        Args:
            image: `[H, W, 3]` uint8 RGB of any size.

        Raises:
            ValueError: if it is something else, or the network's output is not finite.
        """
        (prediction,) = self.run([self.prepare(image)])
        return self.decode(prediction, image.shape[:2])

    @property
    def predicts_edges(self) -> bool:
        """Whether the run predicts edges, rather than depth alone."""
        shape = jax.ShapeDtypeStruct((1, *self.size, 3), np.uint8)
        return jax.eval_shape(self._forward, self._variables, shape).edges is not None

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image to the network's size, `[h, w, 3]` uint8."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(
                f"expected an RGB image, [H, W, 3] uint8, got {list(image.shape)} {image.dtype}"
            )
        height, width = network_size(image.shape[:2], self.size)
        if (height, width) != image.shape[:2]:
            shrinks = height * width < image.shape[0] * image.shape[1]
            # The builder of the training images also shrinks by area.
            interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = np.asarray(cv2.resize(image, (width, height), interpolation=interpolation))
        return image

    def run(self, prepared: Sequence[np.ndarray], *, pad_to: int = 0) -> list[Prediction]:
        """Runs the network on images of one size; returns a prediction on the host for each.

        Args:
            prepared: images that `prepare` returned.
            pad_to: minimal batch size, so that a smaller last batch needs no new compilation.
        """
        missing = max(pad_to - len(prepared), 0)
        batch = np.stack([*prepared, *[np.zeros_like(prepared[0])] * missing])
        with self._lock:  # Two threads would compile the same function.
            prediction = jax.device_get(self._apply(self._variables, batch))
        return [prediction[index] for index in range(len(prepared))]

    def decode(self, prediction: Prediction, size: tuple[int, ...]) -> DecodedPrediction:
        """Segments a prediction of one image into regions and resizes it to (height, width).

        Raises:
            ValueError: if the prediction is not finite.
        """
        depth_m, logits, classes = (
            None if array is None else np.asarray(array)
            for array in (prediction.depth, prediction.edges, prediction.classes)
        )
        probabilities = labels = None
        if depth_m is not None and not np.isfinite(depth_m).all():
            raise ValueError("the predicted depth is not finite: the network has diverged")
        if logits is not None:
            calibrated = self.calibration(edge_logits.from_edge_head(logits))
            probabilities = _edge_channels(*calibrated.probabilities)
            labels = self.calibration.decoder(calibrated)
        elif depth_m is not None and self.segment is not None:
            labels = self.segment(units.to_millimetres(depth_m, minimum=1))
        if classes is None and labels is not None:
            classes = frontier_classes.encode(labels)
        return _resized(DecodedPrediction(depth_m, probabilities, classes, labels), size)

    def _forward(self, variables: Any, image: jax.Array) -> Prediction:
        zeros = jnp.zeros(image.shape[:3])
        batch = Batch(
            image=image,
            depth=zeros,
            filled_depth=zeros,
            frontier=zeros.astype(jnp.uint8),
            filled=zeros.astype(bool),
            valid=jnp.ones(len(image), bool),
        )
        objective = self.config.objective
        return steps.predict(variables, batch, model=self._model, objective=objective)[1]


def network_size(size: tuple[int, ...], trained: tuple[int, int]) -> tuple[int, int]:
    """Returns the (height, width) at which the network sees an image.

    Args:
        size: (height, width) of the image.
        trained: (height, width) of the training images.

    Raises:
        ValueError: if the image is longer than `MAX_ASPECT` times its width.
    """
    height, width = size
    if max(size) > MAX_ASPECT * min(size):
        raise ValueError(
            f"expected sides of at most {MAX_ASPECT}:1, got an image of {height}x{width} pixels"
        )
    if abs(height * trained[1] / (width * trained[0]) - 1) < SAME_ASPECT:
        return trained
    scale = math.sqrt(trained[0] * trained[1] / (height * width))
    rows, columns = (
        max(round(side * scale / SIDE_MULTIPLE_PX) * SIDE_MULTIPLE_PX, MIN_SIDE_PX) for side in size
    )
    return rows, columns


def _resized(decoded: DecodedPrediction, size: tuple[int, ...]) -> DecodedPrediction:
    """Resizes a prediction to (height, width); regions stay 4-connected."""
    depth_m, edges, classes, labels = (
        decoded.depth_m, decoded.edges, decoded.classes, decoded.regions
    )  # fmt: skip
    shape = next(array.shape[:2] for array in vars(decoded).values() if array is not None)
    if shape == tuple(size):
        return decoded
    rows, columns = (
        np.floor((np.arange(new) + 0.5) * old / new).astype(int)
        for old, new in zip(shape, size, strict=True)
    )
    if depth_m is not None:
        depth_m = np.asarray(cv2.resize(depth_m, size[::-1], interpolation=cv2.INTER_LINEAR))
    if edges is not None:
        across = _between(edges[rows, :-1, 0], columns)
        along = _between(edges[:-1, columns, 1].T, rows).T
        edges = _edge_channels(across, along)
    if classes is not None:
        source, classes = classes, np.zeros(size, np.uint8)
        classes[:, :-1] |= _between(source[rows, :-1] & Side.RIGHT.mask, columns)
        classes[:, 1:] |= _between(source[rows, 1:] & Side.LEFT.mask, columns)
        classes[:-1] |= _between((source[:-1, columns] & Side.DOWN.mask).T, rows).T
        classes[1:] |= _between((source[1:, columns] & Side.UP.mask).T, rows).T
    if labels is not None:
        labels = frontier_classes.split_connected(labels[rows][:, columns])
    return DecodedPrediction(depth_m, edges, classes, labels)


def _edge_channels(across: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Stacks `[H, W-1]` and `[H-1, W]` edges as `[H, W, 2]` float32, 0 at the border."""
    edges = np.zeros((len(across), along.shape[1], 2), np.float32)
    edges[:, :-1, 0], edges[:-1, :, 1] = across, along
    return edges


def _between(values: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Takes the maximum over the edges between the source columns of neighbouring columns.

    Args:
        values: `[N, w-1]`, of the edges between the columns of the network.
        sources: `[W]`, the network's column of each column of the image, ascending.

    Returns:
        `[N, W-1]`; 0 where both neighbours come from the same column.
    """
    if len(sources) < 2:
        return np.zeros((len(values), 0), values.dtype)
    last = sources[-1]
    padded = np.zeros((len(values), values.shape[1] + 1), values.dtype)
    padded[:, :last] = values[:, :last]
    largest = np.maximum.reduceat(padded, sources[:-1], axis=1)
    return np.where(sources[1:] > sources[:-1], largest, 0).astype(values.dtype)
