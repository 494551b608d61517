"""The prediction of one image, its pictures, and its files."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from psp_jax.io import files, image_kinds
from psp_jax.partition import frontier_classes, merging
from psp_jax.predict import camera, drawing, encoding, upsampling


class Coarse(NamedTuple):
    """A decoded prediction at the network's size, `[h, w]`; None is what is not predicted.

    Attributes:
        depth_m: `[h, w]` float32.
        edges: `[h, w, 2]` float32 probabilities.
        classes: `[h, w]` uint8 frontier classes of the network.
        regions: `[h, w]` int32.
    """

    depth_m: np.ndarray | None = None
    edges: np.ndarray | None = None
    classes: np.ndarray | None = None
    regions: np.ndarray | None = None


class Region(NamedTuple):
    """Measurements of a region.

    Attributes:
        area_px: number of pixels.
        mean_depth_m: mean depth in metres; None if depth is not predicted.
        neighbours: numbers of the adjacent regions, ascending.
    """

    area_px: int
    mean_depth_m: float | None
    neighbours: list[int]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The prediction of one image. Arrays have the image's size and are computed when read.

    Notebooks show it as `plot` draws it.

    Attributes:
        name: name of the image, as in its file.
        image: `[H, W, 3]` uint8 RGB.
        coarse: the prediction at the network's size.
        source: file of the image, if there is one.
        fov_deg: horizontal field of view of the camera, for point clouds; None if not known.
        with_bar: whether pictures of depth have a colour bar.
    """

    name: str
    image: np.ndarray
    coarse: Coarse
    source: pathlib.Path | None = None
    fov_deg: float | None = None
    with_bar: bool = False

    @functools.cached_property
    def depth_m(self) -> np.ndarray | None:
        """`[H, W]` float32 metres along the optical axis; None if not predicted."""
        depth_m = self.coarse.depth_m
        return None if depth_m is None else upsampling.resize_depth(depth_m, self._size)

    @functools.cached_property
    def edges(self) -> np.ndarray | None:
        """`[H, W, 2]` float32 calibrated probabilities of a cut edge; None if not predicted.

        Channel 0 is between a pixel and its right neighbour, channel 1 between it and the one
        below; 0 at the border.
        """
        edges = self.coarse.edges
        return None if edges is None else upsampling.resize_edges(edges, self._size)

    @functools.cached_property
    def classes(self) -> np.ndarray | None:
        """`[H, W]` uint8 frontier classes 0 to 15: the network's, or else those of the regions."""
        if self.coarse.classes is not None:
            return upsampling.resize_classes(self.coarse.classes, self._size)
        return None if self.regions is None else frontier_classes.encode(self.regions)

    @functools.cached_property
    def regions(self) -> np.ndarray | None:
        """`[H, W]` int32 labels, contiguous from 0, every region 4-connected; None without any.

        Decoded from the edges, or else segmented from the depth by the algorithm of the training
        labels.
        """
        regions = self.coarse.regions
        return None if regions is None else upsampling.resize_regions(regions, self._size)

    @functools.cached_property
    def table(self) -> list[Region]:
        """Measurements of every region; empty if there are none."""
        if self.regions is None:
            return []
        return measure(self.regions, self.depth_m)

    def plot(self) -> np.ndarray:
        """Draws the outlines of the regions over the image, and coloured depth next to it.

        Returns:
            `[H, W, 3]` uint8 RGB, twice as wide with both.
        """
        shown = [self.picture(name) for name in ("overlay", "depth_color") if self.has(name)]
        return np.hstack(shown or [self.image])

    def __repr__(self) -> str:
        """Tells the size of the image and what is predicted."""
        parts = [repr(self.name), "x".join(map(str, self._size)) + " pixels"]
        if self.regions is not None:
            parts.append(f"{self.regions.max() + 1} regions")
        if self.depth_m is not None:
            parts.append(f"depth {self.depth_m.min():.2f} to {self.depth_m.max():.2f} m")
        return f"Result({', '.join(parts)})"

    def _repr_jpeg_(self) -> bytes:
        return encoding.jpeg(self.plot())

    def picture(self, output: str) -> np.ndarray:
        """Draws one of `PICTURES`, `[H, W, 3]` uint8 RGB."""
        if output == "depth_color":
            assert self.depth_m is not None
            return drawing.coloured_depth(self.depth_m, bar=self.with_bar)
        assert self.regions is not None
        if output == "overlay":
            return drawing.outlined(self.image, self._lines)
        return drawing.tinted(self.image, self.regions, self._lines)

    def files(self, outputs: Sequence[str] | None = None) -> dict[str, bytes]:
        """Encodes outputs; returns their contents by path, such as `overlay/NAME.jpg`.

        Args:
            outputs: names of `OUTPUTS`; None for all of `DEFAULT` that are predicted.

        Raises:
            ValueError: for an unknown or unpredicted output, or a value that does not fit a file.
        """
        chosen = [name for name in DEFAULT if self.has(name)] if outputs is None else outputs
        contents = {}
        for name in chosen:
            if name not in OUTPUTS:
                raise ValueError(f"expected outputs of {', '.join(OUTPUTS)}, got {name!r}")
            if not self.has(name):
                raise ValueError(f"{name}: the model does not predict it")
            contents[path_of(name, self.name)] = OUTPUTS[name].encode(self)
        return contents

    def has(self, output: str) -> bool:
        """Returns whether an output of `OUTPUTS` is predicted."""
        need = OUTPUTS[output].needs
        return need is None or getattr(self.coarse, need) is not None

    def save(
        self, folder: str | pathlib.Path = "predicted", outputs: Sequence[str] | None = None
    ) -> list[pathlib.Path]:
        """Writes outputs into a folder; returns their paths.

        Raises:
            FileExistsError: if a file exists; nothing is overwritten.
            ValueError: as `files` does.
            OSError: if a file can't be written.
        """
        contents = {files.local_path(folder) / p: data for p, data in self.files(outputs).items()}
        for path in contents:
            if path.exists():
                raise FileExistsError(f"{path} exists; choose another folder")
        for path, data in contents.items():
            files.write(path, data)
        return list(contents)

    @functools.cached_property
    def _lines(self) -> drawing.Lines:
        assert self.regions is not None
        return drawing.boundaries(self.regions)

    @property
    def _size(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]


