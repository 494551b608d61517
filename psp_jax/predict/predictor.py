"""Turns a trained model into a function that predicts depth and regions of any RGB image.

    predict = psp_jax.load()
    result = predict("photo.jpg")
    print(result.regions.max() + 1, "regions")
    result.save("predicted")

An image is resized to as many pixels as the training images have, at its own aspect ratio, so that
objects keep the shapes and, for similar cameras, the sizes of training. Edges are decoded and depth
is segmented at that size, for which the calibration and the superpixel algorithms were tuned. Then
everything is resized to the image, regions with smooth boundaries. `views.Views` has other sizes.
"""

import dataclasses
import os
import pathlib
import threading
from collections.abc import Sequence
from typing import Any, overload

import jax
import numpy as np

from psp_jax import steps
from psp_jax.batch import Prediction
from psp_jax.evaluation import views
from psp_jax.evaluation.views import MIN_SIDE_PX, Views
from psp_jax.io import files, units
from psp_jax.partition import calibration, edge_logits
from psp_jax.partition.decode import Multicut
from psp_jax.predict import frames, upsampling
from psp_jax.predict.results import Coarse, Result
from psp_jax.weights import pretrained

BATCH_SIZE = 4  # Images of one size that the network sees at once.
# What a predictor takes: a path of an image, or `[H, W, 3]` uint8 RGB.
Image = str | os.PathLike | np.ndarray


class Predictor:
    """A trained model as a function of an image; safe to call from several threads.

    Attributes:
        config: the experiment.
        step: step of its variables.
        size: (height, width) of the training labels, in pixels.
        color_scale: pixels of the network's image along a side of a pixel of the labels.
        views: size at which images are seen, and views that are averaged.
        calibration: calibration of the predicted edges; neutral if the model has none. It was
            fitted at the training size and is used at every other size as it is.
        is_calibrated: whether the model has a calibration.
        segment: the algorithm of the training labels, which segments predicted depth; None if it
            is not known.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        *,
        size: tuple[int, int] | str | None = None,
        tiles: bool = False,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
    ):
        """Loads a model.

        Args:
            model: workdir of a run, or folder of an exported model; None for the one that ships.
            size: (height, width) with the number of pixels of the predictions, at the image's
                aspect ratio; "native" for those of the image; None for those of the training
                labels.
            tiles: whether the network sees overlapping tiles of the training size.
            flip: whether mirror images are averaged, too.
            scales: factors of the size whose predictions are averaged.

        Raises:
            FileNotFoundError: if the folder holds no model, or none ships.
            ValueError: if the network takes depth as input, if files are damaged or of another
                version, if an option is out of its range, or if no size is known.
        """
        self.views = Views(size, tiles, flip, tuple(scales))
        folder = pretrained.locate(model)
        loaded = pretrained.load(folder)
        self.config, self.step, self.color_scale = loaded.config, loaded.step, loaded.color_scale
        self._model: Any = self.config.model.make(self.config.objective.channels)
        if self._model.INPUT_CHANNELS != 3:
            raise ValueError(f"{folder}: expected a network that sees RGB, got one that sees depth")
        self.size = _trained_size(folder, loaded.size, size)
        self._variables = jax.device_put(loaded.variables)
        self.segment = self.config.data.source.segmentations().get(self.config.data.labels)
        self.is_calibrated = loaded.calibration is not None
        self.calibration = loaded.calibration or calibration.Calibration()
        self._apply = jax.jit(self._forward)
        self._lock = threading.Lock()
        height, width = (self.color_scale * side for side in self.size)
        image = jax.ShapeDtypeStruct((1, height, width, 3), np.uint8)
        predicted = jax.eval_shape(self._forward, self._variables, image)
        self.predicts_edges = predicted.edges is not None
        self.predicts_depth = predicted.depth is not None

    @overload
    def __call__(self, image: str | os.PathLike | np.ndarray) -> Result: ...

    @overload
    def __call__(self, image: Sequence[Image]) -> list[Result]: ...

    def __call__(self, image: Image | Sequence[Image]) -> Result | list[Result]:
        """Predicts an image, or all of a list or batch of them.

        Args:
            image: path of an image of any format, or `[H, W, 3]` uint8 RGB of any size; or a list
                of either, or a batch `[B, H, W, 3]`.

        Returns:
            The result of an image; of a list or batch, a list of results, whose names differ: the
            paths below the common folder, `image_0` and so on for arrays.

        Raises:
            ValueError: if it is something else, or the network's output is not finite.
            OSError: if a file can't be read.
        """
        if isinstance(image, np.ndarray) and image.ndim == 4:
            image = list(image)
        if isinstance(image, list | tuple):
            return self._predict_all(image, [f"image_{index}" for index in range(len(image))])
        (result,) = self._predict_all([image], ["image"])
        return result

    def _predict_all(self, items: Sequence[Any], names: Sequence[str]) -> list[Result]:
        """Predicts images, those of one size in batches; `names` are those of arrays."""
        paths = [
            files.local_path(item) if isinstance(item, str | os.PathLike) else None
            for item in items
        ]
        names = _names(paths, names)
        pairs = zip(items, paths, strict=True)
        arrays = [_array(item) if path is None else _read(path) for item, path in pairs]
        prepared = [self.prepare(array) for array in arrays]
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, each in enumerate(prepared):
            by_shape.setdefault(each.shape, []).append(index)
        results: list[Any] = [None] * len(items)
        for indices in by_shape.values():
            size = min(len(indices), BATCH_SIZE)
            for start in range(0, len(indices), size):
                chosen = indices[start : start + size]
                predictions = self.run([prepared[index] for index in chosen], pad_to=size)
                for index, prediction in zip(chosen, predictions, strict=True):
                    results[index] = self.decode(
                        prediction, arrays[index], name=names[index], source=paths[index]
                    )
        return results

    @property
    def predicts_regions(self) -> bool:
        """Whether regions are predicted, as edges or from depth."""
        return self.predicts_edges or (self.predicts_depth and self.segment is not None)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Resizes an image to the network's size, at the largest scale; `[h, w, 3]` uint8.

        Raises:
            ValueError: if it is not `[H, W, 3]` uint8, or too long or too large.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(
                f"expected an RGB image, [H, W, 3] uint8, got {list(image.shape)} {image.dtype}"
            )
        size = image.shape[:2]
        label = views.label_size(size, self.size, self.views, self.color_scale)
        factor = self.color_scale * max(self.views.scales)
        return views.resize_image(image, (round(factor * label[0]), round(factor * label[1])))

    def run(self, prepared: Sequence[np.ndarray], *, pad_to: int = 0) -> list[Prediction]:
        """Runs the network on images of one size; returns a prediction on the host for each.

        Args:
            prepared: images that `prepare` returned.
            pad_to: minimal batch size, so that a smaller last batch needs no new compilation.
        """
        missing = max(pad_to - len(prepared), 0)
        batch = np.stack([*prepared, *[np.zeros_like(prepared[0])] * missing])
        factor = self.color_scale * max(self.views.scales)
        label = round(batch.shape[1] / factor), round(batch.shape[2] / factor)
        prediction = views.predict(
            batch, label, self.views, self._network, tile=self.size, color_scale=self.color_scale
        )
        return [prediction[index] for index in range(len(prepared))]

    def decode(
        self,
        prediction: Prediction,
        image: np.ndarray,
        *,
        name: str = "image",
        source: pathlib.Path | None = None,
    ) -> Result:
        """Segments a prediction of one image into regions, at the size of the prediction.

        Args:
            prediction: of one image, from `run`.
            image: `[H, W, 3]` uint8 RGB, to whose size the result is resized when it is read.
            name: of the result.
            source: file of the image, if there is one.

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
            probabilities = upsampling.edge_channels(*calibrated.probabilities)
            labels = self._decoder(calibrated.shape)(calibrated)
        elif depth_m is not None and self.segment is not None:
            labels = self.segment(units.to_millimetres(depth_m, minimum=1))
        return Result(name, image, Coarse(depth_m, probabilities, classes, labels), source=source)

    def _decoder(self, size: tuple[int, int]) -> Multicut:
        """Returns the calibrated decoder, with tiny regions the same share of an image."""
        decoder = self.calibration.decoder
        ratio = size[0] * size[1] / (self.size[0] * self.size[1])
        if abs(ratio - 1) < 0.1:
            return decoder
        return dataclasses.replace(decoder, tiny_px=max(round(decoder.tiny_px * ratio), 1))

    def _network(self, images: np.ndarray) -> Prediction:
        with self._lock:  # Two threads would compile the same function.
            return jax.device_get(self._apply(self._variables, images))

    def _forward(self, variables: Any, image: jax.Array) -> Prediction:
        return steps.predict_images(
            variables,
            image,
            model=self._model,
            objective=self.config.objective,
            color_scale=self.color_scale,
        )


