"""Pictures of the generated set: an outline on a textured background, drawn from (seed, split, index) alone.

The outline is the class. Everything else (hue, brightness, place, size, the shape of the picture, clutter) is
independent of it, and classes cannot be distinguished in 8x8 thumbnails. The object is brighter than its background,
because no net learned objects that are sometimes darker. Objects differ in size by a factor of four, so that training
and testing at several scales (sections 3.1 and 3.2) make a difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from verydeep.ops.arrays import BoolArray, Float32Array, Float64Array, UInt8Array

SPLITS = ("train", "val", "test")
SMALLEST, LARGEST = 0.15, 0.60
"""Limits of the longer side of the object's box, as a share of the picture's short side; it is log-uniform."""

Box = tuple[int, int, int, int]  # inclusive xyxy

_STREAM = int.from_bytes(b"outlines", "big")
_SUPERSAMPLING = 4
_NORMAL_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)], np.float32)


def _corners(count: int, *radii: float) -> Float64Array:
    """Return corners around the origin, the first one on top, with the radii in turn."""
    angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
    points: Float64Array = np.resize(radii, count)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return points


def _open_ring() -> Float64Array:
    angles = np.linspace(0.2 * np.pi, 1.8 * np.pi, 48)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.concatenate([arc, 0.72 * arc[::-1]])


def _heart() -> Float64Array:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], axis=1)


_ARROW = np.array([(-1, -0.18), (0.1, -0.18), (0.1, -0.7), (1, 0), (0.1, 0.7), (0.1, 0.18), (-1, 0.18)])
_CROSS_QUARTER = np.array([(0.2, -1), (0.2, -0.2), (1, -0.2)])
_QUARTER_TURN = np.array([(0, 1), (-1, 0)])

_OUTLINES: Mapping[str, tuple[Float64Array, ...]] = {  # a polygon, and the hole in it if there is one
    "arrow": (_ARROW,),
    "cross": (np.concatenate([_CROSS_QUARTER @ np.linalg.matrix_power(_QUARTER_TURN, n) for n in range(4)]),),
    "disc": (_corners(60, 1),),
    "heart": (_heart(),),
    "hexagon": (_corners(6, 1),),
    "open_ring": (_open_ring(),),
    "ring": (_corners(60, 1), _corners(60, 0.72)),
    "square": (np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]),),
    "star": (_corners(10, 1, 0.38),),
    "triangle": (_corners(3, 1),),
}
CLASS_NAMES = tuple(sorted(_OUTLINES))
"""No outline is the mirror image of another, because training flips images."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One rendered picture, before it is written as a JPEG."""

    pixels: UInt8Array
    """(h, w, 3) RGB."""
    mask: BoolArray
    """(h, w) whether the object covers at least half of each pixel."""
    box: Box
    """Inclusive xyxy of the mask."""
    label: int


def render(seed: int, split: str, index: int) -> Picture:
    """Draw one picture, a function of the arguments alone; its label is ``index % 10``."""
    counter = [0, 0, index, SPLITS.index(split)]
    rng = np.random.Generator(np.random.Philox(key=[seed, _STREAM], counter=counter))
    label = index % len(CLASS_NAMES)
    short = int(rng.integers(100, 125))
    long = round(short * rng.uniform(1.1, 1.45))
    height, width = (short, long) if rng.random() < 0.5 else (long, short)
    brightness = rng.uniform(40, 95)
    image = _draw_background(rng, height, width, brightness)  # (h, w, 3)

    coverage, extent = _draw_object(rng, _OUTLINES[CLASS_NAMES[label]], short)
    box = _choose_place(rng, extent, height, width)
    x, y = box[0] - extent[0], box[1] - extent[1]  # the place of the patch's pixel (0, 0)
    left, upper = max(x, 0), max(y, 0)
    coverage = coverage[upper - y : height - y, left - x : width - x]
    rows = slice(upper, upper + coverage.shape[0])
    columns = slice(left, left + coverage.shape[1])
    color = _choose_color(rng, brightness + rng.uniform(80, 125))
    image[rows, columns] += coverage[..., None] * (color - image[rows, columns])
    mask = np.zeros((height, width), np.bool_)
    mask[rows, columns] = coverage >= 0.5

    _draw_line_across(rng, image, box)
    return Picture(_finish(rng, image), mask, box, label)


def _choose_color(rng: np.random.Generator, brightness: float) -> Float32Array:
    """Draw an RGB color of any hue with this mean."""
    hue, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 45)
    color: Float32Array = brightness + strength * np.cos(hue - 2 * np.pi / 3 * np.arange(3, dtype=np.float32))
    return color


