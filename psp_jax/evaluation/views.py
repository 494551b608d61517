"""Averages the predictions of an image over tiles, mirror images and scales.

Logits and depth are averaged, not probabilities, as in the published protocols of PSPNet's authors
(hszhao/semseg, test.py, averages probabilities; the Caffe version averages scores).
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from psp_jax.batch import Prediction
from psp_jax.io import command_line
from psp_jax.partition import frontier_classes, superpixels

SAME_ASPECT = 0.01  # 1296x968 colour belongs to 640x480 depth and differs by 0.4 %.
SIDE_MULTIPLE_PX = 8  # The trunk's stride. Fewer sizes need fewer compilations.
MIN_SIDE_PX = superpixels.MIN_SIDE_PX
MAX_ASPECT = 16  # Beyond it, the pyramid would pool a single row of cells.
MAX_UNTILED_PX = 1 << 22  # Pixels of the network's image: larger ones take gigabytes.
NATIVE = "native"
_LEAST_WEIGHT = 1e-4  # Of a pixel at the border of a tile, so that no sum of weights is 0.

# Maps `[B, s * h, s * w, 3]` uint8 images of one size to predictions `[B, h, w]`, on the host.
Network = Callable[[np.ndarray], Prediction]


@dataclasses.dataclass(frozen=True)
class Views:
    """Size at which a network sees images, and the views of an image that are averaged.

    Attributes:
        size: (height, width) with the number of pixels that predictions have before they are
            resized to the image, at the image's aspect ratio; "native" for those of the image; None
            for those of the training labels.
        tiles: whether the network sees overlapping tiles of the training size instead of the whole
            image.
        flip: whether the mirror image is averaged, too.
        scales: factors of the size whose predictions are averaged.
    """

    size: tuple[int, int] | str | None = None
    tiles: bool = False
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of its range."""
        if isinstance(self.size, str) and self.size != NATIVE:
            raise ValueError(f"size: expected (height, width) or {NATIVE!r}, got {self.size!r}")
        if isinstance(self.size, tuple) and min(self.size) < MIN_SIDE_PX:
            raise ValueError(
                f"size: expected at least {MIN_SIDE_PX} pixels a side, got {self.size}"
            )
        if not self.scales or not all(0.1 <= scale <= 10 for scale in self.scales):
            raise ValueError(f"scales: expected numbers from 0.1 to 10, got {self.scales}")

    @property
    def is_single(self) -> bool:
        """Whether the network sees an image once and as a whole."""
        return not (self.tiles or self.flip) and len(self.scales) == 1


def add_flags(parser: command_line.Parser) -> None:
    """Adds the flags of the views that are averaged, `--flip` and `--scales`."""
    parser.add_argument("--flip", action="store_true", help="average with the mirror image")
    parser.add_argument(
        "--scales",
        type=command_line.positive_floats,
        default=(1.0,),
        metavar="S,...",
        help="average over these factors of the size, such as 0.75,1,1.5 (default: 1)",
    )


def label_size(
    size: tuple[int, int], trained: tuple[int, int], views: Views, color_scale: int
) -> tuple[int, int]:
    """Returns the (height, width) of the predictions of an image at scale 1.

    Args:
        size: (height, width) of the image.
        trained: (height, width) of the training labels.
        views: size and scales.
        color_scale: pixels of the network's image along a side of a pixel of the labels.

    Raises:
        ValueError: if the image is longer than `MAX_ASPECT` times its width, or needs tiles.
    """
    height, width = size
    if max(size) > MAX_ASPECT * min(size):
        raise ValueError(
            f"expected sides of at most {MAX_ASPECT}:1, got an image of {height}x{width} pixels"
        )
    if views.size == NATIVE:
        wanted = height / color_scale, width / color_scale
    else:
        wanted = views.size if isinstance(views.size, tuple) else trained
        if abs(height * wanted[1] / (width * wanted[0]) - 1) >= SAME_ASPECT:
            factor = math.sqrt(wanted[0] * wanted[1] / (height * width))
            wanted = height * factor, width * factor
    label = wanted if wanted == trained else tuple(map(_side, wanted))
    pixels = label[0] * label[1] * (color_scale * max(views.scales)) ** 2
    if not views.tiles and pixels > MAX_UNTILED_PX:
        raise ValueError(
            f"expected at most {MAX_UNTILED_PX} pixels that the network sees at once, got "
            f"{pixels:.0f}; predict it in tiles (--tiles) or at a smaller size"
        )
    return int(label[0]), int(label[1])


def _side(pixels: float) -> int:
    return max(round(pixels / SIDE_MULTIPLE_PX) * SIDE_MULTIPLE_PX, MIN_SIDE_PX)


def predict(
    images: np.ndarray,
    label: tuple[int, int],
    views: Views,
    network: Network,
    *,
    tile: tuple[int, int],
    color_scale: int,
) -> Prediction:
    """Predicts images of one size from all their views.

    Args:
        images: `[B, H, W, 3]` uint8, at the largest of the scales.
        label: (height, width) of the predictions.
        views: the views.
        network: predicts a batch.
        tile: (height, width) of the predictions of a tile.
        color_scale: pixels of the images along a side of a pixel of the predictions.

    Returns:
        `[B, h, w]` NumPy arrays. Classes are None if views are averaged: those of the regions are
        then the only ones.
    """
    predicted = []
    for scale in views.scales:
        size = label if scale == 1 else (_side(label[0] * scale), _side(label[1] * scale))
        scaled = _resized(images, (color_scale * size[0], color_scale * size[1]))
        for mirrored in (False, True)[: 1 + views.flip]:
            seen = scaled[:, :, ::-1] if mirrored else scaled
            if views.tiles:
                one = _tiled(seen, size, tile, color_scale, network)
            else:
                one = network(np.ascontiguousarray(seen))
            predicted.append(resize_logits(mirror(one) if mirrored else one, label))
    return predicted[0] if views.is_single else _mean(predicted)


