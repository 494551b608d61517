"""Makes a page that shows predicted frames; any browser opens it from disk without a server.

A page opened from disk can show image files but not read their pixels, so the regions of a frame
come in a script, which is loaded when the frame is shown.
"""

import base64
import json
from collections.abc import Sequence
from typing import Any

import cv2
import jinja2
import numpy as np

from psp_jax.evaluation import plots
from psp_jax.predict import outputs
from psp_jax.predict.predictor import DecodedPrediction

INDEX_FILE = "page/index.html"
MAX_SIDE_PX = 1280  # Of the pictures that the page shows.
THUMBNAIL_PX = (64, 96)
JPEG_QUALITY = 90


def files_of(name: str) -> tuple[str, str]:
    """Returns the paths of the script and the thumbnail of a frame."""
    return f"page/frames/{name}.js", f"page/thumbnails/{name}.jpg"


def index(names: Sequence[str], *, title: str) -> outputs.Files:
    """Makes the page of frames whose files are written."""
    loader = jinja2.PackageLoader("psp_jax.predict", package_path="")
    environment = jinja2.Environment(loader=loader, autoescape=True, keep_trailing_newline=True)
    page = environment.get_template("page.html").render(title=title, names=names)
    return {INDEX_FILE: page.encode()}


def frame(
    name: str,
    image: np.ndarray,
    decoded: DecodedPrediction,
    regions: Sequence[outputs.Region],
) -> outputs.Files:
    """Makes the script and the thumbnail of a frame.

    Args:
        name: name of the frame.
        image: `[H, W, 3]` uint8 RGB.
        decoded: its prediction.
        regions: measurements of its regions.
    """
    facts: dict[str, Any] = {"name": name, "size": image.shape[:2]}
    if decoded.depth_m is not None:
        facts["depth_range_m"] = np.percentile(decoded.depth_m, (1, 99)).round(2).tolist()
    facts["layers"] = _layers(image, decoded)
    if decoded.regions is not None:
        labels = _shrunk(decoded.regions.astype(np.float64)).astype(np.int32)
        digits = np.stack([labels >> shift & 255 for shift in (0, 8, 16)], axis=-1)
        facts["labels"] = _data_url(digits.astype(np.uint8))
        facts["regions"] = [
            [area_px, None if mean_m is None else round(mean_m, 3), neighbours]
            for area_px, mean_m, neighbours in regions
        ]
    script, thumbnail = files_of(name)
    small = cv2.resize(image, THUMBNAIL_PX[::-1], interpolation=cv2.INTER_AREA)
    return {
        script: f"show({json.dumps(facts, separators=(',', ':'))});\n".encode(),
        thumbnail: outputs.encoded(np.asarray(small), ".jpg"),
    }


def _layers(image: np.ndarray, decoded: DecodedPrediction) -> list[dict[str, str]]:
    """Returns the pictures of a frame, from the image to the prediction."""
    layers = [("image", "image", image)]
    if decoded.depth_m is not None:
        layers.append(("depth", "depth", plots.coloured_depth(decoded.depth_m)))
    if decoded.edges is not None:
        probability = plots.coloured_probability(decoded.edges.max(axis=-1))
        layers.append(("edges", "probability of a frontier", probability))
    if decoded.classes is not None:
        layers.append(("classes", "frontier classes", plots.coloured_classes(decoded.classes)))
    return [
        {"key": key, "title": title, "source": _data_url(_shrunk(pixels), is_photo=key == "image")}
        for key, title, pixels in layers
    ]


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    """Resizes a picture to at most `MAX_SIDE_PX`; numbers are sampled, colours averaged."""
    height, width = pixels.shape[:2]
    scale = MAX_SIDE_PX / max(height, width)
    if scale >= 1:
        return pixels
    interpolation = cv2.INTER_AREA if pixels.dtype == np.uint8 else cv2.INTER_NEAREST
    size = max(round(scale * width), 1), max(round(scale * height), 1)
    return np.asarray(cv2.resize(pixels, size, interpolation=interpolation))


def _data_url(pixels: np.ndarray, *, is_photo: bool = False) -> str:
    if is_photo:
        data = outputs.encoded(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    else:
        data = outputs.encoded(pixels)
    kind = "jpeg" if is_photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
