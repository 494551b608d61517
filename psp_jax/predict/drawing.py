"""Draws predictions for eyes: outlines, regions in distinct colours, and coloured depth."""

from typing import NamedTuple

import cv2
import numpy as np

from psp_jax.partition import merging
from psp_jax.predict import upsampling

LINE_WIDTH = 1 / 400  # Of outlines, as a share of the image's longer side,
LEAST_LINE_PX = 1.5  # and in pixels.
CASING = 1.9  # Width of the dark line below, which shows on bright surfaces, as a factor.
LINE_COLOR, CASING_COLOR, TINTED_LINE_COLOR = (255, 214, 0), (20, 20, 20), (255, 255, 255)
CASING_OPACITY = 0.55
SMOOTH_SIDE_PX = 1800  # Smaller images are drawn at a multiple of their size, then reduced.
MOST_ENLARGED = 4
COLORING_SIDE_PX = 800  # Of larger images, neighbours are found in a part of the pixels.
TINT = 0.6  # Opacity of the colours of regions.
DEPTH_PERCENTILES = (1, 99)  # Of the depth that the ends of the colour map mark.
LEAST_DEPTH_M = 0.01  # An untrained network may predict less than 0.
# Distinct at first sight and in both light and dark surroundings.
PALETTE = np.array(
    [
        (230, 57, 70), (29, 120, 200), (255, 183, 3), (42, 157, 85), (155, 93, 229),
        (251, 133, 0), (0, 187, 199), (241, 91, 181), (139, 195, 74), (121, 85, 72),
        (63, 81, 181), (255, 138, 128), (0, 121, 107), (205, 180, 219),
    ],
    np.uint8,
)  # fmt: skip


class Lines(NamedTuple):
    """Anti-aliased boundaries of regions.

    Attributes:
        line: `[H, W]` float32 opacity.
        casing: `[H, W]` float32 opacity of the wider lines below them.
    """

    line: np.ndarray
    casing: np.ndarray


def outlined(image: np.ndarray, lines: Lines) -> np.ndarray:
    """Draws the boundaries of regions over an image.

    Args:
        image: `[H, W, 3]` uint8 RGB.
        lines: what `boundaries` returned for its regions.

    Returns:
        `[H, W, 3]` uint8 RGB.
    """
    drawn = _blended(image, np.array(CASING_COLOR, np.uint8), CASING_OPACITY * lines.casing)
    return _blended(drawn, np.array(LINE_COLOR, np.uint8), lines.line)


def tinted(image: np.ndarray, regions: np.ndarray, lines: Lines) -> np.ndarray:
    """Paints regions in distinct colours over the image in gray, with thin outlines.

    Args:
        image: `[H, W, 3]` uint8 RGB.
        regions: `[H, W]` int32 labels, contiguous from 0.
        lines: what `boundaries` returned for them.

    Returns:
        `[H, W, 3]` uint8 RGB.
    """
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colours = region_colors(regions)[regions]
    mixed = cv2.addWeighted(colours, TINT, gray, 1 - TINT, 0)
    return _blended(np.asarray(mixed), np.array(TINTED_LINE_COLOR, np.uint8), 0.9 * lines.line)


def region_colors(regions: np.ndarray) -> np.ndarray:
    """Chooses colours that differ between regions that touch; returns `[R, 3]` uint8 RGB."""
    count = int(regions.max()) + 1
    step = max(
        max(regions.shape) // COLORING_SIDE_PX, 1
    )  # Regions that touch in a point may agree.
    regions = regions[::step, ::step]
    lab = cv2.cvtColor(PALETTE[None], cv2.COLOR_RGB2LAB)[0].astype(np.float32)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for first, second in merging.adjacency(regions, count)[0].tolist():
        neighbours[first].append(second)
        neighbours[second].append(first)
    chosen, used = np.full(count, -1), np.zeros(len(PALETTE))
    for number in np.argsort(-np.bincount(regions.ravel(), minlength=count), kind="stable"):
        near = [chosen[other] for other in neighbours[number] if chosen[other] >= 0]
        contrast = apart[:, near].min(axis=1, initial=60.0)
        chosen[number] = np.argmax(contrast - 2.0 * used)
        used[chosen[number]] += 1
    return PALETTE[chosen]


def depth_range(depth_m: np.ndarray) -> tuple[float, float]:
    """Returns the nearest and the farthest depth that colours tell apart, in metres."""
    near, far = np.maximum(np.percentile(depth_m, DEPTH_PERCENTILES), LEAST_DEPTH_M)
    return float(near), float(far)