def _trained_size(
    folder: pathlib.Path, known: tuple[int, int] | None, given: tuple[int, int] | str | None
) -> tuple[int, int]:
    """Returns the size of the training labels, or the given one if that is not known."""
    if known is None and isinstance(given, tuple):
        known = given
    if known is None:
        raise ValueError(
            f"{folder}: the size of the training images is not known, since their data set "
            "was built with a custom configuration and does not exist; pass it, as in "
            "size=(480, 640)"
        )
    if min(known) < MIN_SIDE_PX:
        raise ValueError(f"size: expected at least {MIN_SIDE_PX} pixels a side, got {known}")
    return known


def _names(paths: Sequence[pathlib.Path | None], others: Sequence[str]) -> list[str]:
    """Names images by their paths below the common folder, without suffix; others as given."""
    folders = [path.resolve().parent for path in paths if path]
    base = os.path.commonpath(folders) if folders else ""
    names = []
    for path, other in zip(paths, others, strict=True):
        name = path.resolve().relative_to(base).with_suffix("").as_posix() if path else other
        names.append(f"{name}_{len(names)}" if name in names else name)
    return names


def _array(image: Any) -> np.ndarray:
    if isinstance(image, np.ndarray):
        return image
    raise ValueError(
        f"expected a path or an RGB image, [H, W, 3] uint8, got {type(image).__name__}"
    )


def _read(path: pathlib.Path) -> np.ndarray:
    try:
        return frames.read_image(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
