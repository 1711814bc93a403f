"""The table of data sources: how each is named and read, and what is in it."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable

import numpy as np

from keras_ebm.data import builders, toy
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.images import read_image_folder
from keras_ebm.data.npz import read_npz
from keras_ebm.data.optional import require
from keras_ebm.data.parsing import parse_spec
from keras_ebm.data.python_rows import read_python
from keras_ebm.data.sprites import read_sprites
from keras_ebm.data.stacked import read_stacked
from keras_ebm.data.tables import read_csv
from keras_ebm.data.tfds_images import read_tfds
from keras_ebm.data.tfds_tables import read_tfds_table


@dataclasses.dataclass(frozen=True)
class Source:
    """A kind of data set that a spec can name.

    Args:
        read: callable from what stands after the colon (None for a source without) to
            a `Dataset`. Its keyword-only arguments are those of `keras_ebm.data.read`
            that mean something to it.
        kinds: what the rows may be, of `keras_ebm.data.dataset.KINDS`.
        after: str, what stands after the colon, `""` for a source without.
        options: str, what may stand after that, as help shows it.
        is_file: bool, whether it is the path of one file.
    """

    read: Callable[..., Dataset]
    kinds: tuple[str, ...]
    after: str = ""
    options: str = ""
    is_file: bool = False

    @property
    def takes(self) -> tuple[str, ...]:
        """The arguments of `keras_ebm.data.read` that mean something to it."""
        parameters = inspect.signature(self.read).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def _digits(name) -> Dataset:
    digits = require("sklearn.datasets").load_digits()
    # Its pixels are the whole numbers from 0 to 16.
    pixels = np.rint(digits.images * (255.0 / 16.0)).astype(np.uint8)
    return Dataset(
        x=pixels[..., None],
        y=digits.target.astype(np.int64),
        kind="image",
        class_names=tuple(str(name) for name in digits.target_names),
        name="digits",
    )


def _toy(name, *, num_rows, seed) -> Dataset:
    x = toy.draw(name, num_rows, seed)
    labels = np.full(len(x), -1, np.int64)
    return Dataset(x, labels, "vector", (), name=f"toy:{name}")


def _tfds(name, *, data_dir, schema) -> Dataset:
    if name in builders.SOURCES:
        return read_tfds_table(name, data_dir, schema)
    return read_tfds(name, data_dir)


def _csv(path, *, target, schema, ignore_columns, missing) -> Dataset:
    return read_csv(os.path.expanduser(path), target, schema, ignore_columns, missing)


def _npz(path, *, dtype) -> Dataset:
    return read_npz(os.path.expanduser(path), dtype)


def _python(name, *, dtype) -> Dataset:
    return read_python(name, dtype)


def _images(folder, *, skip_broken_images) -> Dataset:
    return read_image_folder(folder, skip_broken_images)


def _stacked(name, *, data_dir, num_rows, seed) -> Dataset:
    return read_stacked(name, data_dir, num_rows=num_rows, seed=seed)


def _sprites(name, *, num_rows, seed) -> Dataset:
    return read_sprites(name, num_rows=num_rows, seed=seed)


#: Sources by what stands before the colon. Errors, the help of `--dataset` and the
#: flags that go with each follow from here.
SOURCES = {
    "digits": Source(_digits, ("image",)),
    "toy": Source(_toy, ("vector",), "NAME"),
    "tfds": Source(_tfds, ("image", "table"), "NAME", "[@SIZE][#LABEL]"),
    "csv": Source(_csv, ("table",), "PATH", " (.csv or .csv.gz)", is_file=True),
    "npz": Source(_npz, ("image", "vector"), "PATH", is_file=True),
    "images": Source(_images, ("image",), "DIR", "[@SIZE]"),
    "stacked": Source(_stacked, ("image",), "NAME", "[@SIZE]"),
    "sprites": Source(_sprites, ("image",), "ATTRIBUTE", "[@SIDE]"),
    "python": Source(_python, ("image", "vector", "inputs"), "MODULE:FUNCTION"),
}


def forms(with_options: bool = False) -> tuple[str, ...]:
    """How a spec of each source is written, such as `"csv:PATH"`.

    Args:
        with_options: bool, whether what may follow is shown too.
    """
    return tuple(
        (f"{name}:{source.after}" if source.after else name)
        + (source.options if with_options else "")
        for name, source in SOURCES.items()
    )


def sources_of(kind: str = "", taking: str = "") -> tuple[str, ...]:
    """Names of the sources of a kind of rows, or that take an argument of `read`."""
    return tuple(
        name
        for name, source in SOURCES.items()
        if (not kind or kind in source.kinds) and (not taking or taking in source.takes)
    )


def find_source(spec: str, *, besides: tuple[str, ...] = ()) -> Source:
    """The source of a spec.

    Args:
        spec: str.
        besides: what else the caller takes, for the error.

    Raises:
        ValueError: if the spec is of no form, naming all of them.
    """
    prefix, name = parse_spec(spec)
    source = SOURCES.get(prefix)
    if source is None or (not name if source.after else name is not None):
        listed_forms = ", ".join((*besides, *forms()))
        raise ValueError(f"`spec` must be one of {listed_forms}. Received: {spec=}.")
    return source


def file_of(spec: str) -> str | None:
    """The path of the file that a spec names; None where it names none."""
    prefix, name = parse_spec(spec)
    source = SOURCES.get(prefix)
    if source is None or not source.is_file:
        return None
    return os.path.expanduser(name or "")
