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

from psp_jax.predict import drawing, encoding
from psp_jax.predict.results import Result

INDEX_FILE = "page/index.html"
NAME = ""  # Of the page in the list of results, which no image has.
MAX_SIDE_PX = 1280  # Of the pictures that the page shows.
THUMBNAIL_PX = (64, 96)
JPEG_QUALITY = 90


def files_of(name: str) -> tuple[str, str]:
    """Returns the paths of the script and the thumbnail of a frame."""
    return f"page/frames/{name}.js", f"page/thumbnails/{name}.jpg"


def index(names: Sequence[str], *, title: str) -> dict[str, bytes]:
    """Makes the page of frames whose files are written."""
    loader = jinja2.PackageLoader("psp_jax.predict", package_path="")
    environment = jinja2.Environment(loader=loader, autoescape=True, keep_trailing_newline=True)
    page = environment.get_template("page.html").render(title=title, names=names)
    return {INDEX_FILE: page.encode()}


def frame(result: Result) -> dict[str, bytes]:
    """Makes the script and the thumbnail of a frame."""
    image = result.image
    facts: dict[str, Any] = {"name": result.name, "size": image.shape[:2]}
    if result.depth_m is not None:
        facts["depth_range_m"] = [round(each, 2) for each in drawing.depth_range(result.depth_m)]
    facts["layers"] = _layers(result)
    if result.regions is not None:
        facts["colors"] = drawing.region_colors(result.regions).tolist()
        labels = _shrunk(result.regions.astype(np.float64)).astype(np.int32)
        digits = np.stack([labels >> shift & 255 for shift in (0, 8, 16)], axis=-1)
        facts["labels"] = _data_url(digits.astype(np.uint8))
        facts["regions"] = [
            [area_px, None if mean_m is None else round(mean_m, 3), neighbours]
            for area_px, mean_m, neighbours in result.table
        ]
    script, thumbnail = files_of(result.name)
    small = cv2.resize(image, THUMBNAIL_PX[::-1], interpolation=cv2.INTER_AREA)
    return {
        script: f"show({json.dumps(facts, separators=(',', ':'))});\n".encode(),
        thumbnail: encoding.jpeg(np.asarray(small), JPEG_QUALITY),
    }


def _layers(result: Result) -> list[dict[str, str]]:
    """Returns the pictures of a frame, from the image to the prediction."""
    layers = [("image", "image", result.image)]
    if result.depth_m is not None:
        layers.append(("depth", "depth", drawing.coloured_depth(result.depth_m)))
    if result.coarse.edges is not None:
        # Between the network's pixels, not the image's: lines a pixel wide would be a grid.
        probability = drawing.coloured_probability(result.coarse.edges.max(axis=-1))
        height, width = result.image.shape[:2]
        probability = np.asarray(cv2.resize(probability, (width, height)))
        layers.append(("edges", "probability of a frontier", probability))
    if result.classes is not None:
        layers.append(("classes", "frontier classes", drawing.coloured_classes(result.classes)))
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
        data = encoding.jpeg(pixels, JPEG_QUALITY)
    else:
        data = encoding.png(pixels)
    kind = "jpeg" if is_photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
