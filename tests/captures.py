"""Reads the captured RGB-D frames next to the checkout, where they are."""

import pathlib
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "shared" / "rgbd"
PATHS = [
    path
    for path in sorted(FOLDER.glob("*/depth/*.png"))
    if not path.parts[-3].endswith("_SYNTH")  # Rendered.
]
needed = pytest.mark.skipif(not PATHS, reason=f"no captured depth frames in {FOLDER}")


def depth_frames(size: tuple[int, int] | None = None, every: int = 1) -> Iterator[np.ndarray]:
    """Yields every N-th captured depth frame, `[H, W]` uint16 millimetres, 0 for no reading.

    Args:
        size: height and width; frames of other sizes are left out.
        every: N.
    """
    for path in PATHS[::every]:
        depth_mm = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert depth_mm is not None, f"{path} can't be read"
        if size is None or depth_mm.shape == size:
            yield depth_mm
