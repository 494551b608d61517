"""Simulates the noise of a tablet camera and of a structured-light depth sensor.

Sizes in pixels are for images 640 wide, as ScanNet's depth, and scale with the width.
"""

import cv2
import numpy as np

from psp_jax.io.units import MM_PER_M

REFERENCE_WIDTH = 640
BASELINE_M = 0.075  # Projector to camera.
DISPARITY_STEP_PX = 1 / 16
DISPARITY_NOISE_PX = 0.12
MIN_DEPTH_M, MAX_DEPTH_M = 0.4, 5.0
BORDER_PX = (8, 2, 9, 3)  # Top, bottom, left, right: ScanNet's depth is black there.
MIN_SIGNAL = 0.040  # Weaker signals give no reading; chosen so that 5 to 15 % are missing.


def capture_color(linear_rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulates a photograph: exposure, vignette, blur, noise and gamma.

    Args:
        linear_rgb: `[H, W, 3]` float32, linear, without an upper limit.
        rng: random numbers of the frame.

    Returns:
        `[H, W, 3]` uint8 RGB with a gamma of 2.2.
    """
    height, width = linear_rgb.shape[:2]
    balance = rng.normal(1, 0.04, 3)
    metered = 0.6 * linear_rgb.mean() + 0.4 * np.median(linear_rgb)
    exposure = 0.29 * np.exp(rng.normal(0, 0.15)) / max(metered, 1e-3)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = 1 - rng.uniform(0.05, 0.25) * (x * x + y * y) / 2
    gain = (exposure * balance).astype(np.float32) * vignette[..., None].astype(np.float32)
    image = _shake(linear_rgb * gain, rng)
    image = 1 - np.exp(-1.15 * image) if image.max() > 1 else image  # compresses highlights
    photons = rng.standard_normal(image.shape, np.float32)
    image = image + photons * np.sqrt(4e-4 * np.maximum(image, 0) + 3e-6)
    return np.round(255 * np.clip(image, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def capture_varied(linear_rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulates a photograph of any phone or webcam, some of them bad.

    Exposure, white balance, contrast, vignette, motion blur and noise vary far more than in
    `capture_color`. Arguments and result are the same.
    """
    height, width = linear_rgb.shape[:2]
    gray_world = linear_rgb.mean() / np.maximum(linear_rgb.mean(axis=(0, 1)), 1e-4)
    balance = gray_world ** rng.uniform(0.2, 1.0) * rng.normal(1, 0.07, 3)
    metered = 0.6 * linear_rgb.mean() + 0.4 * np.median(linear_rgb)
    stops = rng.normal(0.2, 0.75)
    exposure = 0.29 * 2.0 ** np.clip(stops, -1.8, 2.0) / max(metered, 1e-3)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = 1 - rng.uniform(0.0, 0.45) * (x * x + y * y) / 2
    gain = (exposure * balance).astype(np.float32) * vignette[..., None].astype(np.float32)
    image = _shake(
        linear_rgb * gain, rng, motion_px=float(rng.choice([0.8, 2.0, 8.0], p=[0.6, 0.25, 0.15]))
    )
    shoulder = rng.uniform(1.0, 1.5)
    image = (1 - np.exp(-shoulder * image)) if rng.random() < 0.6 else image
    dark = rng.exponential(1.0) * max(1.0, 0.25 / max(metered, 1e-3) ** 0.5)
    photons = rng.standard_normal(image.shape, np.float32)
    image = image + photons * np.sqrt(dark * (5e-4 * np.maximum(image, 0) + 4e-6))
    image = np.clip(image, 0, 1) ** (1 / 2.2)
    contrast = rng.uniform(0.0, 0.7)  # The tone curve of phones; 0 is none.
    image = image + contrast * (image * image * (3 - 2 * image) - image)
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def _shake(image: np.ndarray, rng: np.random.Generator, motion_px: float = 1.6) -> np.ndarray:
    """Blurs by defocus and by a short linear motion of `motion_px` on average."""
    scale = image.shape[1] / REFERENCE_WIDTH
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.3) * scale + 0.05)
    length_px, angle = rng.exponential(motion_px) * scale, rng.uniform(0, np.pi)
    if length_px < 0.5:
        return image
    half = min(int(np.ceil(length_px / 2)), 8)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.clip(length_px / 2 + 0.5 - abs(along), 0, 1) * np.clip(1 - abs(across), 0, 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def capture_depth(
    depth: np.ndarray,
    cos_incidence: np.ndarray,
    albedo: np.ndarray,
    gloss: np.ndarray,
    focal_px: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Simulates depth measured with a projector and a camera.

    Args:
        depth: `[H, W]` float32 metres along the optical axis, without holes.
        cos_incidence: `[H, W]` float32, 1 where the surface faces the sensor.
        albedo: `[H, W]` float32 reflectance, 0 to 1.
        gloss: `[H, W]` float32, 0 matt to 1 mirror-like.
        focal_px: focal length in pixels of this grid.
        rng: random numbers of the frame.

    Returns:
        `[H, W]` uint16 millimetres; 0 marks no reading.
    """
    scale = depth.shape[1] / REFERENCE_WIDTH
    depth, cos_incidence, albedo, gloss = _jitter_edges(
        (depth, cos_incidence, albedo, gloss), scale, rng
    )
    disparity = focal_px * BASELINE_M / depth
    lost = _in_projector_shadow(disparity)
    lost |= _too_dim(depth, cos_incidence, albedo, gloss, scale, rng)
    reach = 0.15 * _smooth_noise(depth.shape, 12 * scale, rng)
    lost |= (depth < MIN_DEPTH_M) | (depth > MAX_DEPTH_M + reach)
    noise = _smooth_noise(depth.shape, 2.0 * scale, rng) * DISPARITY_NOISE_PX * scale
    step = DISPARITY_STEP_PX * scale
    measured = np.maximum(np.round((disparity + noise) / step) * step, step)
    depth_mm = np.round(MM_PER_M * focal_px * BASELINE_M / measured)
    depth_mm = np.where(lost, 0, np.clip(depth_mm, 0, 65535)).astype(np.uint16)
    return _with_border(depth_mm, scale)


def _smooth_noise(shape: tuple[int, ...], sigma_px: float, rng: np.random.Generator) -> np.ndarray:
    """Returns `[H, W]` normal noise of unit variance, smoothed by a Gaussian of `sigma_px`."""
    noise = rng.standard_normal(shape, np.float32)
    if sigma_px < 0.4:
        return noise
    noise = cv2.GaussianBlur(noise, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
    return noise / max(float(noise.std()), 1e-6)


def _jitter_edges(
    images: tuple[np.ndarray, ...], scale: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Takes each pixel from a random neighbour, which makes outlines irregular."""
    height, width = images[0].shape
    y, x = np.mgrid[:height, :width]
    shift_y, shift_x = (_smooth_noise((height, width), 1.2 * scale, rng) * scale for _ in range(2))
    y = np.clip(np.round(y + shift_y), 0, height - 1).astype(int)
    x = np.clip(np.round(x + shift_x), 0, width - 1).astype(int)
    return [image[y, x] for image in images]


def _in_projector_shadow(disparity: np.ndarray) -> np.ndarray:
    """Returns where a nearer surface hides the projector: to the left of near objects."""
    projected = np.arange(disparity.shape[1]) - disparity
    from_right = np.minimum.accumulate(projected[:, ::-1], axis=1)[:, ::-1]
    return projected > from_right + 0.5


def _too_dim(
    depth: np.ndarray,
    cos_incidence: np.ndarray,
    albedo: np.ndarray,
    gloss: np.ndarray,
    scale: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns where too little light comes back: dark, grazing, far or glossy surfaces."""
    matt = 1 - gloss * (1 - cos_incidence**4)
    signal = cos_incidence * np.maximum(albedo, 1e-3) ** 0.35 * matt / np.maximum(depth, 0.3) ** 1.4
    patches = 0.35 * _smooth_noise(depth.shape, 9 * scale, rng) + 0.1 * _smooth_noise(
        depth.shape, scale, rng
    )
    return signal * np.exp(patches) < MIN_SIGNAL


def _with_border(depth_mm: np.ndarray, scale: float) -> np.ndarray:
    """Removes the readings at the border, as the registration to the colour camera does."""
    top, bottom, left, right = (max(1, round(side * scale)) for side in BORDER_PX)
    framed = np.zeros_like(depth_mm)
    height, width = depth_mm.shape
    inside = slice(top, height - bottom), slice(left, width - right)
    framed[inside] = depth_mm[inside]
    return framed
