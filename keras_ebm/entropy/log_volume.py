"""The entropy of a generator from the volume that its decoder spreads noise over."""

import math

import keras
import tensorflow as tf

from keras_ebm.arguments import check_choice, check_positive, check_share, check_size
from keras_ebm.entropy import conjugate_gradients
from keras_ebm.entropy.base import Draw, EntropyEstimator, Estimate
from keras_ebm.entropy.folds import fold_excess
from keras_ebm.entropy.requirements import check_differentiable, check_own_density
from keras_ebm.jacobians import Linearization, dense_jacobian, jacobian_product
from keras_ebm.protocols import DensityGenerator, RandomDraws

#: Largest latent for the dense route: its memory and time grow with the latent.
MAX_DENSE = 64
#: Largest latent for which `"auto"` takes the dense route.
AUTO_DENSE = 16


@keras.saving.register_keras_serializable(package="keras_ebm")
class LogVolume(EntropyEstimator):
    """Differentiates `H(q) ~ E[1/2 log det(J'J + I)] + sum log sigma`.

    `J = d(g/sigma)/dz`, in units of the noise, at the latent that made the
    sample; with one sigma that is `1/2 log det((dg/dz)'(dg/dz) + sigma^2 I) +
    (D - k) log sigma`. The formula is exact for a
    linear decoder, and right on a curved one as sigma goes to 0. It needs no
    samples of the posterior, so its gradient neither shrinks with the latent's
    dimension nor carries their noise. It cannot see two latents that make the same
    sample (`fold_weight` does, where the dimensions agree).

    `log q(x)` is estimated by Laplace's method, linearised at the latent.

    Args:
        method: `"dense"` builds `J` by `k` forward-mode passes; `"iterative"`
            needs products with it alone: one random-sign probe, solved for by
            conjugate gradients. They are preconditioned by a running mean of
            `J'J` over samples, and the probe is drawn in its metric: without
            it, a few iterations leave most of the gradient out where the
            latent's scales differ (recovery 0.08 instead of 1.00 with two
            iterations, linear, k = 100). `"auto"`: dense up to a latent of 16.
        num_iterations: int >= 1, conjugate-gradient steps, two products each.
        fold_weight: float >= 0, weight of the fold term (`fold_excess`), with
            which regions covered twice cost entropy; for `"dense"` and a
            latent of the data's dimension. 3 was best in two dimensions.
        decay: float in (0, 1), of the running mean that preconditions.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        ValueError: if an argument breaks its rule; from `build_for`, if the
            decoder has batch normalisation or no second derivative, or its
            latent is too large for `"dense"`.
    """

    _values = ("method", "num_iterations", "fold_weight", "decay")

    gives_log_density = True
    needs_float32 = True

    def __init__(
        self,
        method: str = "auto",
        num_iterations: int = 2,
        fold_weight: float = 0.0,
        decay: float = 0.98,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.method = check_choice("method", method, ("auto", "dense", "iterative"))
        self.num_iterations = check_size("num_iterations", num_iterations)
        self.fold_weight = check_positive("fold_weight", fold_weight, zero_allowed=True)
        self.decay = check_share("decay", decay)

    def build_for(self, generator: DensityGenerator):
        name = type(self).__name__
        check_own_density(name, generator)
        check_differentiable(
            name, generator, "ImportanceSampling() (--entropy=importance)", twice=True
        )
        latent_dim = generator.latent_dim
        dense = self.method == "dense" or bool(self.fold_weight)
        if dense and latent_dim > MAX_DENSE:
            raise ValueError(
                f"LogVolume(method='dense') needs a latent of at most {MAX_DENSE} "
                f"dimensions. Received: latent_dim={latent_dim}; use "
                "method='iterative' (--entropy=log_volume picks it by itself)."
            )
        size = math.prod(generator.sample_shape)
        if self.fold_weight and size != latent_dim:
            raise ValueError(
                "`fold_weight` needs a latent of the data's dimension. Received: "
                f"latent_dim={latent_dim} for samples of {size} numbers; use "
                "fold_weight=0, as folds of a thin sheet do not meet."
            )
        super().build_for(generator)

    def build(self, input_shape):
        latent_dim = input_shape[-1]
        if not self._is_dense(latent_dim):
            arguments = {"trainable": False, "aggregation": "mean"}
            self.moment = self.add_weight(
                name="moment",
                shape=(latent_dim, latent_dim),
                initializer="zeros",
                **arguments,
            )
            self.total = self.add_weight(
                name="total", shape=(), initializer="zeros", **arguments
            )
        self.built = True

    def _is_dense(self, latent_dim) -> bool:
        if self.method == "auto":
            return latent_dim <= AUTO_DENSE or bool(self.fold_weight)
        return self.method == "dense"

    def prepare(self, generator: DensityGenerator, draw: Draw, random: RandomDraws):
        if self._is_dense(generator.latent_dim):
            return {}
        linearization = Linearization(generator.whitened, draw.latents)
        factor = self._factor(generator, linearization, random)
        u = _signs(random, tf.shape(draw.latents), "probe")
        solution = conjugate_gradients.solve(
            linearization, factor, u, self.num_iterations
        )
        log_det = _log_det(factor) + solution.log_moment
        return {
            "probe": conjugate_gradients.backward(factor, u),
            "image": solution.image,
            "log_density": self._log_density_iterative(
                generator, draw, linearization, factor, log_det
            ),
        }

    def _factor(self, generator, linearization, random):
        """Cholesky factor of the running mean of `J'J`, plus the identity.

        `J' xi` for random signs `xi` has the second moment `J'J`, so the mean
        of its outer products is positive whatever its noise, and its relative
        error is the same in every direction.
        """
        shape = [tf.shape(linearization.latents)[0], math.prod(generator.sample_shape)]
        pulled = linearization.transposed_product(
            _signs(random, shape, "preconditioner")
        )
        rows = tf.cast(shape[0], tf.float32)
        outer = tf.linalg.matmul(pulled, pulled, transpose_a=True) / rows
        moment = tf.convert_to_tensor(self.moment)
        total = tf.convert_to_tensor(self.total)
        self.moment.assign(self.decay * moment + (1.0 - self.decay) * outer)
        self.total.assign(self.decay * total + (1.0 - self.decay))
        total = tf.convert_to_tensor(self.total)
        moment = tf.convert_to_tensor(self.moment) / total
        # Few outer products say nothing of most directions: at first a multiple of
        # the identity stands in, which fades as the square of their number.
        latent_dim = generator.latent_dim
        seen = rows * total / (1.0 - self.decay)
        ridge = tf.linalg.trace(moment) / latent_dim * tf.square(latent_dim / seen)
        return tf.linalg.cholesky(moment + (1.0 + ridge) * tf.eye(latent_dim))

    def _log_density_iterative(self, generator, draw, linearization, factor, log_det):
        """`log q(x)` with the posterior's mode by conjugate gradients."""
        noise = tf.reshape(draw.noise, [tf.shape(draw.noise)[0], -1])
        target = draw.latents - linearization.transposed_product(noise)
        u = tf.linalg.triangular_solve(factor, tf.transpose(target))
        solution = conjugate_gradients.solve(
            linearization, factor, tf.transpose(u), self.num_iterations
        )
        explained = tf.reduce_sum(target * solution.w, axis=-1)
        return _laplace(generator, draw, log_det, explained)

    def estimate(
        self, generator: DensityGenerator, draw: Draw, prepared: dict[str, tf.Tensor]
    ):
        if self._is_dense(generator.latent_dim):
            return self._estimate_dense(generator, draw)
        # tr(A^-1 J' dJ) by one probe: v = J A^-1 L u is held, dJ is not.
        pushed = jacobian_product(generator.whitened, draw.latents, prepared["probe"])
        volume = tf.reduce_sum(prepared["image"] * pushed, axis=-1)
        surrogate = tf.reduce_mean(volume) + generator.log_noise_volume
        return Estimate(surrogate, prepared["log_density"])

    def _estimate_dense(self, generator, draw: Draw) -> Estimate:
        jacobians = dense_jacobian(generator.whitened, draw.latents)
        gram = tf.linalg.matmul(jacobians, jacobians, transpose_b=True)
        factor = tf.linalg.cholesky(gram + tf.eye(generator.latent_dim))
        log_det = _log_det(factor)
        surrogate = 0.5 * tf.reduce_mean(log_det) + generator.log_noise_volume
        noise = tf.reshape(draw.noise, [tf.shape(draw.noise)[0], -1, 1])
        target = draw.latents[..., None] - tf.linalg.matmul(jacobians, noise)
        whitened = tf.linalg.triangular_solve(factor, target)
        explained = tf.reduce_sum(tf.square(whitened), axis=[1, 2])
        log_density = _laplace(generator, draw, log_det, explained)
        if self.fold_weight:
            x = tf.reshape(draw.x / generator.stddev, [-1, generator.latent_dim])
            means = x - noise[..., 0]
            in_units = log_density + generator.log_noise_volume
            excess = fold_excess(x, means, jacobians, in_units)
            surrogate -= self.fold_weight * tf.reduce_mean(excess)
            log_density += excess
        return Estimate(surrogate, log_density)


def _signs(random, shape, name):
    """Random signs, the probes of least variance."""
    return tf.sign(random.uniform(shape, name, -1.0, 1.0))


def _log_det(factor):
    diagonal = tf.linalg.diag_part(factor)
    return 2.0 * tf.reduce_sum(tf.math.log(diagonal), axis=-1)


def _laplace(generator, draw, log_det, explained):
    """`log q(x)` of the decoder linearised at the latent, exact if it is linear.

    Args:
        log_det: `(batch,)`, `log det(J'J + I)`, in units of the noise.
        explained: `(batch,)`, by how much the posterior's mode lowers
            `|z|^2 + |noise|^2`.
    """
    axes = list(range(1, len(draw.noise.shape)))
    squared = tf.reduce_sum(tf.square(draw.latents), axis=-1)
    squared += tf.reduce_sum(tf.square(draw.noise), axis=axes)
    size = math.prod(generator.sample_shape)
    return (
        -0.5 * (squared - explained)
        - 0.5 * log_det
        - generator.log_noise_volume
        - 0.5 * size * math.log(2.0 * math.pi)
    )
