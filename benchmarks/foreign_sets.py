"""Foreign images and rows, made of known ones and of nothing: the sets of the panel.

Every function takes known images, uint8 `(n, height, width, channels)`, or rows of
numbers `(n, columns)`, and a NumPy generator, and returns as many of their shape and
type.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

LETTERS = "ABCDEFGHJKLMNPQRTUVWXYabdefhkmnrt"
Maker = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _pixels(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0.0, 255.0)).astype(np.uint8)


def turned(quarters: int) -> Maker:
    """Images turned by so many quarters."""
    return lambda x, rng: np.ascontiguousarray(np.rot90(x, quarters, axes=(1, 2)))


def mirrored(x, rng):
    """Left and right exchanged."""
    return np.ascontiguousarray(x[:, :, ::-1])


def upside_down(x, rng):
    """Top and bottom exchanged."""
    return np.ascontiguousarray(x[:, ::-1])


def inverted(x, rng):
    """Bright and dark exchanged."""
    return 255 - x


def quadrants(x, rng):
    """The four quadrants in another order."""
    middle = x.shape[1] // 2, x.shape[2] // 2
    rows = slice(0, middle[0]), slice(middle[0], 2 * middle[0])
    columns = slice(0, middle[1]), slice(middle[1], 2 * middle[1])
    places = [(row, column) for row in rows for column in columns]
    made = x.copy()
    for image, source in zip(made, x, strict=True):
        order = rng.permutation(4)
        while np.all(order == np.arange(4)):
            order = rng.permutation(4)
        for place, taken in enumerate(order):
            image[places[place]] = source[places[taken]]
    return made


def shuffled_pixels(x, rng):
    """Each image's pixels in an order of its own."""
    flat = x.reshape(len(x), -1, x.shape[-1])
    order = np.argsort(rng.random(flat.shape[:2]), axis=1)[:, :, None]
    return np.take_along_axis(flat, order, axis=1).reshape(x.shape)


def blurred(x, rng):
    """A Gaussian blur, 3 pixels of 28 wide."""
    width = 3.0 * x.shape[1] / 28.0
    smooth = ndimage.gaussian_filter(x.astype(np.float64), (0, width, width, 0))
    peak = smooth.max(axis=(1, 2, 3), keepdims=True)
    return _pixels(smooth * x.max() / np.maximum(peak, 1e-9))


def faint(x, rng):
    """A fifth of the contrast about each image's mean."""
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    return _pixels(mean + 0.2 * (x - mean))


def stripes(x, rng):
    """Straight waves of any direction and 2 to 8 cycles, in full contrast."""
    down, across = np.meshgrid(
        np.linspace(0, 1, x.shape[1]), np.linspace(0, 1, x.shape[2]), indexing="ij"
    )
    angle, phase = rng.uniform(0, 2 * np.pi, (2, len(x), 1, 1))
    cycles = rng.uniform(2, 8, (len(x), 1, 1))
    along = np.cos(angle) * down + np.sin(angle) * across
    wave = 127.5 + 127.5 * np.sin(2 * np.pi * cycles * along + phase)
    return np.repeat(_pixels(wave)[..., None], x.shape[-1], axis=-1)


