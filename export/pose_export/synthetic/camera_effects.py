"""What a camera does to a picture: blur, noise, tones and JPEG. No pixel moves, so labels stay true."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Random = np.random.Generator

_NOISE = 640  # side of the noise that pictures are cut from, pixels


def photograph(
    image: Image | Floats, rng: Random, *, people: NDArray[np.integer] | None = None, quality: float | None = None
) -> Image:
    """The picture as an ordinary camera gives it: mostly good, sometimes blurred, dark, noisy, small or grey.

    Args:
        image: (H, W, 3), B, G, R; uint8, or float of 0 to 1 (sRGB).
        rng: decides everything.
        people: (H, W), 0 where nobody is, else which person; with it some pictures have a person moving, or a
            background out of focus.
        quality: 0 very bad to 1 very good; None draws it, mostly good.

    Returns:
        uint8 (H, W, 3), as large as the input.
    """
    quality = float(rng.beta(2.2, 1.2)) if quality is None else quality
    worse = 1 - quality
    picture = _as_bytes(image)
    size_wh = picture.shape[1], picture.shape[0]
    picture = _optics(picture, rng, worse, people)
    small = rng.random() < 0.5 * worse
    if small:
        factor = float(rng.uniform(max(0.25, 0.95 - 1.1 * worse), 0.95))
        picture = _resized(picture, (max(8, round(size_wh[0] * factor)), max(8, round(size_wh[1] * factor))))
    picture = _develop(picture, rng, worse)
    if small:
        picture = _resized(picture, size_wh)
    return _compressed(picture, rng, worse)


def _as_bytes(image: Image | Floats) -> Image:
    if image.dtype == np.uint8:
        return np.asarray(np.ascontiguousarray(image), np.uint8)
    return np.asarray(np.clip(np.asarray(image, np.float32) * 255 + 0.5, 0, 255), np.uint8)


def _resized(picture: Image, size_wh: tuple[int, int]) -> Image:
    shrinks = size_wh[0] < picture.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size_wh, interpolation=how), np.uint8)


# ---- lens and shutter


def _optics(picture: Image, rng: Random, worse: float, people: NDArray[np.integer] | None) -> Image:
    """Defocus and motion; each mostly absent."""
    scale = max(picture.shape[:2]) / 384
    if people is not None and rng.random() < 0.3:
        picture = _defocused_background(picture, people == 0, float(rng.uniform(0.8, 4.5)) * scale, rng)
    if people is not None and rng.random() < 0.1:
        picture = _moving_person(picture, people, _motion(rng, float(rng.uniform(3, 12)) * scale), rng)
    if rng.random() < 0.05 + 0.2 * worse:
        picture = _filtered(picture, _motion(rng, float(rng.uniform(2, 2 + 8 * worse)) * scale))
    if rng.random() < 0.25:
        sigma = float(rng.uniform(0.3, 0.5 + 1.3 * worse)) * scale
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)
    return picture


def _filtered(picture: Image, kernel: Floats) -> Image:
    return np.asarray(cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REFLECT), np.uint8)


def _motion(rng: Random, length: float) -> Floats:
    """A shaken camera's path: a short bent line through the middle of the kernel, so that on average nothing moves."""
    side = 2 * int(np.ceil(length / 2) + 1) + 1
    angle, bend = rng.uniform(0, np.pi), rng.normal(0, 0.3)
    t = np.linspace(-0.5, 0.5, 33)
    along, across = t * length, bend * length * (t * t - 1 / 12)
    path = np.stack([along * np.cos(angle) - across * np.sin(angle), along * np.sin(angle) + across * np.cos(angle)])
    path += side // 2 - path.mean(axis=1, keepdims=True)
    kernel = np.zeros((side, side), np.float32)
    low = np.floor(path).astype(int).clip(0, side - 2)
    share = path - low
    for dx in (0, 1):
        for dy in (0, 1):
            weight = (share[0] if dx else 1 - share[0]) * (share[1] if dy else 1 - share[1])
            np.add.at(kernel, (low[1] + dy, low[0] + dx), weight.astype(np.float32))
    return np.asarray(kernel / kernel.sum(), np.float32)


