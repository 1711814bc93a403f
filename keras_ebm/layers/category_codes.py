"""Vectors that stand for the categories of a column, in place of one entry each."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np

#: What a category may become.
CATEGORIES = ("one_hot", "embedding", "hashing")
#: Rows that a category's profile is drawn towards the mean by.
PRIOR_ROWS = 10.0


def code_length(num_categories: int) -> int:
    """Numbers of a vector, `1.6 n^0.56` for `n` categories and "unknown", at most `n`.

    The rule of thumb of fastai's tables: 3 of 3, 6 of 10, 14 of 50, 21 of 100.
    """
    count = num_categories + 1
    return min(count, math.ceil(1.6 * count**0.56))


def hashed_codes(vocabulary: Sequence[str], length: int) -> np.ndarray:
    """A random direction for each word, and for "unknown", `(words + 1, length)`.

    The direction is drawn by the word alone (its CRC-32), so it is the same in every
    table; rows have length 1, as a one-hot row has.
    """
    drawn = [
        np.random.default_rng(zlib.crc32(f"word {word}".encode())).normal(size=length)
        for word in vocabulary
    ]
    drawn.append(np.random.default_rng(0).normal(size=length))
    rows = np.stack(drawn)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def embedded_codes(one_hot: np.ndarray, others: np.ndarray, length: int) -> np.ndarray:
    """A vector for each category by what stands beside it, `(categories, length)`.

    A category's profile is the mean of the other columns' entries over its rows, less
    that over all rows, drawn towards 0 by `PRIOR_ROWS`; the vectors are its first
    principal components, each category weighed by its rows, and have a mean square
    length of 1 over the rows. So categories that come with the like are alike, and
    one that no row has, such as "unknown", is 0.

    Args:
        one_hot: `(n, categories)` of the rows.
        others: `(n, d)`, their entries of other columns, standardised.
        length: int. Of fewer components the rest are 0.

    References:
        - Greenacre (1984), "Theory and applications of correspondence analysis", of
          which this is the like with numeric columns beside.
    """
    counts = one_hot.sum(axis=0)
    centred = others - others.mean(axis=0)
    profiles = one_hot.T @ centred / (counts[:, None] + PRIOR_ROWS)
    weights = np.sqrt(counts)[:, None]
    directions = np.linalg.svd(weights * profiles, full_matrices=False)[2][:length]
    # A component's sign is anyone's choice: its largest share counts as positive.
    largest = np.argmax(np.abs(directions), axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    codes = profiles @ (directions * np.where(signs == 0, 1.0, signs)[:, None]).T
    size = math.sqrt(np.sum(weights**2 * codes**2) / max(1.0, counts.sum()))
    codes = codes / size if size > 1e-9 else codes
    return np.pad(codes, ((0, 0), (0, length - codes.shape[1])))
