"""Renders colour, depth, surface and instance of every pixel of the frames of a scan."""

import functools
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from data_builders.rooms import tracing
from data_builders.rooms.scene import Scene

FRAMES_PER_CALL = 16  # On a GPU; more would not keep it busier.
COLOR_SCALE = 2  # Colour has this many times the rows and columns of depth.


class View(NamedTuple):
    """A rendered frame; colour has `COLOR_SCALE` times the height and width of the rest.

    Attributes:
        color: `[2H, 2W, 3]` float32 linear RGB, without an upper limit.
        depth: `[H, W]` float32 metres along the optical axis, never 0.
        instance: `[H, W]` int32, as `Scene.instance`.
        cos_incidence: `[H, W]` float32, cosine between the ray and the surface normal, 0 to 1.
        albedo: `[H, W]` float32 reflectance, mean of RGB; gloss `[H, W]` float32.
    """

    color: np.ndarray
    depth: np.ndarray
    instance: np.ndarray
    cos_incidence: np.ndarray
    albedo: np.ndarray
    gloss: np.ndarray


def render(
    scene: Scene,
    camera_to_world: np.ndarray,
    intrinsics_color: np.ndarray,
    intrinsics_depth: np.ndarray,
    *,
    depth_size: tuple[int, int],
) -> View:
    """Renders a frame.

    Args:
        scene: the scene.
        camera_to_world: `[4, 4]` float32, metres; camera x right, y down, z forward.
        intrinsics_color, intrinsics_depth: `[4]` float32 fx, fy, cx, cy in pixels.
        depth_size: (height, width) of the depth image in pixels.
    """
    poses = np.asarray(camera_to_world)[None]
    intrinsics = intrinsics_color, intrinsics_depth
    return next(render_frames(scene, poses, *intrinsics, depth_size=depth_size))


def render_frames(
    scene: Scene,
    camera_to_world: np.ndarray,
    intrinsics_color: np.ndarray,
    intrinsics_depth: np.ndarray,
    *,
    depth_size: tuple[int, int],
) -> Iterator[View]:
    """Renders the frames of a scan: one by one on a CPU, and many in one call on a GPU.

    Args:
        scene: the scene.
        camera_to_world: `[F, 4, 4]` float32, metres; camera x right, y down, z forward.
        intrinsics_color, intrinsics_depth: `[4]` float32 fx, fy, cx, cy in pixels.
        depth_size: (height, width) of the depth image in pixels.
    """
    fine = COLOR_SCALE * depth_size[0], COLOR_SCALE * depth_size[1]
    draw = _one_by_one if jax.default_backend() == "cpu" else _in_batches
    intrinsics = intrinsics_color, intrinsics_depth
    for color, depth, row, cos_incidence, albedo in draw(
        scene, camera_to_world, intrinsics, depth_size
    ):
        surface = row.reshape(depth_size)
        yield View(
            color=np.ascontiguousarray(color.reshape(3, *fine).transpose(1, 2, 0)),
            depth=depth.reshape(depth_size),
            instance=scene.instance[surface],
            cos_incidence=cos_incidence.reshape(depth_size),
            albedo=albedo.mean(axis=0).reshape(depth_size),
            gloss=scene.gloss[surface],
        )


_Intrinsics = tuple[np.ndarray, np.ndarray]


def _one_by_one(
    scene: Scene, poses: np.ndarray, intrinsics: _Intrinsics, size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields the images of each frame; one at a time fits the caches of a CPU."""
    for pose in poses:
        yield tuple(np.asarray(image) for image in _images(scene, pose, intrinsics, size))


def _in_batches(
    scene: Scene, poses: np.ndarray, intrinsics: _Intrinsics, size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields the images of each frame, many of them from one call: a GPU waits less."""
    calls = -(-len(poses) // FRAMES_PER_CALL)
    # All calls have one shape, so that they share a program; the surplus is cut off.
    batches = np.resize(poses, (calls, -(-len(poses) // max(calls, 1)), 4, 4))
    frames = (
        frame
        for batch in batches
        for frame in zip(
            *jax.device_get(_images_of_batch(scene, batch, intrinsics, size)), strict=True
        )
    )
    yield from itertools.islice(frames, len(poses))


def _images(
    scene: Scene, pose: jax.Array | np.ndarray, intrinsics: _Intrinsics, size: tuple[int, int]
) -> tuple[jax.Array, ...]:
    """Returns colour `[3, R]`, and of depth's pixels: depth, row, cosine and albedo `[3, R]`."""
    intrinsics_color, intrinsics_depth = intrinsics
    hit, spot = tracing.cast(scene, pose, intrinsics_depth, size=size)
    fine = COLOR_SCALE * size[0], COLOR_SCALE * size[1]
    fine_hit, fine_spot = tracing.cast(scene, pose, intrinsics_color, size=fine)
    paint = tracing.reflectance if scene.solids is None else tracing.printed
    color = tracing.shade(scene, fine_hit, paint(fine_spot), size=fine)
    return color, hit.depth, hit.row, hit.cos_incidence, paint(spot)


@functools.partial(jax.jit, static_argnums=3)
def _images_of_batch(
    scene: Scene, poses: jax.Array, intrinsics: _Intrinsics, size: tuple[int, int]
) -> tuple[jax.Array, ...]:
    return jax.vmap(lambda pose: _images(scene, pose, intrinsics, size))(poses)
