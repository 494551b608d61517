"""Samples the light of varied rooms: lamps of any colour, spots, and the sun through windows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_builders.rooms.furniture import Placement
from data_builders.rooms.layout import Pose
from data_builders.rooms.materials import Texture
from data_builders.rooms.space import Space

LIGHTS = 4  # Scenes are padded to it with black lights, which cost nothing.
SUN_M = 12.0  # From the window to the lamp that stands for the sun.


class Masks(NamedTuple):
    """Limits of the lights of a scene; `L` lights, `[L, 3]` float32 vectors in the world.

    Attributes:
        axis: unit vectors along which spots shine.
        cosine: `[L]` float32, of half the opening of a spot; -1 for none.
        pane: centres of the windows through which suns shine, metres.
        across, up: from the centre to the edges: an offset's product with them is -1 to 1 inside.
        inward: unit vectors from the windows to the room; 0 for lights without a window.
        ambient: `[3]` float32 linear RGB of the light from everywhere.
    """

    axis: np.ndarray
    cosine: np.ndarray
    pane: np.ndarray
    across: np.ndarray
    up: np.ndarray
    inward: np.ndarray
    ambient: np.ndarray


class _Light(NamedTuple):
    position: np.ndarray
    color: np.ndarray
    radius_m: float
    axis: tuple[float, float, float] = (0.0, 0.0, -1.0)
    cosine: float = -1.0
    pane: np.ndarray = np.zeros(3)
    across: np.ndarray = np.zeros(3)
    up: np.ndarray = np.zeros(3)
    inward: np.ndarray = np.zeros(3)


def temperature(kelvin: float) -> np.ndarray:
    """Returns the linear RGB of a black body, green 1; a fit between 2500 and 9000 K."""
    x = np.log(kelvin / 6000)
    return np.array([np.exp(-0.75 * x), 1.0, np.exp(1.05 * x)])


def sample(
    space: Space, poses: dict[int, Pose], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Masks]:
    """Samples one to four lights and the ambient light.

    Returns:
        `[L, 3]` float32 positions in metres; `[L, 3]` float32 colours, relative; `[L]` float32
        radii in metres; and their masks.
    """
    lamp_color, sky = temperature(rng.uniform(2700, 5000)), temperature(rng.uniform(5500, 8000))
    power = rng.choice([0.0, 0.5, 1.0, 1.6], p=[0.15, 0.25, 0.4, 0.2])
    lamps, windows = [], []
    for index, pose in sorted(poses.items()):
        piece = space.pieces[index]
        if piece.placement == Placement.CEILING:
            below = pose.to_world((0.0, 0.0, -0.08))
            cosine = float(rng.choice([-1.0, -1.0, np.cos(0.6)]))
            lamps.append(_Light(below, power * lamp_color, rng.uniform(0.03, 0.25), cosine=cosine))
        elif piece.boxes[0].material.texture == Texture.WINDOW:
            windows += _window_lights(pose, piece.size, sky, rng)
    stand = rng.uniform([0.15, 0.15, 0.4], [0.85, 0.85, 0.85]) * space.size
    lights = (windows + lamps)[: LIGHTS - 1]
    if len(lights) < 2 or power == 0:
        color = lamp_color if rng.random() < 0.7 else sky
        lights.append(_Light(stand, rng.uniform(0.3, 1.2) * color, rng.uniform(0.05, 0.4)))
    lights += [_Light(stand, np.zeros(3), 0.1)] * (LIGHTS - len(lights))
    mixed = 0.5 * lamp_color + 0.5 * sky if windows else lamp_color
    ambient = np.exp(rng.uniform(np.log(0.35), np.log(1.8))) * mixed

    def column(name: str) -> np.ndarray:
        return np.array([getattr(light, name) for light in lights], np.float32)

    masks = Masks(
        axis=column("axis"),
        cosine=column("cosine"),
        pane=column("pane"),
        across=column("across"),
        up=column("up"),
        inward=column("inward"),
        ambient=ambient.astype(np.float32),
    )
    return column("position"), column("color"), column("radius_m"), masks


def _window_lights(
    pose: Pose, size: tuple[float, float, float], sky: np.ndarray, rng: np.random.Generator
) -> list[_Light]:
    """Returns the sky's light in front of a window, and with probability 0.45 the sun's."""
    width, depth, height = size
    lights = [_Light(pose.to_world((0.0, 0.35, 0.6 * height)), rng.uniform(0.3, 1.2) * sky, 0.4)]
    if rng.random() < 0.45:
        pane = pose.to_world((0.0, depth / 2 + 0.02, height / 2))
        side, rise = rng.uniform(-0.8, 0.8), rng.uniform(0.35, 1.1)
        outside = pose.to_world((side, -1.0, rise)) - pose.to_world((0.0, 0.0, 0.0))
        position = pane + SUN_M * outside / np.linalg.norm(outside)
        across = (pose.to_world((2 / width, 0, 0)) - pose.to_world((0, 0, 0))).astype(float)
        inward = pose.to_world((0, 1, 0)) - pose.to_world((0, 0, 0))
        color = rng.uniform(0.3, 2.0) * SUN_M**2 * temperature(rng.uniform(4500, 6000))
        up = np.array([0.0, 0.0, 2 / height])
        sun = _Light(position, color, 0.08, pane=pane, across=across, up=up, inward=inward)
        lights.insert(0, sun)
    return lights


def passes(
    masks: Masks, lamp: jax.Array | int, start: jax.Array, towards: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns how much of a light its mask lets through, and where it stops to be outside.

    Args:
        masks: the masks.
        lamp: index of the light.
        start: `[3, R]` points in the room, metres.
        towards: `[3, R]` from there to the light.

    Returns:
        `[R]` from 0 to 1; `[R]` fraction of `towards` in the room, 0 to 1.
    """
    length = jnp.sqrt((towards * towards).sum(axis=0))
    cosine = -(towards * masks.axis[lamp][:, None]).sum(axis=0) / length
    limit = masks.cosine[lamp]
    spot = jnp.where(limit > -1, jnp.clip(0.06 + (cosine - limit) / 0.05, 0.06, 1), 1.0)
    offset = masks.pane[lamp][:, None] - start
    inward = masks.inward[lamp][:, None]
    steep = jnp.minimum((towards * inward).sum(axis=0), -1e-6)
    fraction = jnp.clip((offset * inward).sum(axis=0) / steep, 0, 1)
    place = fraction[None] * towards - offset
    u = (place * masks.across[lamp][:, None]).sum(axis=0)
    v = (place * masks.up[lamp][:, None]).sum(axis=0)
    bars = (jnp.abs(u) < 0.05) | (jnp.abs(v - 0.32) < 0.05)
    inside = (jnp.abs(u) < 0.94) & (jnp.abs(v) < 0.94) & ~bars
    sunny = jnp.abs(masks.inward[lamp]).sum() > 0
    return spot * jnp.where(sunny, inside, True), jnp.where(sunny, fraction, 1.0)