def mirror(prediction: Prediction) -> Prediction:
    """Mirrors a batch of predictions from left to right."""
    depth, edges, classes = prediction.depth, prediction.edges, prediction.classes
    if depth is not None:
        depth = depth[:, :, ::-1]
    if edges is not None:
        edges = np.array(edges[:, :, ::-1])
        # The edge to the right of a pixel is the one to the left of its mirror image.
        edges[:, :, :-1, 0] = edges[:, :, 1:, 0]
    if classes is not None:
        classes = frontier_classes.mirror(np.asarray(classes))
    return Prediction(depth, edges, classes)


def resize_logits(prediction: Prediction, size: tuple[int, int]) -> Prediction:
    """Resizes the depth and the edge logits of a batch to (height, width).

    Where edges get fewer, the largest logit of those in between is kept; where they get more,
    logits are interpolated. Classes are dropped unless the size stays.
    """
    given = next(array for array in (prediction.edges, prediction.depth) if array is not None)
    if given.shape[1:3] == size:
        return prediction
    depth = edges = None
    if prediction.depth is not None:
        depth = np.stack([_interpolated(each, size) for each in np.asarray(prediction.depth)])
    if prediction.edges is not None:
        edges = np.stack([_edges_at(each, size) for each in np.asarray(prediction.edges)])
    return Prediction(depth, edges)


def starts(length: int, window: int) -> list[int]:
    """Returns the offsets of windows at least half overlapping; the last ends with the image."""
    count = 1 + max(math.ceil((length - window) / (window / 2)), 0)
    return np.linspace(0, max(length - window, 0), count).round().astype(int).tolist()


def _edges_at(edges: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes `[h, w, 2]` edge logits to (height, width), each channel along its direction."""
    channels = []
    for channel, axis in ((edges[:, :-1, 0], 1), (edges[:-1, :, 1], 0)):
        # Edges lie between pixels: number i at i + 1 of the side's length.
        old, new = channel.shape[axis] + 1, size[axis]
        if new < old:
            target = np.clip(np.rint(np.arange(1, old) * new / old), 1, new - 1) - 1
            first = np.searchsorted(target, np.arange(new - 1))
            resized = np.maximum.reduceat(channel, first, axis=axis)
        else:
            places = np.arange(1, new) * old / new - 1
            low = np.clip(np.floor(places), 0, old - 2).astype(np.int64)
            high = np.minimum(low + 1, old - 2)
            share = np.clip(places - low, 0, 1).astype(np.float32)
            share = share if axis else share[:, None]
            resized = (1 - share) * channel.take(low, axis) + share * channel.take(high, axis)
        across = (size[0], new - 1) if axis else (new - 1, size[1])
        channels.append(_interpolated(resized, across))
    resized = np.zeros((*size, 2), np.float32)
    resized[:, :-1, 0], resized[:-1, :, 1] = channels
    return resized


def _tiled(
    images: np.ndarray,
    size: tuple[int, int],
    tile: tuple[int, int],
    color_scale: int,
    network: Network,
) -> Prediction:
    """Predicts images in overlapping tiles; weights fall towards the borders of a tile."""
    rows, columns = min(tile[0], size[0]), min(tile[1], size[1])
    weights = _tent(rows)[:, None] * _tent(columns)
    total: dict[str, np.ndarray] = {}
    weight = np.zeros((*size, 1), np.float32)
    edge_weight = np.zeros((*size, 2), np.float32)
    edge_weights = np.stack([weights, weights], axis=-1)
    edge_weights[:, -1, 0] = edge_weights[-1, :, 1] = 0  # These edges point out of the tile.
    for top in starts(size[0], rows):
        for left in starts(size[1], columns):
            window = slice(top, top + rows), slice(left, left + columns)
            seen = [slice(color_scale * part.start, color_scale * part.stop) for part in window]
            one = network(np.ascontiguousarray(images[:, *seen]))
            for name, array, share in (
                ("depth", one.depth, weights),
                ("edges", one.edges, edge_weights),
            ):
                if array is not None:
                    shape = (len(images), *size, *array.shape[3:])
                    sums = total.setdefault(name, np.zeros(shape, np.float32))
                    sums[:, *window] += share * np.asarray(array)
            weight[window] += weights[..., None]
            edge_weight[window] += edge_weights
    if "depth" in total:
        total["depth"] /= weight[..., 0]
    if "edges" in total:
        total["edges"] /= np.maximum(edge_weight, _LEAST_WEIGHT**2)
    return Prediction(**total)


def _tent(length: int) -> np.ndarray:
    """Returns `[length]` float32 weights that rise linearly to the middle."""
    place = np.arange(length, dtype=np.float32) + 0.5
    return np.maximum(np.minimum(place, length - place) / (length / 2), _LEAST_WEIGHT)


def _mean(predictions: Sequence[Prediction]) -> Prediction:
    def mean(arrays: list) -> np.ndarray | None:
        if arrays[0] is None:
            return None
        return np.asarray(np.mean(np.stack(arrays), axis=0, dtype=np.float32))

    return Prediction(mean([p.depth for p in predictions]), mean([p.edges for p in predictions]))


def _resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if images.shape[1:3] == size:
        return images
    return np.stack([resize_image(image, size) for image in images])


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes `[H, W, 3]` uint8 to (height, width)."""
    if image.shape[:2] == size:
        return image
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    # The builder of the training images also shrinks by area.
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size[::-1], interpolation=interpolation))


def _interpolated(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if values.shape == size:
        return np.asarray(values)
    return np.asarray(cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR))
