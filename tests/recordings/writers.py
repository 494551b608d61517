"""Writes the same RGB-D frames in every layout that `layouts` reads."""

import dataclasses
import io
import pathlib
from collections.abc import Callable, Sequence

import cv2
import h5py
import numpy as np

from psp_jax.recordings import sens
from tests import captures, scans

SIZE = (120, 160)
CAMERA = np.array([[160, 0, 80, 0], [0, 160, 60, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
SCAN = "scene9000_00"
MAX_MM = 13_000  # TUM's 16 bits end at 13.1 m.


@dataclasses.dataclass(frozen=True)
class Captured:
    """A frame to write.

    Attributes:
        jpeg: the colour image.
        depth_mm: `[H, W]` uint16; 0 for no reading.
    """

    jpeg: bytes
    depth_mm: np.ndarray

    @property
    def bgr(self) -> np.ndarray:
        """The decoded colour image."""
        pixels = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        return np.asarray(pixels)

    @property
    def png(self) -> bytes:
        """The colour image as PNG."""
        return encoded(".png", self.bgr)

    @property
    def depth_png(self) -> bytes:
        """The depth image as 16-bit PNG of millimetres."""
        return encoded(".png", self.depth_mm)

    @property
    def depth_m(self) -> np.ndarray:
        """The depth image as float32 metres."""
        return (self.depth_mm / 1000).astype(np.float32)


def capture(count: int = 30) -> list[Captured]:
    """Returns captured frames, or drawn ones where there are none, at `SIZE`."""
    found = []
    height, width = SIZE
    for path in captures.PATHS[:count]:
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        color = next((path.parents[1] / "color").glob(f"{path.stem}.*"))
        bgr = cv2.imread(str(color))
        assert depth is not None and bgr is not None
        depth = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST)
        bgr = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)
        depth = np.where(depth > MAX_MM, 0, depth).astype(np.uint16)
        found.append(Captured(encoded(".jpg", bgr), depth))
    rng = np.random.default_rng(0)
    while len(found) < count:
        drawn = scans.make_frame(rng, SIZE)
        found.append(Captured(drawn.color, sens.decode_depth(drawn.depth, SIZE)))
    return found


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    """Encodes an image with OpenCV."""
    done, data = cv2.imencode(suffix, pixels)
    assert done
    return data.tobytes()


def write(path: pathlib.Path, data: bytes | str) -> None:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def text_of(matrix: np.ndarray) -> str:
    """Writes a matrix as numpy.savetxt does."""
    return "\n".join(" ".join(f"{value:.9g}" for value in row) for row in matrix)


def pgm(depth: np.ndarray) -> bytes:
    """Encodes 16-bit big-endian PGM, as SensReader does."""
    return (
        f"P5\n{depth.shape[1]} {depth.shape[0]}\n65535\n".encode() + depth.astype(">u2").tobytes()
    )


def npy(array: np.ndarray) -> bytes:
    """Encodes NPY."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


Frames = Sequence[Captured]
Write = Callable[[pathlib.Path, Frames], None]


def as_sens(root: pathlib.Path, frames: Frames, *, path: str = f"scans/{SCAN}/{SCAN}.sens") -> None:
    pose = np.eye(4)
    parts = [
        sens.EncodedFrame(pose, each.jpeg, sens.encode_depth(each.depth_mm)) for each in frames
    ]
    cameras = {"intrinsic_color": CAMERA, "intrinsic_depth": CAMERA}
    color_size = frames[0].bgr.shape[:2]
    sens.write(root / path, parts, color_size=color_size, depth_size=SIZE, **cameras)


def as_flat_sens(root: pathlib.Path, frames: Frames) -> None:
    as_sens(root, frames[:10], path="office 1.sens")
    as_sens(root, frames[10:], path="office 2.SENS")


def as_sensreader(root: pathlib.Path, frames: Frames, *, folder: str = SCAN) -> None:
    for index, frame in enumerate(frames):
        write(root / folder / f"color/{index}.jpg", frame.jpeg)
        write(root / folder / f"depth/{index}.png", frame.depth_png)
        write(root / folder / f"pose/{index}.txt", text_of(np.eye(4)))
    write(root / folder / "intrinsic/intrinsic_depth.txt", text_of(CAMERA))


def as_sensreader_of_another_scene(root: pathlib.Path, frames: Frames) -> None:
    as_sensreader(root, frames, folder="my office/frames")


def as_frames_25k(root: pathlib.Path, frames: Frames) -> None:
    folder = root / "tasks/scannet_frames_25k" / SCAN
    for index, frame in enumerate(frames):
        write(folder / f"color/{100 * index:06d}.jpg", frame.jpeg)
        write(folder / f"depth/{100 * index:06d}.png", frame.depth_png)
        write(folder / f"pose/{100 * index:06d}.txt", text_of(np.eye(4)))
    write(folder / "intrinsics_depth.txt", text_of(CAMERA))


def as_cpp_export(root: pathlib.Path, frames: Frames) -> None:
    for index, frame in enumerate(frames):
        stem = root / SCAN / f"frame-{index:06d}"
        write(stem.with_suffix(".color.jpg"), frame.jpeg)
        write(stem.with_suffix(".depth.pgm"), pgm(frame.depth_mm * np.uint16(2)))
        write(stem.with_suffix(".pose.txt"), text_of(np.eye(4)))
    numbers = " ".join(f"{value:.9g}" for value in CAMERA.ravel())
    info = f"m_depthShift = 2000\nm_calibrationDepthIntrinsic = {numbers} \n"
    write(root / SCAN / "_info.txt", info)


def as_seven_scenes(root: pathlib.Path, frames: Frames) -> None:
    for index, frame in enumerate(frames):
        stem = root / f"chess/seq-01/frame-{index:06d}"
        marked = np.where(frame.depth_mm == 0, np.uint16(65535), frame.depth_mm)
        write(stem.with_suffix(".color.png"), frame.png)
        write(stem.with_suffix(".depth.png"), encoded(".png", marked))
        write(stem.with_suffix(".pose.txt"), text_of(np.eye(4)))


def as_tum(root: pathlib.Path, frames: Frames, *, with_lists: bool = True) -> None:
    folder, lists = root / "rgbd_dataset_freiburg1_desk", {"rgb": ["# color"], "depth": ["# depth"]}
    for index, frame in enumerate(frames):
        depth_s = 1305031453.374112 + index / 30
        for kind, time_s, data in (
            ("rgb", depth_s - 0.0073, frame.png),
            ("depth", depth_s, encoded(".png", frame.depth_mm * np.uint16(5))),
        ):
            name = f"{kind}/{time_s:.6f}.png"
            write(folder / name, data)
            lists[kind].append(f"{time_s:.6f} {name}")
    write(folder / f"rgb/{1305031453.0:.6f}.png", frames[0].png)  # Without depth.
    for kind, lines in lists.items() if with_lists else ():
        write(folder / f"{kind}.txt", "\n".join(lines) + "\n")


def as_tum_without_lists(root: pathlib.Path, frames: Frames) -> None:
    as_tum(root, frames, with_lists=False)


def as_nyu_mat(root: pathlib.Path, frames: Frames) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        rgb = np.stack([frame.bgr[..., ::-1] for frame in frames])
        file["images"] = rgb.transpose(0, 3, 2, 1)
        file["rawDepths"] = np.stack([frame.depth_m for frame in frames]).transpose(0, 2, 1)
        file["depths"] = np.ones((len(frames), *SIZE[::-1]), np.float32)
        for name in ("kitchen_0004", "office_0001b"):
            file[f"names/{name}"] = np.frombuffer(name.encode(), np.uint8).astype(np.uint16)[
                :, None
            ]
        names = [file["names/kitchen_0004"].ref] * 10
        names += [file["names/office_0001b"].ref] * (len(frames) - 10)
        file.create_dataset("scenes", data=np.array([names], dtype=h5py.ref_dtype))


def as_nyu_h5(root: pathlib.Path, frames: Frames) -> None:
    folder = root / "nyudepthv2/train/bathroom_0001"
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        with h5py.File(folder / f"{5 * index + 1:05d}.h5", "w") as file:
            file["rgb"] = frame.bgr[..., ::-1].transpose(2, 0, 1)
            file["depth"] = frame.depth_m


def as_sun(root: pathlib.Path, frames: Frames) -> None:
    for index, frame in enumerate(frames):
        folder = root / f"SUNRGBD/kv2/kinect2data/{index:06d}_2014-05-26_14-23-37_260595134347_rgbf"
        rotated = (frame.depth_mm << np.uint16(3)) | (frame.depth_mm >> np.uint16(13))
        write(folder / f"image/{index:07d}.jpg", frame.jpeg)
        write(folder / f"depth/{index:07d}-0001.png", encoded(".png", rotated))
        write(folder / "depth_bfx/0.png", frame.depth_png)
        write(folder / "intrinsics.txt", text_of(CAMERA[:3, :3]))


def as_posed_images(root: pathlib.Path, frames: Frames) -> None:
    folder = root / "posed_images" / SCAN
    for index, frame in enumerate(frames):
        write(folder / f"{index:05d}.jpg", frame.jpeg)
        write(folder / f"{index:05d}.png", frame.depth_png)
        write(folder / f"{index:05d}.txt", text_of(np.eye(4)))
    write(folder / "intrinsic.txt", text_of(CAMERA))


def as_arkit(root: pathlib.Path, frames: Frames) -> None:
    for index, frame in enumerate(frames):
        name = f"40753679_{6845.123 + index / 10:.3f}"
        write(root / f"Training/40753679/lowres_wide/{name}.png", frame.png)
        write(root / f"Training/40753679/lowres_depth/{name}.png", frame.depth_png)
        pincam = "160 120 160 160 80 60"
        write(root / f"Training/40753679/lowres_wide_intrinsics/{name}.pincam", pincam)


def pairs_named(color: str, depth: str) -> Write:
    """Returns a writer of files named by format strings, in the formats of their suffixes."""
    encoders: dict[str, Callable[[Captured], bytes]] = {
        ".png": lambda frame: frame.depth_png,
        ".pgm": lambda frame: pgm(frame.depth_mm),
        ".tif": lambda frame: encoded(".tiff", frame.depth_m),
        ".tiff": lambda frame: encoded(".tiff", frame.depth_mm),
        ".pfm": lambda frame: encoded(".pfm", frame.depth_m),
        ".npy": lambda frame: npy(frame.depth_m.astype(np.float64)),
    }

    def as_pairs(root: pathlib.Path, frames: Frames) -> None:
        for index, frame in enumerate(frames):
            name = color.format(index)
            suffix = pathlib.PurePath(name).suffix.lower()
            pixels = frame.jpeg if suffix in (".jpg", ".jfif") else encoded(suffix, frame.bgr)
            write(root / name, pixels)
            target = root / depth.format(index)
            write(target, encoders[target.suffix.lower()](frame))

    return as_pairs


LAYOUTS: dict[str, tuple[Write, str]] = {  # Writer, and the recognised layout.
    "sens": (as_sens, "sens"),
    "flat_sens": (as_flat_sens, "sens"),
    "sensreader": (as_sensreader, "sensreader"),
    "sensreader_of_another_scene": (as_sensreader_of_another_scene, "sensreader"),
    "frames_25k": (as_frames_25k, "sensreader"),
    "cpp_export": (as_cpp_export, "sensreader_flat"),
    "7scenes": (as_seven_scenes, "7scenes"),
    "tum": (as_tum, "tum"),
    "tum_without_lists": (as_tum_without_lists, "pairs"),
    "nyu_mat": (as_nyu_mat, "nyu"),
    "nyu_h5": (as_nyu_h5, "nyu"),
    "sun": (as_sun, "sunrgbd"),
    "posed_images": (as_posed_images, "posed_images"),
    "arkitscenes": (as_arkit, "arkitscenes"),
    "rgb_and_depth": (pairs_named("office/RGB/{}.JPG", "office/Depth/{:04d}.PNG"), "pairs"),
    "images_and_depths": (pairs_named("images/a{:03d}.bmp", "depths/b{:05d}.pgm"), "pairs"),
    "float_tiff": (pairs_named("color/{}.png", "depth/{}.tif"), "pairs"),
    "integer_tiff": (pairs_named("color/{}.tiff", "depth/{}.tiff"), "pairs"),
    "pfm": (pairs_named("image/{}.jfif", "depth/{}.pfm"), "pairs"),
    "npy": (pairs_named("rgb/{}.png", "depth/{}.npy"), "pairs"),
    "flat": (pairs_named("walk/frame_{:05d}.jpg", "walk/depth_{:05d}.png"), "pairs"),
    "flat_words_last": (pairs_named("walk/{:02d}-color.png", "walk/{:02d}-depth.png"), "pairs"),
    "same_stem": (pairs_named("walk/{:05d}.jpg", "walk/{:05d}.png"), "pairs"),
    "scan_in_names": (
        pairs_named(f"color/{SCAN}_{{:06d}}.jpg", f"depth/{SCAN}_{{:06d}}.png"),
        "pairs",
    ),
    "nested": (pairs_named("train/rgb/seq7/{}.png", "train/depth/seq7/{}.png"), "pairs"),
}
