"""Sprites: one white figure on black, with its exact attributes."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_choice, check_size, listed
from keras_ebm.data.dataset import Dataset

SHAPES = ("square", "ellipse", "heart")
#: Sides of squares of the same area, as shares of the image's side.
SIZES = (0.14, 0.21, 0.3)
#: Centres of a 3 x 3 grid, as shares of the image's side.
CENTRES = (0.25, 0.5, 0.75)
SUBPIXELS = 4
#: Images drawn at once.
NUM_ROWS = 512
#: What a label can be of: each with the number of its classes.
ATTRIBUTES = {"shape": 3, "size": 3, "position": 9}
DEFAULT_SIZE = 32


class Sprites(NamedTuple):
    """Images with what they show.

    Attributes:
        images: uint8 `(n, side, side, 1)`, 0 or 255 but at edges.
        shape: `(n,)` integers, of `SHAPES`.
        size: `(n,)` integers, from small to large.
        position: `(n,)` integers of a 3 x 3 grid, row by row from the top left.
        orientation: `(n,)` floats, turn in radians, anticlockwise.
        x: `(n,)` floats in [0, 1], centre from the left.
        y: `(n,)` floats in [0, 1], centre from the top.
    """

    images: np.ndarray
    shape: np.ndarray
    size: np.ndarray
    position: np.ndarray
    orientation: np.ndarray
    x: np.ndarray
    y: np.ndarray


def draw_sprites(
    num_rows: int,
    seed: int = 0,
    *,
    side: int = DEFAULT_SIZE,
    held_out: bool | None = None,
    fold: int = 0,
    turned: bool = True,
) -> Sprites:
    """Draws sprites whose attributes are uniform and independent.

    All shapes of a size have the same area, so that the sum of the pixels tells the
    size and nothing of the shape.

    Args:
        num_rows: int >= 1.
        seed: int >= 0.
        side: int >= 8, pixels.
        held_out: which combinations of size and position to draw: a third of them,
            one size at each position, is kept for tests (True), the others are for
            training (False); None: all.
        fold: int, which size is kept: 0, 1 or 2; so that settings can be chosen on
            other combinations than those reported.
        turned: bool, whether figures are turned by any angle.

    Returns:
        `Sprites`.

    Raises:
        ValueError: if an argument breaks its rule.
    """
    check_size("num_rows", num_rows)
    if check_size("side", side) < 8:
        raise ValueError(f"`side` must be at least 8 pixels. Received: side={side}.")
    rng = np.random.default_rng(seed)
    shape = rng.integers(3, size=num_rows)
    position = rng.integers(9, size=num_rows)
    size = rng.integers(3, size=num_rows)
    if held_out is not None:
        step = rng.integers(1, 3, size=num_rows)
        kept = held_out_size(position, fold)
        size = kept if held_out else (kept + step) % 3
    turn = rng.uniform(0.0, 2.0 * np.pi, num_rows) if turned else np.zeros(num_rows)
    x, y = np.take(CENTRES, position % 3), np.take(CENTRES, position // 3)
    images = render(shape, np.take(SIZES, size), x, y, turn, side)
    return Sprites(images, shape, size, position, turn, x, y)


def held_out_size(position: np.ndarray, fold: int = 0) -> np.ndarray:
    """The size that training never shows at each position, `(n,)`."""
    position = np.asarray(position)
    return (position % 3 + position // 3 + fold) % 3


def render(
    shape: np.ndarray,
    scale: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    orientation: np.ndarray,
    side: int,
) -> np.ndarray:
    """Draws figures of any attributes, with smooth edges.

    Args:
        shape: `(n,)` integers, of `SHAPES`.
        scale: `(n,)`, root of the area as a share of the image's side.
        x: `(n,)`, centre from the left in [0, 1].
        y: `(n,)`, centre from the top in [0, 1].
        orientation: `(n,)`, turn in radians, anticlockwise.
        side: int, pixels.

    Returns:
        uint8 `(n, side, side, 1)`.
    """
    images = np.zeros((len(shape), side, side, 1), np.uint8)
    # Nothing of a figure is further from its centre than this, in units of its scale.
    reach = 0.8
    width = min(side, int(np.ceil(2 * reach * np.max(scale) * side)) + 1)
    for first in range(0, len(shape), NUM_ROWS):
        part = slice(first, first + NUM_ROWS)
        numbers = np.stack([scale[part], x[part], y[part], orientation[part]])
        size, left, top, turn = numbers.astype(np.float32)[:, :, None, None]
        corner = [
            np.clip(np.round(c[:, 0, 0] * side - width / 2), 0, side - width).astype(
                int
            )
            for c in (left, top)
        ]
        fine = (np.arange(width * SUBPIXELS, dtype=np.float32) + 0.5) / SUBPIXELS
        across, down = ((c[:, None] + fine).astype(np.float32) / side for c in corner)
        right, above = (across[:, None] - left) / size, (top - down[:, :, None]) / size
        u = right * np.cos(turn) + above * np.sin(turn)
        v = above * np.cos(turn) - right * np.sin(turn)
        inside = np.empty(u.shape, np.float32)
        for number, figure in enumerate((_square, _ellipse, _heart)):
            rows = shape[part] == number
            inside[rows] = figure(u[rows], v[rows])
        covered = inside.reshape(-1, width, SUBPIXELS, width, SUBPIXELS).mean((2, 4))
        patch = np.arange(width)
        columns, lines = (c[:, None] + patch for c in corner)
        index = np.arange(len(lines))[:, None, None]
        drawn = images[part, ..., 0]
        drawn[index, lines[:, :, None], columns[:, None]] = np.rint(255.0 * covered)
    return images


def _square(u, v):
    return (np.abs(u) < 0.5) & (np.abs(v) < 0.5)


def _ellipse(u, v):
    """Axes of two to one; area 1."""
    return u**2 * np.pi / 2.0 + v**2 * np.pi * 2.0 < 1.0


def _heart(u, v):
    """A sextic curve, of area 3.66 where its lobes have about unit radius."""
    # Its centre of mass lies above the origin of the curve.
    u, v = u * 1.9136, v * 1.9136 + 0.2935
    root = u * u + v * v - 1.0
    return root * root * root < u * u * v * v * v


def measure_sprites(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Size and position of what images show, by their moments alone.

    The sum of the pixels is the area, and their mean place the centre. Of images drawn
    here both are right without exception.

    Args:
        images: `(n, side, side, 1)`, from 0 (black) to 1 or 255 (white); or floats from
            -1 to 1, as inside of models.

    Returns:
        `(size, position)`: `(n,)` integers as those of `Sprites`; -1 where the area is
        further from that of any size than half of the way to the next, or the centre
        further than an eighth of the image's side from any of the grid, or the pixels
        spread beyond what a figure of their area does.
    """
    pixels = np.asarray(images, np.float64)[..., 0]
    if pixels.min(initial=0.0) < 0.0:
        pixels = (pixels + 1.0) / 2.0
    elif pixels.max(initial=0.0) > 1.0:
        pixels = pixels / 255.0
    side = pixels.shape[1]
    place = (np.arange(side) + 0.5) / side
    mass = np.maximum(pixels.sum((1, 2)), 1e-9)
    area = mass / side**2
    x = (pixels.sum(1) @ place) / mass
    y = (pixels.sum(2) @ place) / mass
    squares = pixels.sum(1) @ place**2 + pixels.sum(2) @ place**2
    spread = squares / mass - x**2 - y**2
    scale = np.sqrt(area)
    size = np.argmin(np.abs(scale[:, None] - SIZES), axis=1)
    gap = np.diff(SIZES).min() / 2.0
    # An ellipse of two to one has a second moment of .2 times its area, a square .167.
    good = (np.abs(scale - np.take(SIZES, size)) < gap) & (spread < 0.3 * area)
    column, row = (np.argmin(np.abs(c[:, None] - CENTRES), axis=1) for c in (x, y))
    near = np.hypot(x - np.take(CENTRES, column), y - np.take(CENTRES, row)) < 0.125
    return np.where(good, size, -1), np.where(near, 3 * row + column, -1)


