"""Sprites to train on: pictures, each with the number of each of its labels."""

from typing import NamedTuple

import numpy as np

from keras_ebm.data import Sprites, draw_sprites, held_out_size, read_dsprites
from keras_ebm.data.sprites import ATTRIBUTES

#: Labels of one network: of each attribute a range, in this order.
ORDER = ("position", "size", "shape")
FIRST = {"position": 0, "size": 9, "shape": 12}
NUM_LABELS = sum(ATTRIBUTES.values())


class SpriteRows(NamedTuple):
    """Pictures and labels.

    Attributes:
        images: uint8 `(n, side, side, 1)`.
        labels: `(n, 3)` integers below `NUM_LABELS`, in the order of `ORDER`.
    """

    images: np.ndarray
    labels: np.ndarray


def sprite_rows(settings) -> SpriteRows:
    """Training pictures of `ComposeSettings`, without the combinations held out.

    Raises:
        ValueError: if there are none.
    """
    return numbered(
        _dsprites(settings, held_out=False)
        if settings.dataset == "dsprites"
        else draw_sprites(
            settings.rows,
            settings.seed,
            side=settings.side,
            held_out=False,
            fold=settings.fold,
        )
    )


def all_sprites(settings, count: int, seed: int) -> SpriteRows:
    """Pictures of every combination, for a judge."""
    if settings.dataset == "dsprites":
        found = _dsprites(settings, held_out=None)
        rows = np.random.default_rng(seed).permutation(len(found.images))[:count]
        return numbered(Sprites(*(part[rows] for part in found)))
    return numbered(draw_sprites(count, seed, side=settings.side))


def numbered(sprites: Sprites) -> SpriteRows:
    """Pictures with the numbers of their labels."""
    labels = [FIRST[name] + getattr(sprites, name) for name in ORDER]
    return SpriteRows(sprites.images, np.stack(labels, axis=1).astype(np.int32))


def _dsprites(settings, held_out: bool | None) -> Sprites:
    found = read_dsprites(settings.data_dir or None, settings.rows)
    if held_out is None:
        return found
    is_kept = found.size == held_out_size(found.position, settings.fold)
    rows = np.flatnonzero(is_kept == held_out)
    return Sprites(*(part[rows] for part in found))