def coloured_depth(
    depth_m: np.ndarray, range_m: tuple[float, float] | None = None, *, bar: bool = False
) -> np.ndarray:
    """Colours depth from near (bright) to far (dark) with the perceptual colour map "inferno".

    Equal ratios of depth get equal differences of colour, so that far background does not take the
    colours away from what is near.

    Args:
        depth_m: `[H, W]` float32 metres.
        range_m: nearest and farthest depth; None for those of `depth_range`.
        bar: whether a colour bar is added to the right.

    Returns:
        `[H, W, 3]` uint8 RGB, wider with a bar.
    """
    near, far = range_m or depth_range(depth_m)
    share = np.log(np.clip(depth_m, near, far) / near) / max(np.log(far / near), 1e-9) * 255
    picture = _mapped(255 - share.astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.hstack([picture, _bar(len(picture), near, far)]) if bar else picture


def coloured_probability(probability: np.ndarray) -> np.ndarray:
    """Colours `[H, W]` probabilities of a frontier, `[H, W, 3]` uint8 RGB.

    Brightness follows the square root: a frontier known to a pixel or two has less than 0.5.
    """
    return _mapped((255 * np.sqrt(probability)).astype(np.uint8), cv2.COLORMAP_MAGMA)


def coloured_classes(classes: np.ndarray) -> np.ndarray:
    """Colours `[H, W]` frontier classes, interiors dark, `[H, W, 3]` uint8 RGB."""
    hues = np.arange(16, dtype=np.uint8) * 11
    hsv = np.stack([hues, np.full_like(hues, 170), np.full_like(hues, 235)], axis=-1)
    colours = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]
    colours[0] = 25
    return colours[classes]


def boundaries(regions: np.ndarray) -> Lines:
    """Finds the lines between regions, `[H, W]` int32 labels, contiguous from 0."""
    height, width = regions.shape
    longer = max(height, width)
    times = min(max(SMOOTH_SIDE_PX // longer, 1), MOST_ENLARGED)
    labels = regions
    if times > 1:
        labels = upsampling.smoothed(regions, (height * times, width * times))
    apart = np.ones(labels.shape, np.uint8)  # 0 on both sides of a boundary.
    across, along = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    apart[:, 1:][across] = apart[:, :-1][across] = 0
    apart[1:][along] = apart[:-1][along] = 0
    if apart.all():
        none = np.zeros(regions.shape, np.float32)
        return Lines(none, none)
    from_line = cv2.distanceTransform(apart, cv2.DIST_L2, cv2.DIST_MASK_5)
    radius = times * max(LINE_WIDTH * longer, LEAST_LINE_PX) / 2
    masks = [
        cv2.resize(
            np.clip(factor * radius - from_line, 0, 1), (width, height),
            interpolation=cv2.INTER_AREA,
        )
        for factor in (1.0, CASING)
    ]  # fmt: skip
    return Lines(*map(np.asarray, masks))


def _blended(image: np.ndarray, colour: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Paints a colour over an image with an opacity `[H, W]`, where that is above 0."""
    drawn = image.copy()
    touched = opacity > 0
    share = opacity[touched][:, None]
    drawn[touched] = np.rint(share * colour + (1 - share) * image[touched]).astype(np.uint8)
    return drawn


def _mapped(levels: np.ndarray, colour_map: int) -> np.ndarray:
    """Applies one of OpenCV's colour maps to `[H, W]` uint8; returns RGB."""
    return np.ascontiguousarray(cv2.applyColorMap(levels, colour_map)[..., ::-1])


def _bar(height: int, near: float, far: float) -> np.ndarray:
    """Draws a colour bar with five depths in metres, `[height, w, 3]` uint8 RGB."""
    scale = max(height / 480, 0.35)
    width, pad = round(86 * scale), round(10 * scale)
    bar = np.full((height, width, 3), 255, np.uint8)
    ramp = np.linspace(255, 0, height - 2 * pad).astype(np.uint8)
    bar[pad : height - pad, pad : 3 * pad] = _mapped(ramp[:, None], cv2.COLORMAP_INFERNO)
    for share in np.linspace(0, 1, 5):
        y = round(pad + share * (height - 2 * pad - 1))
        text_y = min(max(y + round(5 * scale), round(14 * scale)), height - 2)
        cv2.putText(
            bar, f"{near * (far / near) ** share:.2f} m", (round(3.5 * pad), text_y),
            cv2.FONT_HERSHEY_SIMPLEX, 0.38 * scale, (30, 30, 30), 1, cv2.LINE_AA,
        )  # fmt: skip
    return bar
