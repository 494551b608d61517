"""Draws photographs above what a model predicts for them: the picture of the README.

    python -m docs.draw_regions IMAGE... --out=docs/regions.jpg

Every image becomes a column, cropped to 4:3: the photograph, its regions in colours, and its depth
from near (bright) to far (dark), as `psp_jax.predict` writes them.
"""

import argparse
import pathlib

import cv2
import numpy as np

import psp_jax
from psp_jax.io import command_line, files
from psp_jax.recordings import images

TILE = (330, 440)  # Height and width of a picture, in pixels.
GAP_PX = 6
JPEG_QUALITY = 88


def crop(image: np.ndarray) -> np.ndarray:
    """Returns the central 4:3 part of an image `[H, W, 3]`."""
    height, width = image.shape[:2]
    rows, columns = min(height, width * 3 // 4), min(width, height * 4 // 3)
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(image[top : top + rows, left : left + columns])


def main(arguments: argparse.Namespace) -> None:
    """Draws the images of the command line."""
    predict = psp_jax.load(arguments.workdir)
    columns = []
    for path in arguments.images:
        image = crop(images.decode_rgb(path.read_bytes()))
        result = predict(image)
        shown = [name for name in ("region_colors", "depth_color") if result.has(name)]
        pictures = [image, *(result.picture(name) for name in shown)]
        tiles = [cv2.resize(p, TILE[::-1], interpolation=cv2.INTER_AREA) for p in pictures]
        columns.append(np.vstack([_framed(tile) for tile in tiles]))
    sheet = cv2.cvtColor(np.hstack(columns), cv2.COLOR_RGB2BGR)
    done, jpeg = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    files.write(arguments.out, jpeg.tobytes())
    print(f"{arguments.out} is written")


def _framed(tile: np.ndarray) -> np.ndarray:
    side = GAP_PX // 2
    return cv2.copyMakeBorder(tile, side, side, side, side, cv2.BORDER_CONSTANT, value=(255,) * 3)


if __name__ == "__main__":
    parser = command_line.Parser(prog="python -m docs.draw_regions", description=__doc__)
    parser.add_argument("images", nargs="+", type=pathlib.Path, metavar="IMAGE")
    parser.add_argument("--workdir", default=None, help="run or exported model (default: shipped)")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("docs/regions.jpg"), help="file to write"
    )
    command_line.run(main, parser)
