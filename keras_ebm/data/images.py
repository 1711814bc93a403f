"""Encoded images: their bytes, and folders of such files."""

import dataclasses
import os
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import listed
from keras_ebm.data.dataset import Dataset
from keras_ebm.data.image_bytes import LUMA, decode_image, resized
from keras_ebm.data.parsing import parse_spec
from keras_ebm.data.tfds_images import middle_square

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
#: What systems leave in folders, beside names that begin with a dot; lower case.
HIDDEN = (
    "thumbs.db",
    "desktop.ini",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
)


@dataclasses.dataclass
class Skipped:
    """What was passed over in a folder, by paths below it."""

    folder: Path
    hidden: list[Path] = dataclasses.field(default_factory=list)
    empty: list[Path] = dataclasses.field(default_factory=list)
    beside: list[Path] = dataclasses.field(default_factory=list)
    broken: list[Path] = dataclasses.field(default_factory=list)

    def __str__(self):
        kinds = {
            "hidden": self.hidden,
            "without images": self.empty,
            "beside the folders of classes": self.beside,
            "broken": self.broken,
        }
        return ", ".join(
            f"{len(paths)} {kind} (such as {paths[0].relative_to(self.folder)})"
            for kind, paths in kinds.items()
            if paths
        )

    def warn(self) -> None:
        """One `UserWarning` of all that was skipped, if anything was."""
        if str(self):
            warnings.warn(f"images:{self.folder}: skipped {self}.", stacklevel=3)


