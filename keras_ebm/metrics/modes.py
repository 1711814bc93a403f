"""How many modes of stacked digits a sampler finds, and how evenly."""

from typing import NamedTuple

import keras
import numpy as np

from keras_ebm.arguments import check_size

NUM_DIGITS = 10


class ModeCount(NamedTuple):
    """What a set of samples covers.

    Attributes:
        num_modes: float, modes with at least one sample (an expected number
            may be a fraction).
        kl: float >= 0, `KL(samples || reference)` in nats.
    """

    num_modes: float
    kl: float


def to_pixels(x: np.ndarray) -> np.ndarray:
    """Images in `[-1, 1]`, as generators make them, as uint8 values 0 to 255.

    Values beyond are clipped; what is not finite is an error, never a pixel.

    Args:
        x: float array of shape `(n, height, width, channels)`.

    Raises:
        ValueError: if a value is not finite.
    """
    x = np.asarray(x, np.float32)
    bad = ~np.isfinite(x)
    if bad.any():
        raise ValueError(
            f"`x` must be finite. Received: {bad.sum()} of {x.size} values that "
            "are not; the generator has diverged."
        )
    return np.rint(127.5 * (np.clip(x, -1.0, 1.0) + 1.0)).astype(np.uint8)


def stack_labels(
    classifier: keras.Model, images: np.ndarray, batch_size: int = 500
) -> np.ndarray:
    """The number that the digits in an image's channels spell.

    Channel `j` of `c` counts `10^(c - 1 - j)`, as in
    `keras_ebm.data.stack_digits`.

    Args:
        classifier: Keras model from grey images `(n, height, width, 1)` of
            pixel values 0 to 255 to 10 logits or probabilities. Any
            normalisation is a layer of it: data and samples then share it.
        images: uint8 array of shape `(n, height, width, channels)`; samples of
            a generator go through `to_pixels` first.
        batch_size: int >= 1, images at a time.

    Returns:
        int64 array of shape `(n,)`.

    Raises:
        ValueError: if the images are not uint8 or do not fit the classifier.
    """
    images = np.asarray(images)
    expected = (*classifier.input_shape[1:3], 1)
    fits = images.ndim == 4 and (*images.shape[1:3], 1) == expected
    if not fits or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            "`images` must be uint8 of shape (n, "
            f"{expected[0]}, {expected[1]}, channels), as the classifier takes them. "
            f"Received: {images.dtype} of shape {images.shape}; use `to_pixels` on "
            "samples in [-1, 1]."
        )
    if classifier.output_shape[-1] != NUM_DIGITS:
        raise ValueError(
            f"`classifier` must have {NUM_DIGITS} outputs. Received: output shape "
            f"{classifier.output_shape}."
        )
    numbers = np.zeros(len(images), np.int64)
    for channel in range(images.shape[-1]):
        grey = images[..., channel, None].astype(np.float32)
        outputs = classifier.predict(grey, batch_size, verbose=0)
        numbers = NUM_DIGITS * numbers + outputs.argmax(axis=-1)
    return numbers


def count_modes(
    classifier: keras.Model,
    images: np.ndarray,
    *,
    reference: np.ndarray | None = None,
    batch_size: int = 500,
) -> ModeCount:
    """Counts the modes in images of stacked digits, and their divergence.

    A mode is one of the `10^channels` numbers of `stack_labels`. The divergence is
    `sum_k q_k log(q_k / p_k)` with the samples' shares `q` and `0 log 0 = 0`; it
    is finite for modes that are missing. Both depend on how many images
    there are: compare with `perfect_sampler` of that many, and with real images,
    which show what the classifier's errors do.

    Args:
        classifier: see `stack_labels`.
        images: see `stack_labels`.
        reference: float array of shape `(10^channels,)`, counts or shares `p` of
            the modes in the data. Defaults to equal shares.
        batch_size: int >= 1, images at a time.

    Returns:
        `ModeCount`; `kl` is `inf` if a sample falls on a mode of share 0.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Srivastava et al. (2017), "VEEGAN: Reducing mode collapse in GANs
          using implicit variational learning",
          https://arxiv.org/abs/1705.07761, section 5.2.
    """
    numbers = stack_labels(classifier, images, batch_size)
    total = NUM_DIGITS ** images.shape[-1]
    return mode_count(np.bincount(numbers, minlength=total), reference)


def mode_count(counts: np.ndarray, reference: np.ndarray | None = None) -> ModeCount:
    """Does what `count_modes` does, from the modes' counts of shape `(modes,)`."""
    counts = np.asarray(counts, np.float64)
    expected = _shares(reference, counts.shape)
    share = counts / counts.sum()
    seen = share > 0.0
    with np.errstate(divide="ignore"):  # A reference of 0 makes it infinite.
        kl = np.sum(share[seen] * (np.log(share[seen]) - np.log(expected[seen])))
    return ModeCount(float(seen.sum()), max(0.0, float(kl)))


def perfect_sampler(
    num_samples: int, num_modes: int = 1000, reference: np.ndarray | None = None
) -> ModeCount:
    """What `num_samples` independent draws of the reference itself would get.

    Exact expectations, by the binomial distribution of each mode's count. They
    are the best that a sampler can hope for, for want of samples: with
    10,000 of 1,000 equal modes, 0.05 nats are expected.

    Args:
        num_samples: int >= 1.
        num_modes: int >= 1.
        reference: float array of shape `(num_modes,)`, counts or shares. Defaults
            to equal shares.

    Returns:
        `ModeCount` of expected values.

    Raises:
        ValueError: if an argument breaks its rule.
    """
    n = check_size("num_samples", num_samples)
    shares = _shares(reference, (check_size("num_modes", num_modes),))
    shares, repeats = np.unique(shares[shares > 0.0], return_counts=True)
    count = np.arange(n + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(count[1:]))])
    log_choose = log_factorial[n] - log_factorial - log_factorial[::-1]
    modes = kl = 0.0
    for p, repeat in zip(shares, repeats, strict=True):
        if p == 1.0:
            return ModeCount(1.0, 0.0)
        mass = np.exp(log_choose + count * np.log(p) + (n - count) * np.log1p(-p))
        share = count[1:] / n
        modes += repeat * -np.expm1(n * np.log1p(-p))
        kl += repeat * np.dot(mass[1:], share * np.log(share / p))
    return ModeCount(float(modes), float(kl))


def _shares(reference, shape) -> np.ndarray:
    """The reference as shares that sum to 1; equal ones for None."""
    if reference is None:
        return np.full(shape, 1.0 / shape[0])
    reference = np.asarray(reference, np.float64)
    good = reference.shape == shape and np.isfinite(reference).all()
    if not good or reference.min() < 0.0 or not reference.sum():
        raise ValueError(
            f"`reference` must hold a count or share >= 0 for each of the {shape[0]} "
            f"modes, not all 0. Received: an array of shape {reference.shape}."
        )
    return reference / reference.sum()