def read_sprites(name: str | None, *, num_rows: int = 20_000, seed: int = 0) -> Dataset:
    """Makes a data set of sprites, labelled by one attribute.

    Args:
        name: str, `ATTRIBUTE` or `ATTRIBUTE@SIDE`: `"shape"`, `"size"` or
            `"position"`, and the pixels of a side, 32 by default.
        num_rows: int >= 1.
        seed: int >= 0.

    Returns:
        `Dataset` of kind `"image"`.

    Raises:
        ValueError: if the name is another one.
    """
    attribute, at, side = (name or "").partition("@")
    if at and not side.isdecimal():
        raise ValueError(
            "Sprites are named sprites:ATTRIBUTE or sprites:ATTRIBUTE@SIDE, such as "
            f"sprites:shape@64. Received: sprites:{name}."
        )
    check_choice("attribute", attribute, tuple(ATTRIBUTES))
    sprites = draw_sprites(num_rows, seed, side=int(side or DEFAULT_SIZE))
    names = SHAPES if attribute == "shape" else range(ATTRIBUTES[attribute])
    return Dataset(
        x=sprites.images,
        y=getattr(sprites, attribute).astype(np.int64),
        kind="image",
        class_names=tuple(str(name) for name in names),
        name=f"sprites:{name}",
    )


