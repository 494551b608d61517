"""A page that shows predicted frames, opened from disk by any browser without a server.

Pages from disk may show image files but not look into them, so the numbers of the regions come
within scripts, one a frame, which load when they are shown.
"""

import base64
import json
import pathlib
import string

import cv2
import numpy as np

from psp_jax.evaluation import plots
from psp_jax.predict import outputs
from psp_jax.predict.predictor import ImagePrediction

INDEX_FILE = "page/index.html"
LONGEST_SIDE_PX = 1280  # Of what the page shows of a frame.
THUMBNAIL_PX = (64, 96)
JPEG_QUALITY = 90


def files_of(name: str) -> tuple[str, str]:
    """Names the files of a frame."""
    return f"page/frames/{name}.js", f"page/thumbnails/{name}.jpg"


def index(names: list[str], *, title: str) -> outputs.Files:
    """Makes the page of frames whose files are there."""
    template = string.Template(pathlib.Path(__file__).with_name("page.html").read_text())
    values = {"title": _quoted(title), "names": _quoted(names)}
    return {INDEX_FILE: template.substitute(values).encode()}


def frame(
    name: str, image: np.ndarray, found: ImagePrediction, regions: list[dict]
) -> outputs.Files:
    """Makes what the page shows of a frame.

    Args:
        name: of the frame.
        image: `[H, W, 3]` uint8 RGB.
        found: what was predicted of it.
        regions: what `outputs.measure` returned.
    """
    layers = [("image", "image", image)]
    facts = {"name": name, "size": image.shape[:2]}
    if found.depth_m is not None:
        layers.append(("depth", "depth", plots.coloured_depth(found.depth_m)))
        facts["depth_range_m"] = np.percentile(found.depth_m, (1, 99)).round(2).tolist()
    if found.edges is not None:
        probability = plots.coloured_probability(found.edges.max(axis=-1))
        layers.append(("edges", "probability of a frontier", probability))
    if found.classes is not None:
        layers.append(("classes", "frontier classes", plots.coloured_classes(found.classes)))
    facts["layers"] = [
        {"key": key, "title": title, "source": _picture(_shrunk(pixels), is_photo=key == "image")}
        for key, title, pixels in layers
    ]
    if found.regions is not None:
        labels = _shrunk(found.regions.astype(np.float64)).astype(np.int32)
        digits = np.stack([labels >> shift & 255 for shift in (0, 8, 16)], axis=-1)
        facts["labels"] = _picture(digits.astype(np.uint8), is_photo=False)
        facts["regions"] = [
            [
                region["area_px"],
                None if region["depth_m"] is None else round(region["depth_m"], 3),
                region["neighbours"],
            ]
            for region in regions
        ]
    script, thumbnail = files_of(name)
    small = cv2.resize(image, THUMBNAIL_PX[::-1], interpolation=cv2.INTER_AREA)
    return {
        script: f"show({_quoted(facts)});\n".encode(),
        thumbnail: outputs.encoded(np.asarray(small), ".jpg"),
    }


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    """Takes every so many pixels of a large picture."""
    height, width = pixels.shape[:2]
    share = LONGEST_SIDE_PX / max(height, width)
    if share >= 1:
        return pixels
    rule = cv2.INTER_AREA if pixels.dtype == np.uint8 else cv2.INTER_NEAREST
    size = max(round(share * width), 1), max(round(share * height), 1)
    return np.asarray(cv2.resize(pixels, size, interpolation=rule))


def _picture(pixels: np.ndarray, *, is_photo: bool) -> str:
    """Writes a picture as an address that holds it."""
    if is_photo:
        data = outputs.encoded(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    else:
        data = outputs.encoded(pixels)
    kind = "jpeg" if is_photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _quoted(value: object) -> str:
    """Writes JSON that nothing in it can end a script element with."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028")
