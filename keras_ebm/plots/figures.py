"""Figures of matplotlib, which is imported only when one is drawn."""

import io
import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from keras_ebm import files
from keras_ebm.arguments import why_not_imported


def pyplot():
    """Imports matplotlib.pyplot without a display; ImportError says how to get it."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as module
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib, which "
            f"{why_not_imported('matplotlib', error)}. "
            'Run `pip install "keras_ebm[plots]"`.'
        ) from error
    return module


def to_array(figure: Any) -> np.ndarray:
    """Renders a figure to uint8 `(height, width, 4)` and closes it."""
    figure.canvas.draw()
    array = np.asarray(figure.canvas.buffer_rgba()).copy()
    pyplot().close(figure)
    return array


def save(figure: Any, path: str | os.PathLike | IO[bytes]) -> None:
    """Writes a figure to a file, and closes the figure.

    Args:
        figure: of matplotlib.
        path: of the file, whose ending says of which format; `.png` is added to a name
            without one. Or a binary file that is open, which gets a PNG.
    """
    if hasattr(path, "write"):
        figure.savefig(path, dpi=120)
    else:
        path = Path(path)
        path = path if path.suffix else path.with_suffix(".png")
        picture = io.BytesIO()
        figure.savefig(picture, dpi=120, format=path.suffix[1:])
        files.write_bytes(path, picture.getbuffer())
    pyplot().close(figure)