def decode_images(encoded: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """Decodes PNG, JPEG, BMP or GIF bytes to uint8 images of one shape.

    An image of another size is resized with antialiasing. See `decode_image` for
    what becomes of alpha, 16 bits, animations and CMYK, and `decode_rows` for batches
    in which some rows may be broken.

    Args:
        encoded: string tensor `(batch,)`.
        shape: `(height, width, channels)`.

    Returns:
        uint8 tensor `(batch, height, width, channels)`.

    Raises:
        tf.errors.InvalidArgumentError: if a row is no whole image of these kinds.
    """

    def decode(content):
        return resized(decode_image(content, shape[2]), shape)

    return tf.map_fn(decode, encoded, fn_output_signature=tf.uint8)


def read_images(
    folder: str | os.PathLike,
    shape: tuple[int, int, int] | None = None,
    skip_broken: bool = False,
) -> np.ndarray:
    """Reads all images of a folder, in the order of their names.

    Args:
        folder: which holds PNG, JPEG, BMP or GIF files; others are passed over, with
            a `UserWarning` those whose names are hidden.
        shape: `(height, width, channels)` that they are brought to; None: their
            own, in colour, the same for all.
        skip_broken: bool. Whether files that cannot be decoded are left out, with a
            `UserWarning`. Defaults to `False`.

    Returns:
        uint8 array `(n, height, width, channels)`.

    Raises:
        ValueError: if there is no such folder, it has no images, one cannot be
            decoded, or without `shape` their sizes differ.
    """
    skipped = Skipped(Path(folder).expanduser())
    paths = _image_paths(skipped.folder, skipped)
    _, images = _read_all(paths, skipped, skip_broken, lambda p: _read_image(p, shape))
    skipped.warn()
    return _stack(images, skipped)


def _image_paths(folder: Path, skipped: Skipped) -> list[Path]:
    """The image files of a folder in the order of their names."""
    visible = _visible(folder, skipped)
    return [p for p in visible if p.suffix.lower() in SUFFIXES and p.is_file()]


def _visible(folder: Path, skipped: Skipped) -> list[Path]:
    """What lies in a folder and is not hidden, in the order of names."""
    visible: list[Path] = []
    for path in sorted(folder.glob("*")):
        is_hidden = path.name.startswith(".") or path.name.lower() in HIDDEN
        (skipped.hidden if is_hidden else visible).append(path)
    return visible


def _read_all(paths, skipped: Skipped, skip_broken: bool, read):
    """The paths that could be read, and their images; at least one."""
    found = _read_some(paths, skipped, skip_broken, read)
    if not found[0]:
        raise ValueError(
            f"images:{skipped.folder}: there must be a folder with image files "
            f"({', '.join(SUFFIXES)}). Received: none"
            f"{f' but {skipped}' if str(skipped) else ''}."
        )
    return found


def _read_some(paths, skipped: Skipped, skip_broken: bool, read) -> tuple[list, list]:
    """The paths that could be read, and their images."""
    found: tuple[list, list] = ([], [])
    for path in paths:
        try:
            image = read(path)
        except tf.errors.InvalidArgumentError as error:
            if not skip_broken:
                raise ValueError(
                    f"images:{skipped.folder}: {path.relative_to(skipped.folder)} is "
                    "no image that can be decoded. Mend or remove it, or skip such "
                    "files with --skip_broken_images (`skip_broken_images=True`)."
                ) from error
            skipped.broken.append(path)
        else:
            found[0].append(path)
            found[1].append(image)
    return found


def _stack(images, skipped: Skipped) -> np.ndarray:
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise ValueError(
            f"images:{skipped.folder}: all images must be of one size. Received: "
            f"{listed(f'{h}x{w}' for h, w, _ in sorted(sizes))}; name one, as "
            "images:DIR@SIZE."
        )
    return np.stack(images)


def _read_image(path: Path, shape=None) -> np.ndarray:
    content = tf.constant(path.read_bytes())
    if shape is not None:
        return decode_images(content[None], shape)[0].numpy()
    return decode_image(content, 3).numpy()


def read_image_folder(name: str, skip_broken: bool = False) -> Dataset:
    """Reads a folder of images, or of one folder for each class.

    Hidden files and folders (`.ipynb_checkpoints`, `._0.png`, `Thumbs.db`, `__MACOSX`
    and the like), folders without images, and images beside folders of classes are
    skipped, with one `UserWarning` that counts them.

    Args:
        name: str, `DIR` or `DIR@SIZE`: squares of so many pixels are cut out of the
            middle of each image, its shorter side brought to them. Images are read
            in colour; folders within `DIR` are classes, by their names in order.
        skip_broken: bool. Whether files that cannot be decoded are skipped likewise,
            which are an error otherwise. Defaults to `False`.

    Returns:
        `Dataset` of kind `"image"`; unlabelled where there are no such folders.

    Raises:
        ValueError: see `read_images`.
    """
    dataset, _, skipped = _read_named(name, skip_broken)
    skipped.warn()
    return dataset


def read_named_images(
    name: str, skip_broken: bool = False
) -> tuple[Dataset, list[str]]:
    """What `read_image_folder` reads, and the path below `DIR` of each row."""
    dataset, files, skipped = _read_named(name, skip_broken)
    skipped.warn()
    return dataset, files


class ImageRows:
    """The images that `read_image_folder` reads, a part at a time.

    Args:
        name: `DIR` or `DIR@SIZE`, see `read_image_folder`.
        skip_broken: bool, whether files that cannot be decoded are left out.

    Raises:
        ValueError: if there is no image.
    """

    def __init__(self, name: str, skip_broken: bool = False):
        self.skipped, self._paths, self._size = _find_images(name)
        self.skip_broken, self.num_rows = skip_broken, len(self._paths)
        if not self._paths:
            _read_all([], self.skipped, skip_broken, _read_image)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, list[str], list[str]]:
        """The images of the files `start` to `stop`, of which some may be broken.

        Returns:
            `(x, files, broken)`: uint8 array, and the paths below `DIR` of its rows and
            of what was left out.

        Raises:
            ValueError: if a file cannot be decoded, or their sizes differ.
        """
        skipped = Skipped(self.skipped.folder)
        paths, images = _read_some(
            self._paths[start:stop], skipped, self.skip_broken, self._read
        )
        broken = [str(path.relative_to(skipped.folder)) for path in skipped.broken]
        files = [str(path.relative_to(skipped.folder)) for path in paths]
        x = _stack(images, skipped) if images else np.zeros((0, 1, 1, 3), np.uint8)
        return x, files, broken

    def stamps(self) -> list[tuple[str, int, int]]:
        """Path below `DIR`, size and time of each file, in the order of the rows."""
        found = []
        for path in self._paths:
            about = path.stat()
            name = str(path.relative_to(self.skipped.folder))
            found.append((name, about.st_size, about.st_mtime_ns))
        return found

    def tell_skipped(self, broken: list[str], num_read: int) -> None:
        """Warns of what was passed over, and refuses a folder with broken files alone.

        Args:
            broken: paths below `DIR` that could not be decoded.
            num_read: int, how many images were read.
        """
        folder = self.skipped.folder
        told = dataclasses.replace(
            self.skipped, broken=[folder / name for name in broken]
        )
        if not num_read:
            _read_all([], told, True, _read_image)
        told.warn()

    def _read(self, path):
        image = _read_image(path)
        if not self._size:
            return image
        return middle_square(tf.constant(image), self._size).numpy()


