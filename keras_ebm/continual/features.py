"""What is read off rows before a learner sees them, without looking at other rows."""

from collections.abc import Callable

import numpy as np

from keras_ebm.arguments import check_size

#: From float32 rows `(n, ...)` to features `(n, dim)`.
Features = Callable[[np.ndarray], np.ndarray]


def flat_rows(x: np.ndarray) -> np.ndarray:
    """Rows `(n, ...)` as vectors `(n, dim)`."""
    return x.reshape(len(x), -1)


def cosine_features(size: int = 10) -> Features:
    """The lowest two-dimensional cosine frequencies of grey images.

    Args:
        size: int >= 1, frequencies along each side.

    Returns:
        Callable from `(n, height, width)` or `(n, height, width, 1)` to
        `(n, size * size)`, by an orthonormal transform of type 2, cut off: distances
        shrink, and by little where images are smooth.
    """
    check_size("size", size)

    def features(x: np.ndarray) -> np.ndarray:
        if x.ndim == 4 and x.shape[-1] == 1:
            x = x[..., 0]
        if x.ndim != 3 or min(x.shape[1:]) < size:
            raise ValueError(
                f"Cosine features need grey images of {size} pixels or more a side. "
                f"Received: rows of shape {x.shape[1:]}; lower `size`, or take "
                "flat_rows."
            )
        across, along = (_cosines(length, size) for length in x.shape[1:])
        found = np.einsum("nhw,hi,wj->nij", x, across, along, optimize=True)
        return found.reshape(len(x), -1).astype(np.float32)

    return features


def _cosines(length: int, size: int) -> np.ndarray:
    """Orthonormal columns `(length, size)`: `sqrt(2 / L) cos(pi (l + 1/2) k / L)`."""
    places, frequencies = np.arange(length) + 0.5, np.arange(size)
    columns = np.cos(np.pi * places[:, None] * frequencies / length)
    columns *= np.sqrt(2.0 / length)
    columns[:, 0] = np.sqrt(1.0 / length)
    return columns