def _disc(radius: float) -> Floats:
    """An aperture's blur: a disc with soft edge."""
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return np.asarray(disc / disc.sum(), np.float32)


def _defocused_background(picture: Image, background: NDArray[np.bool_], radius: float, rng: Random) -> Image:
    """Everything but people out of focus; their colours do not bleed into it."""
    share = background.astype(np.float32)
    kernel = _disc(radius) if rng.random() < 0.5 else None
    blurred = _blur(picture * share[..., None], kernel, radius)
    weight = _blur(share, kernel, radius)
    soft = cv2.GaussianBlur(share, (0, 0), 0.7)[..., None]
    behind = blurred / np.maximum(weight, 0.02)[..., None]
    return np.clip(picture + (behind - picture) * soft, 0, 255).astype(np.uint8)


def _blur(picture: Floats, kernel: Floats | None, radius: float) -> Floats:
    picture = np.asarray(picture, np.float32)
    if kernel is None:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.6 * radius), np.float32)
    return np.asarray(cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REFLECT), np.float32)


def _moving_person(picture: Image, people: NDArray[np.integer], kernel: Floats, rng: Random) -> Image:
    """One person blurred by their motion, over what stands around them."""
    present = np.unique(people[people != 0])
    if not len(present):
        return picture
    alpha = (people == present[rng.integers(len(present))]).astype(np.float32)
    alpha = cv2.filter2D(alpha, -1, kernel)[..., None]
    return np.clip(picture + (_filtered(picture, kernel).astype(np.float32) - picture) * alpha, 0, 255).astype(np.uint8)


# ---- sensor and tones


def _develop(picture: Image, rng: Random, worse: float) -> Image:
    """Noise, vignette, white balance, exposure and tone curve, colour, sharpening."""
    exposure, curve = _tones(rng, worse)
    noisy = _noisy(picture, rng, worse, exposure)
    if rng.random() < 0.3:
        noisy *= _vignette(noisy.shape[0], noisy.shape[1], float(rng.uniform(0.05, 0.35)))
    toned = np.asarray(cv2.LUT(np.clip(noisy, 0, 255).astype(np.uint8), curve), np.uint8)
    toned = _coloured(toned, rng)
    if rng.random() < 0.35:
        soft = cv2.GaussianBlur(toned, (0, 0), float(rng.uniform(0.6, 1.4)))
        amount = float(rng.uniform(0.2, 0.5 + 0.9 * worse))
        toned = np.asarray(cv2.addWeighted(toned, 1 + amount, soft, -amount, 0), np.uint8)
    return toned


def _tones(rng: Random, worse: float) -> tuple[float, Image]:
    """Exposure in stops, and all that acts on one value at a time as a table, uint8 (1, 256, 3).

    Exposure and white balance act on linear light; the S-curve and its lifted blacks on what is shown.
    """
    exposure = float(rng.normal(0.05, 0.18 + 0.5 * worse))
    if rng.random() < 0.06 + 0.1 * worse:
        exposure -= float(rng.uniform(0.8, 2.2))  # too dark
    elif rng.random() < 0.05:
        exposure += float(rng.uniform(0.5, 1.2))
    warm, green = rng.normal(0, 0.06 + 0.12 * worse), rng.normal(0, 0.03 + 0.05 * worse)
    gains = 2.0 ** (exposure + np.array([-warm, green, warm]))
    linear = (np.arange(256) / 255)[:, None] ** 2.2 * gains
    knee = rng.uniform(0.7, 1.0)  # highlights roll off above it
    linear = np.where(linear > knee, knee + (1 - knee) * np.tanh((linear - knee) / max(1 - knee, 0.05)), linear)
    shown = linear.clip(0, 1) ** (1 / 2.2)
    contrast = float(rng.normal(0.18, 0.2))
    curve = shown + contrast * (shown - 0.5) * shown * (1 - shown) * 4
    black, white = (rng.uniform(0, 0.12), rng.uniform(0.85, 1)) if rng.random() < 0.12 else (0.0, 1.0)
    table = (black + (white - black) * curve) * 255 + 0.5
    return exposure, np.clip(table, 0, 255).astype(np.uint8)[None]