def checks(x, rng):
    """Chequerboards of squares 2 to 7 pixels wide."""
    down, across = np.indices(x.shape[1:3])
    sizes = rng.integers(2, 8, (len(x), 1, 1))
    shifts = rng.integers(0, 14, (2, len(x), 1, 1))
    board = ((down + shifts[0]) // sizes + (across + shifts[1]) // sizes) % 2
    return np.repeat(_pixels(255.0 * board)[..., None], x.shape[-1], axis=-1)


def smooth_fields(x, rng):
    """Noise blurred to clouds, from black to white."""
    noise = rng.normal(size=x.shape)
    width = x.shape[1] / 7.0
    clouds = ndimage.gaussian_filter(noise, (0, width, width, 0), mode="wrap")
    low = clouds.min(axis=(1, 2, 3), keepdims=True)
    high = clouds.max(axis=(1, 2, 3), keepdims=True)
    return _pixels(255.0 * (clouds - low) / (high - low))


def uniform_noise(x, rng):
    """Every value alike."""
    return rng.integers(0, 256, x.shape, dtype=np.uint8)


def gaussian_noise(x, rng):
    """Normal about grey, 64 values wide."""
    return _pixels(rng.normal(127.5, 64.0, x.shape))


def salt_and_pepper(x, rng):
    """Known images of whose pixels three in ten are black or white."""
    draws = rng.random(x.shape[:3])[..., None]
    return np.where(draws < 0.15, 0, np.where(draws > 0.85, 255, x)).astype(np.uint8)


def sparse_dots(x, rng):
    """White dots on black, as many as a digit has bright pixels."""
    return _pixels(255.0 * (rng.random(x.shape) < 0.15))


def halves(x, rng):
    """The left half of one image beside the right half of another."""
    made, middle = x.copy(), x.shape[2] // 2
    made[:, :, middle:] = x[np.roll(np.arange(len(x)), 1), :, middle:]
    return made


def cut_out(x, rng):
    """A black square of half the side anywhere in the middle."""
    made, side = x.copy(), x.shape[1] // 2
    for image in made:
        top, left = rng.integers(side // 4, side - side // 4, 2)
        image[top : top + side, left : left + side] = 0
    return made


def letters(x, rng):
    """Letters in fonts of DejaVu and Computer Modern, white on black."""
    from matplotlib import get_data_path

    folder = f"{get_data_path()}/fonts/ttf"
    names = "DejaVuSans", "DejaVuSerif-Bold", "DejaVuSansMono-Oblique", "cmr10"
    size = x.shape[1]
    fonts = [
        ImageFont.truetype(f"{folder}/{name}.ttf", round(scale * size))
        for name in names
        for scale in (0.6, 0.7, 0.8)
    ]
    made = []
    for _ in range(len(x)):
        picture = Image.new("L", (x.shape[2], size))
        place = size / 2 + rng.uniform(-1.5, 1.5, 2)
        ImageDraw.Draw(picture).text(
            tuple(place),
            LETTERS[rng.integers(len(LETTERS))],
            fill=255,
            font=fonts[rng.integers(len(fonts))],
            anchor="mm",
        )
        made.append(np.asarray(picture))
    return np.repeat(np.stack(made)[..., None], x.shape[-1], axis=-1)


def photographs(x, rng):
    """Pieces of the two photographs that scikit-learn has, in grey for grey images."""
    from sklearn.datasets import load_sample_images

    pictures = load_sample_images().images
    height, width, channels = x.shape[1:]
    made = np.empty_like(x)
    for image in made:
        picture = pictures[rng.integers(len(pictures))]
        top = rng.integers(picture.shape[0] - 2 * height)
        left = rng.integers(picture.shape[1] - 2 * width)
        piece = picture[top : top + 2 * height, left : left + 2 * width]
        piece = piece.reshape(height, 2, width, 2, 3).mean(axis=(1, 3))
        image[...] = _pixels(piece if channels == 3 else piece.mean(-1, keepdims=True))
    return made


def uniform_rows(x, rng):
    """Each column uniform over its range."""
    return rng.uniform(x.min(axis=0), x.max(axis=0), x.shape).astype(x.dtype)


def wide_rows(x, rng):
    """Each column normal about its mean, with three times its standard deviation."""
    made = x.mean(axis=0) + 3.0 * x.std(axis=0) * rng.normal(size=x.shape)
    return made.astype(x.dtype)


def shuffled_columns(x, rng):
    """Each column's values dealt out anew."""
    return np.stack([rng.permutation(column) for column in x.T], axis=1)


def blends(x, rng):
    """Halfway between two rows."""
    return (0.5 * (x + x[rng.permutation(len(x))])).astype(x.dtype)


def mirrored_rows(x, rng):
    """Mirrored at the mean of each column."""
    return (2.0 * x.mean(axis=0) - x).astype(x.dtype)


def two_rows(x, rng):
    """Half of the columns, drawn for each row, from another row."""
    return np.where(rng.random(x.shape) < 0.5, x, x[rng.permutation(len(x))])


def one_column_far(x, rng):
    """One column, drawn for each row, six standard deviations beyond its range."""
    made, rows = x.copy(), np.arange(len(x))
    columns = rng.integers(0, x.shape[1], len(x))
    beyond = x.max(axis=0) + 6.0 * np.maximum(x.std(axis=0), 1e-3)
    made[rows, columns] = beyond[columns]
    return made


def stretched(x, rng):
    """Twice as far from the mean of each column."""
    return (2.0 * x - x.mean(axis=0)).astype(x.dtype)


#: Those that settings may be chosen on.
OPEN: dict[str, Maker] = {
    "turned by 90": turned(1),
    "mirrored": mirrored,
    "inverted": inverted,
    "quadrants": quadrants,
    "stripes": stripes,
    "smooth fields": smooth_fields,
    "uniform noise": uniform_noise,
    "salt and pepper": salt_and_pepper,
}
#: Those that are run once, at the end.
SEALED: dict[str, Maker] = {
    "turned by 270": turned(3),
    "upside down": upside_down,
    "halves": halves,
    "cut out": cut_out,
    "blurred": blurred,
    "faint": faint,
    "chequerboards": checks,
    "sparse dots": sparse_dots,
    "gaussian noise": gaussian_noise,
    "shuffled pixels": shuffled_pixels,
    "letters": letters,
    "photographs": photographs,
}
#: The same of rows of numbers.
OPEN_ROWS: dict[str, Maker] = {
    "uniform": uniform_rows,
    "wide": wide_rows,
    "shuffled columns": shuffled_columns,
    "blends": blends,
}
SEALED_ROWS: dict[str, Maker] = {
    "mirrored": mirrored_rows,
    "two rows": two_rows,
    "one column far": one_column_far,
    "stretched": stretched,
}
