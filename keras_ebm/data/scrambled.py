"""Images with random phases, as arrays."""

import numpy as np


def scrambled_phases(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each row with the Fourier amplitudes that it has and random phases.

    As `keras_ebm.negatives.PhaseScramble` makes them, but with arrays, of any number of
    axes, and without a range.

    Args:
        rows: `(n, ..., channels)`, of numbers; channels share their phases.
        rng: NumPy generator.

    Returns:
        Float64 array like `rows`; the mean of each row and channel stays.
    """
    axes = tuple(range(1, rows.ndim - 1))
    # The phases of real noise leave rows real; channels share them.
    noise = np.fft.rfftn(rng.normal(size=(*rows.shape[:-1], 1)), axes=axes)
    phases = np.exp(1j * np.angle(noise))
    phases[(slice(None), *[0] * len(axes))] = 1.0  # The mean stays.
    spectrum = np.fft.rfftn(rows.astype(np.float64), axes=axes) * phases
    return np.fft.irfftn(spectrum, s=rows.shape[1:-1], axes=axes)