def _noisy(picture: Image, rng: Random, worse: float, exposure: float) -> Floats:
    """Shot and read noise; a dark picture that was brightened has more of it."""
    gain = float(rng.gamma(1.5, 0.4 + 1.6 * worse * worse)) * 2 ** max(0.0, 0.5 * exposure)
    values = np.arange(256, dtype=np.float32)
    deviation = np.sqrt((0.4 * gain) ** 2 + 0.014 * gain * gain * values)
    luma = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    spread = cv2.LUT(luma, deviation.astype(np.float32))
    noise = _cut(_noise_bank()[int(rng.integers(4))], rng, picture.shape[0], picture.shape[1])
    return np.asarray(picture + noise * spread[..., None], np.float32)


@lru_cache(maxsize=1)
def _noise_bank() -> list[Floats]:
    """Unit noise of four kinds: raw, as demosaicing leaves it, and two that a denoiser smeared, with blotches."""
    rng = np.random.default_rng(5)
    bank = []
    for blur, chroma in ((0.0, 0.7), (0.6, 0.5), (0.9, 0.35), (1.5, 0.25)):
        luma = _unit(rng, 1, blur)
        colour = _unit(rng, 3, blur * 1.6 + 0.5)
        bank.append(np.ascontiguousarray((luma + chroma * colour) * (0.9 if blur else 0.8), dtype=np.float32))
    return bank


def _unit(rng: Random, channels: int, sigma: float) -> Floats:
    noise = rng.normal(0, 1, (_NOISE, _NOISE, channels)).astype(np.float32)
    if sigma:
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma), np.float32).reshape(_NOISE, _NOISE, channels)
    return np.asarray(noise / noise.std(), np.float32)


def _cut(noise: Floats, rng: Random, height: int, width: int) -> Floats:
    """A random piece, mirrored or not, repeated where the picture is larger."""
    if rng.random() < 0.5:
        noise = noise[::-1]
    if rng.random() < 0.5:
        noise = noise[:, ::-1]
    if height > _NOISE or width > _NOISE:
        noise = np.tile(noise, (-(-height // _NOISE), -(-width // _NOISE), 1))
    top = int(rng.integers(noise.shape[0] - height + 1))
    left = int(rng.integers(noise.shape[1] - width + 1))
    return noise[top : top + height, left : left + width]


@lru_cache(maxsize=8)
def _radius(height: int, width: int) -> Floats:
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.asarray((x * x + y * y) / 2, np.float32)[..., None]


def _vignette(height: int, width: int, strength: float) -> Floats:
    return np.asarray(1 - strength * _radius(height, width), np.float32)


def _coloured(picture: NDArray[np.uint8], rng: Random) -> NDArray[np.uint8]:
    """Saturation; rarely grey, as old, artistic and infrared pictures are."""
    kind = rng.random()
    if kind < 0.05:
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        tint = np.array([rng.normal(1, 0.04), 1, rng.normal(1, 0.04)]) if rng.random() < 0.3 else np.ones(3)
        ramp = np.clip(np.arange(256)[:, None] * tint, 0, 255).astype(np.uint8)
        return np.asarray(cv2.applyColorMap(grey, ramp[:, None]), np.uint8)
    if kind < 0.065:  # near infrared: reddish surfaces are bright
        grey = picture[..., 2].astype(np.float32) * 0.8 + picture[..., 1].astype(np.float32) * 0.3
        return cv2.cvtColor(np.clip(grey, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR).astype(np.uint8)
    amount = float(np.clip(rng.normal(1.0, 0.22), 0.3, 1.7))
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.addWeighted(picture, amount, grey, 1 - amount, 0), np.uint8)


def _compressed(picture: Image, rng: Random, worse: float) -> Image:
    """JPEG, mostly with half the chroma; half of the pictures are spared."""
    if rng.random() < 0.45 - 0.35 * worse:
        return picture
    jpeg_quality = int(np.clip(rng.normal(90 - 45 * worse, 8), 12, 97))
    half = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420 if rng.random() < 0.8 else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, half]
    data = cv2.imencode(".jpg", picture, options)[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
