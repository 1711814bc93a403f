"""Score matching: fits `-dE/dx` to the data's score, which needs no `Z`."""

import keras
import tensorflow as tf

from keras_ebm.arguments import check_choice, check_positive, check_size
from keras_ebm.gradients import energy_and_gradient, squared_norm
from keras_ebm.objectives.criterion import Criterion
from keras_ebm.protocols import EnergyFn, RandomDraws

SLICES = ("rademacher", "gaussian")


def _inner(one, other):
    """Inner product of each row of two `(batch, ...)` tensors; `(batch,)`."""
    return tf.reduce_sum(one * other, axis=list(range(1, len(one.shape))))


@keras.saving.register_keras_serializable(package="keras_ebm")
class SlicedScoreMatching(Criterion):
    """`mean over slices v of v' (ds/dx) v + 0.5 (v's)^2`, with `s = -dE/dx`.

    Its mean over data is half the expected squared distance from `v's` to the
    data's own, up to a constant. With `variance_reduced` the second term is
    `0.5 ||s||^2`, what it is on average over `v`.

    The curvature along `v` comes from a second differentiation. Piecewise
    linear networks (ReLU and its kin) have none, and learn nothing that is
    right: take a smooth activation.

    Args:
        variance_reduced: bool.
        num_slices: int >= 1, directions `v` for each row.
        slices: `"rademacher"` (entries +-1) or `"gaussian"`.

    Call arguments, returns: see `Criterion`. In nats per squared unit of `x`.

    References:
        - Song et al. (2019), "Sliced score matching",
          https://arxiv.org/abs/1905.07088, equations 7 (plain) and 8.
    """

    _values = ("variance_reduced", "num_slices", "slices")

    def __init__(
        self,
        variance_reduced: bool = True,
        num_slices: int = 1,
        slices: str = "rademacher",
    ):
        self.variance_reduced = bool(variance_reduced)
        self.num_slices = check_size("num_slices", num_slices)
        self.slices = check_choice("slices", slices, SLICES)

    def __call__(self, energy_fn: EnergyFn, x: tf.Tensor, random: RandomDraws):
        directions = self._directions(x, random)
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
            tape.watch(x)
            _, gradient = energy_and_gradient(energy_fn, x)
            slopes = [_inner(gradient, v) for v in directions]
        losses = [
            self._loss(
                # Zeros where the energy is linear in x.
                tape.gradient(slope, x, unconnected_gradients="zero"),
                slope,
                gradient,
                v,
            )
            for slope, v in zip(slopes, directions, strict=True)
        ]
        return tf.add_n(losses) / self.num_slices

    def _loss(self, hessian_v, slope, gradient, v):
        norm = squared_norm(gradient) if self.variance_reduced else tf.square(slope)
        return 0.5 * norm - _inner(hessian_v, v)

    def _directions(self, x, random):
        shape = tf.shape(x)
        names = [f"slice_{index}" for index in range(self.num_slices)]
        if self.slices == "gaussian":
            return [random.normal(shape, name) for name in names]
        return [
            tf.where(random.uniform(shape, name) < 0.5, -1.0, 1.0) for name in names
        ]


@keras.saving.register_keras_serializable(package="keras_ebm")
class DenoisingScoreMatching(Criterion):
    """`0.5 ||stddev * s(x + stddev * eps) + eps||^2`, `eps ~ N(0, I)`.

    With `s = -dE/dx`. Its minimiser is the score of the data smoothed by that
    noise, not of the data. The loss is `stddev^2` times that of the reference,
    which keeps it of the size of the dimension whatever the noise.

    Args:
        stddev: float > 0, in units of the preprocessed input. Too small a one
            makes gradients noisy, too large a one blurs the density.

    Call arguments, returns: see `Criterion`.

    References:
        - Vincent (2011), "A connection between score matching and denoising
          autoencoders", Neural Computation 23(7), equation 9.
    """

    _values = ("stddev",)

    def __init__(self, stddev: float):
        self.stddev = check_positive("stddev", stddev)

    def __call__(self, energy_fn: EnergyFn, x: tf.Tensor, random: RandomDraws):
        noise = random.normal(tf.shape(x), "denoising")
        _, gradient = energy_and_gradient(energy_fn, x + self.stddev * noise)
        return 0.5 * squared_norm(noise - self.stddev * gradient)