#: Of dSprites, the features of TensorFlow Datasets by our names.
_DSPRITES = {
    "shape": "label_shape",
    "size": "label_scale",
    "orientation": "value_orientation",
    "x": "value_x_position",
    "y": "value_y_position",
}


def read_dsprites(
    data_dir: str | os.PathLike | None = None, num_rows: int | None = None
) -> Sprites:
    """dSprites of TensorFlow Datasets, by the names of `Sprites`.

    Its six sizes become three, of two each, and its 32 x 32 places the 3 x 3 grid that
    they lie in.

    Args:
        data_dir: where it is stored.
        num_rows: int >= 1, a random choice of its images; None: all 737,280.

    Returns:
        `Sprites` of 64 x 64 pixels.

    Raises:
        ValueError: if it cannot be read.
    """
    from keras_ebm.data.tfds_images import _prepared_builder

    builder = _prepared_builder("dsprites", data_dir)
    features = dict(builder.info.features)
    absent = [name for name in _DSPRITES.values() if name not in features]
    if absent:
        raise ValueError(f"tfds:dsprites lacks {listed(absent)}.")
    rows = builder.as_dataset(split="train", shuffle_files=False)
    if num_rows is not None:
        count = builder.info.splits["train"].num_examples
        chosen = np.random.default_rng(0).permutation(count)
        # A shuffle would hold all images at once.
        kept = tf.constant(chosen < check_size("num_rows", num_rows))
        rows = rows.enumerate().filter(lambda i, _: kept[i]).map(lambda _, row: row)
    wanted = ("image", *_DSPRITES.values())
    rows = rows.map(lambda row: {name: row[name] for name in wanted})
    batches = list(rows.batch(1024).as_numpy_iterator())
    found = {name: np.concatenate([b[name] for b in batches]) for name in wanted}
    x, y = found["value_x_position"], found["value_y_position"]
    column, row = (np.minimum((3 * place).astype(int), 2) for place in (x, y))
    return Sprites(
        images=found["image"] * np.uint8(255 // max(1, found["image"].max())),
        shape=found["label_shape"].astype(int),
        size=found["label_scale"].astype(int) // 2,
        position=3 * row + column,
        orientation=found["value_orientation"],
        x=x,
        y=y,
    )
