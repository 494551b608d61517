"""Fits the images of a frame to the size of a data set: crops them at the centre and resizes them.

Depth is resized to the nearest reading, since a mean of two surfaces is on neither; colour is
averaged. A proportion is width over height.
"""

import dataclasses

import cv2
import numpy as np

# Sizes whose proportions differ by less count as equal: ScanNet's 1296x968 and 640x480 do by 0.4 %.
TOLERANCE = 0.01

Size = tuple[int, int]  # (height, width) in pixels.


class OtherProportions(ValueError):
    """Depth, colour and data set have different proportions; the message says which."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """A way to fit the images of a frame.

    Attributes:
        depth_crop, color_crop: (height, width) of the parts that are used, at the centre.
        size, color_size: (height, width) that they are resized to.
    """

    depth_crop: Size
    color_crop: Size
    size: Size
    color_size: Size

    def depth(self, depth_mm: np.ndarray) -> np.ndarray:
        """Crops and resizes `[H, W]` uint16 millimetres; 0 stays no reading."""
        cropped = _centre(depth_mm, self.depth_crop)
        return _resized(cropped, self.size, cv2.INTER_NEAREST_EXACT)

    def color(self, pixels: np.ndarray) -> np.ndarray:
        """Crops and resizes `[H, W, 3]` uint8."""
        cropped = _centre(pixels, self.color_crop)
        return _resized(cropped, self.color_size, cv2.INTER_AREA)

    def intrinsics(self, matrix: np.ndarray, size: Size) -> np.ndarray:
        """Returns the `[3, 3]` float32 camera matrix of the fitted depth.

        Args:
            matrix: that of depth images before they are cropped; centres of pixels are whole
                numbers.
            size: (height, width) of those images.
        """
        crop = _crop(size, self.size)
        if size == self.size:
            return matrix
        fitted = np.array(matrix, np.float64)
        for row, axis in ((0, 1), (1, 0)):
            scale = self.size[axis] / crop[axis]
            offset = (size[axis] - crop[axis]) // 2
            fitted[row, :2] *= scale
            fitted[row, 2] = (matrix[row, 2] - offset + 0.5) * scale - 0.5
        return fitted.astype(np.float32)


def fit(depth: Size, color: Size, size: Size, *, color_size: Size, crop: bool) -> Fit:
    """Decides how the images of a frame are fitted.

    Args:
        depth, color: (height, width) of the images of the frame.
        size: (height, width) of the depth of the data set.
        color_size: (height, width) of its colour, of the same proportions.
        crop: whether images of other proportions are cropped.

    Raises:
        OtherProportions: if the proportions differ and `crop` is False.
    """
    if crop:
        return Fit(_crop(depth, size), _crop(color, size), size, color_size)
    for name, other in (("its colour", color), ("--size", size)):
        if not _same(depth, other):
            raise OtherProportions(
                f"depth has {_text(depth)} pixels, {name} {_text(other)}; --crop=center crops both "
                "to the proportions of --size"
            )
    return Fit(depth, color, size, color_size)


def _crop(image: Size, size: Size) -> Size:
    """Returns the largest (height, width) in an image with the proportions of `size`."""
    if _same(image, size):
        return image
    (height, width), (rows, columns) = image, size
    if width * rows > height * columns:
        return height, max(round(height * columns / rows), 1)
    return max(round(width * rows / columns), 1), width


def _same(first: Size, second: Size) -> bool:
    ratio = (first[1] * second[0]) / (first[0] * second[1])
    return abs(ratio - 1) < TOLERANCE


def _resized(image: np.ndarray, size: Size, interpolation: int) -> np.ndarray:
    if image.shape[:2] == size:
        return image
    return cv2.resize(image, size[::-1], interpolation=interpolation)


def _centre(image: np.ndarray, crop: Size) -> np.ndarray:
    top, left = ((full - part) // 2 for full, part in zip(image.shape, crop, strict=False))
    return image[top : top + crop[0], left : left + crop[1]]


def _text(size: Size) -> str:
    return "x".join(map(str, size))