def _draw_background(rng: np.random.Generator, height: int, width: int, brightness: float) -> Float32Array:
    """Draw slow changes of color, a finer texture, and clutter: lines, and fragments smaller than any object."""

    def texture(cells_high: int, cells_wide: int, *channels: int) -> Float32Array:
        noise = rng.integers(0, 256, (cells_high, cells_wide, *channels), np.uint8)
        smooth = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        field: Float32Array = np.asarray(smooth, np.float32) - np.float32(127.5)
        return field

    image: Float32Array = _choose_color(rng, brightness) + np.float32(0.14) * texture(3, 4, 3)
    cells = rng.integers(5, 30, 2)
    texture_and_clutter = np.float32(rng.uniform(0.04, 0.16)) * texture(int(cells[0]), int(cells[1]))

    canvas = Image.new("L", (2 * width, 2 * height), 128)
    draw = ImageDraw.Draw(canvas)
    size = (2 * width, 2 * height)
    for _ in range(rng.integers(1, 4)):
        ends = rng.random((2, 2)) * size
        draw.line([*map(float, ends.ravel())], fill=_choose_tone(rng), width=int(rng.integers(2, 6)))
    for _ in range(rng.integers(2, 6)):
        fragment = rng.random(2) * size + rng.uniform(-13, 13, (int(rng.integers(3, 5)), 2))
        draw.polygon([*map(float, fragment.ravel())], fill=_choose_tone(rng))
    texture_and_clutter += np.asarray(canvas.reduce(2), np.float32) - 128
    image += texture_and_clutter[..., None]
    return image


def _choose_tone(rng: np.random.Generator) -> int:
    """Draw a tone for clutter, darker or brighter than 128, the background."""
    return 128 + int(rng.choice((-1, 1)) * rng.uniform(15, 45))


def _draw_object(rng: np.random.Generator, polygons: Sequence[Float64Array], short: int) -> tuple[Float32Array, Box]:
    """Draw an object; return its coverage (h, w) in [0, 1] on a patch, and the box of the pixels half covered."""
    angle = rng.uniform(-np.pi / 9, np.pi / 9)
    stretch = np.exp(rng.uniform(-0.13, 0.13))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = [(polygon * (stretch, 1 / stretch)) @ turn for polygon in polygons]
    low, high = turned[0].min(axis=0), turned[0].max(axis=0)
    unit = [(polygon - low) / (high - low).max() for polygon in turned]
    shift = 2 + rng.random(2)
    length = short * SMALLEST * (LARGEST / SMALLEST) ** rng.random()
    while True:
        coverage = _rasterize([shift + length * polygon for polygon in unit])
        solid = coverage >= 0.5
        xs, ys = np.flatnonzero(solid.any(axis=0)), np.flatnonzero(solid.any(axis=1))
        box = (int(xs[0]), int(ys[0]), int(xs[-1]), int(ys[-1]))
        longer = max(box[2] - box[0], box[3] - box[1]) + 1
        if SMALLEST * short <= longer <= LARGEST * short:
            return coverage, box
        length += (
            0.5 if longer < SMALLEST * short else -0.5
        )  # only at the ends of the range, because of whole pixels and thin tips


def _rasterize(polygons: Sequence[Float64Array]) -> Float32Array:
    """Return the coverage (h, w) of the first polygon minus the others."""
    extent = np.ceil(polygons[0].max(axis=0)).astype(int) + 2
    canvas = Image.new("L", (int(extent[0]) * _SUPERSAMPLING, int(extent[1]) * _SUPERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    for polygon, fill in zip(polygons, (255, 0), strict=False):
        draw.polygon([*map(float, (polygon * _SUPERSAMPLING - 0.5).ravel())], fill=fill)
    coverage: Float32Array = np.asarray(canvas.reduce(_SUPERSAMPLING), np.float32) / np.float32(255)
    return coverage


def _choose_place(rng: np.random.Generator, extent: Box, height: int, width: int) -> Box:
    """Draw a place inside the picture, more often near its middle, so that a crop contains most of the object."""
    sides = extent[2] - extent[0] + 1, extent[3] - extent[1] + 1
    left, top = (
        int((room - side + 1) * rng.random(3).mean()) for room, side in zip((width, height), sides, strict=True)
    )
    return left, top, left + sides[0] - 1, top + sides[1] - 1


def _draw_line_across(rng: np.random.Generator, image: Float32Array, box: Box) -> None:
    """Draw one thin line across the object, in place."""
    height, width = image.shape[:2]
    corner, side = np.array(box[:2]), np.array([box[2] - box[0] + 1, box[3] - box[1] + 1])
    middle = corner + side * rng.uniform(0.3, 0.7, 2)
    angle, reach = rng.uniform(0, np.pi), side.max() * rng.uniform(0.7, 1.3)
    arm = reach * np.array([np.cos(angle), np.sin(angle)])
    canvas = Image.new("L", (2 * width, 2 * height))
    ends = 2 * np.stack([middle - arm, middle + arm])
    ImageDraw.Draw(canvas).line([*map(float, ends.ravel())], fill=255, width=int(rng.integers(2, 4)))
    coverage = np.asarray(canvas.reduce(2), np.float32)[..., None] / 255
    image += coverage * (_choose_color(rng, rng.uniform(40, 190)) - image)


def _finish(rng: np.random.Generator, image: Float32Array) -> UInt8Array:
    """Blur an image, add noise, and round it to (h, w, 3) uint8."""
    sharp = Image.fromarray(image.clip(0, 255).astype(np.uint8))
    blurred = np.asarray(sharp.filter(ImageFilter.BoxBlur(rng.uniform(0, 1))), np.int16)
    grain = (rng.uniform(3, 12) * _NORMAL_QUANTILES).round().astype(np.int16)
    noise = grain[np.frombuffer(rng.bytes(image.size), np.uint8)].reshape(image.shape)
    return (blurred + noise).clip(0, 255).astype(np.uint8)