def measure(regions: np.ndarray, depth_m: np.ndarray | None) -> list[Region]:
    """Measures regions, `[H, W]` int32 contiguous from 0, with their depth if there is one."""
    count = int(regions.max()) + 1
    areas = np.bincount(regions.ravel(), minlength=count)
    means: list[float | None] = [None] * count
    if depth_m is not None:
        totals = np.bincount(regions.ravel(), depth_m.ravel().astype(np.float64), count)
        means = (totals / areas).tolist()
    neighbours = [[] for _ in range(count)]
    for first, second in merging.adjacency(regions, count)[0].tolist():
        neighbours[first].append(second)
        neighbours[second].append(first)
    return [
        Region(*row) for row in zip(areas.tolist(), means, map(sorted, neighbours), strict=True)
    ]


def path_of(output: str, name: str) -> str:
    """Returns the path of an output of an image below the folder of results."""
    return f"{output}/{name}{OUTPUTS[output].suffix}"


def _depth(result: Result) -> bytes:
    assert result.depth_m is not None
    return encoding.depth_png(result.depth_m)


def _regions(result: Result) -> bytes:
    assert result.regions is not None
    return encoding.regions_png(result.regions)


def _classes(result: Result) -> bytes:
    assert result.classes is not None
    return encoding.png(result.classes, image_kinds.CLASSES)


def _table(result: Result) -> bytes:
    rows = []
    for number, (area_px, mean_depth_m, neighbours) in enumerate(result.table):
        depth = "" if mean_depth_m is None else f"{mean_depth_m:.4f}"
        rows.append((number, area_px, depth, " ".join(map(str, neighbours))))
    return encoding.table(("region", *Region._fields), rows)


def _arrays(result: Result) -> bytes:
    names = ("depth_m", "edges", "classes", "regions")
    arrays = {name: getattr(result, name) for name in names}
    return encoding.npz({name: value for name, value in arrays.items() if value is not None})


def _point_cloud(result: Result) -> bytes:
    assert result.depth_m is not None
    focal = camera.focal(result.depth_m.shape, result.source, result.fov_deg)
    comments = [
        f"{result.name}, metres, x right, y down, z forward",
        f"focal length {focal.pixels:.1f} px of {result.image.shape[1]} px width: {focal.origin}",
    ]
    return encoding.ply(result.depth_m, result.image, focal.pixels, comments)


class Output(NamedTuple):
    """A kind of file.

    Attributes:
        suffix: of its files.
        encode: makes its contents.
        needs: field of `Coarse` without which there is none; None if there always is one.
    """

    suffix: str
    encode: Callable[[Result], bytes]
    needs: str | None = None


OUTPUTS = {
    "overlay": Output(".jpg", lambda r: encoding.jpeg(r.picture("overlay")), "regions"),
    "region_colors": Output(".jpg", lambda r: encoding.jpeg(r.picture("region_colors")), "regions"),
    "depth_color": Output(".png", lambda r: encoding.png(r.picture("depth_color")), "depth_m"),
    "depth": Output(".png", _depth, "depth_m"),
    "regions": Output(".png", _regions, "regions"),
    "classes": Output(".png", _classes, "regions"),
    "tables": Output(".csv", _table, "regions"),
    "arrays": Output(".npz", _arrays),
    "point_cloud": Output(".ply", _point_cloud, "depth_m"),
}
PICTURES = ("overlay", "region_colors", "depth_color")  # Films, where the input is one.
DEFAULT = (*PICTURES, "depth", "regions")