def image_files(name: str, skip_broken: bool = False) -> list[str]:
    """Paths below `DIR` of the images that `read_image_folder` reads, in its order.

    With `skip_broken` they are read to be told from broken ones.
    """
    if skip_broken:
        return _read_named(name, skip_broken)[1]
    skipped, paths, _ = _find_images(name)
    return [str(path.relative_to(skipped.folder)) for path in paths]


def _read_named(name: str, skip_broken: bool) -> tuple[Dataset, list[str], Skipped]:
    skipped, paths, size = _find_images(name)

    def read(path):
        image = _read_image(path)
        return middle_square(tf.constant(image), size).numpy() if size else image

    paths, images = _read_all(paths, skipped, skip_broken, read)
    x = _stack(images, skipped)
    folders = [path.parent.name for path in paths if path.parent != skipped.folder]
    codes = {folder: code for code, folder in enumerate(dict.fromkeys(folders))}
    y = [codes[folder] for folder in folders] if codes else np.full(len(x), -1)
    files = [str(path.relative_to(skipped.folder)) for path in paths]
    y = np.array(y, np.int64)
    return Dataset(x, y, "image", tuple(codes), name=f"images:{name}"), files, skipped


def _find_images(name: str) -> tuple[Skipped, list[Path], int]:
    """Of `DIR[@SIZE]`: the folder, the images class by class, and the size or 0."""
    path, at, size = name.rpartition("@")
    if not at or not size.isdecimal():
        path, size = name, "0"
    folder = Path(path).expanduser()
    skipped, paths = Skipped(folder), []
    for one in [p for p in _visible(folder, skipped) if p.is_dir()]:
        found = _image_paths(one, skipped)
        paths += found
        if not found:
            skipped.empty.append(one)
    beside = _image_paths(folder, Skipped(folder))
    if paths:
        skipped.beside += beside
    return skipped, paths or beside, int(size)


def fit_channels(x: np.ndarray, channels: int) -> np.ndarray:
    """Grey images of colour ones, or colour images of grey ones.

    Colour becomes grey as `0.299 R + 0.587 G + 0.114 B`, rounded; grey becomes colour
    by repeating it.

    Args:
        x: uint8 array of shape `(n, height, width, 1 or 3)`.
        channels: int, 1 or 3.

    Returns:
        uint8 array of shape `(n, height, width, channels)`.
    """
    if x.shape[-1] == channels:
        return np.ascontiguousarray(x)
    if channels == 3:
        return np.repeat(x, 3, axis=-1)
    grey = sum(
        np.float32(weight) * x[..., channel] for channel, weight in enumerate(LUMA)
    )
    return np.rint(grey).astype(np.uint8)[..., None]


def fit_folder(spec: str, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of `images:DIR`, which are read in colour, in the channels of a model.

    Rows of another size, or of another source, are returned as they are.

    Args:
        spec: str, where the rows came from.
        x: array of shape `(n, ...)`.
        shape: that of a row of the model.
    """
    is_folder = parse_spec(spec).source == "images" and len(shape) == 3
    if not is_folder or x.shape[1:3] != tuple(shape[:2]) or shape[2] not in (1, 3):
        return x
    return fit_channels(x, shape[2])


def size_remedy(spec: str, shape: tuple[int, ...]) -> str:
    """A sentence that follows an error about the size of rows of `images:DIR`."""
    is_folder = parse_spec(spec).source == "images"
    if not is_folder or len(shape) != 3 or shape[0] != shape[1]:
        return ""
    return f" Name the size of the model's images, as images:DIR@{shape[0]}."
