"""Spectral normalisation that never writes into the kernel."""

import keras
from keras import ops

from keras_ebm.arguments import check_choice, check_positive, check_size
from keras_ebm.layers.kernel_wrapper import KernelWrapper
from keras_ebm.saveable import Saveable

BOUNDS = ("exact", "upper")
_INITIAL_ITERATIONS = 20
_EPSILON = 1e-6
_TINY = 1e-30  # only so that a kernel of zeros is not divided by zero


@keras.saving.register_keras_serializable(package="keras_ebm")
class SpectralNorm(Saveable, KernelWrapper):
    """Runs a layer with its kernel `W` divided by its largest singular value.

    `W` is taken as a matrix of shape `(inputs, outputs)`, a convolution's
    window belonging to its inputs. For a vector `u` that is kept,

        v = W u / |W u|,    sigma = v^T W u,
        W_bar = scale * W / sigma                            bound="exact"
        W_bar = scale * W / max(sigma + 1e-6, 1)             bound="upper"

    with no gradient through `u` and `v`, so that `d sigma / dW = v u^T`, as
    it is for the true `sigma`. The kernel itself is never assigned.

    **A call never moves `u`: `update` does, once a training step.** Every
    energy of the step (data, each step of the chains, negatives) then comes
    from one `W_bar`. A model calls `update_spectral_norms(network)` before
    its tapes open.

    Args:
        layer: `keras.layers.Conv2D` (channels last) or `keras.layers.Dense`.
            Its bias, strides, padding and activation are honoured.
        power_iterations: int >= 1, how many an `update` makes. Defaults to 1,
            enough to follow a kernel that an optimizer moves slowly.
        scale: float > 0, the norm of `W_bar`. Defaults to 1.
        bound: `"exact"`: the norm is `scale`. `"upper"`: it is `scale` at the
            most, and a kernel below 1 is used as it is; for kernels that
            start at (nearly) zero.
        seed: int or None, of the vector that `u` starts from.
        **kwargs: forwarded to `keras.layers.Wrapper`.

    Call arguments:
        inputs: what `layer` takes.

    Returns:
        What `layer` returns, of the same shape.

    Raises:
        ValueError: if an argument breaks its rule, or `update` comes before
            the layer is built.

    References:
        - Miyato et al. (2018), "Spectral normalization for generative
          adversarial networks", https://arxiv.org/abs/1802.05957, algorithm 1.
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689.
    """

    _values = ("power_iterations", "scale", "bound", "seed")

    def __init__(
        self,
        layer: keras.layers.Layer,
        power_iterations: int = 1,
        scale: float = 1.0,
        bound: str = "exact",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(layer, **kwargs)
        self.power_iterations = check_size("power_iterations", power_iterations)
        self.scale = check_positive("scale", scale)
        self.bound = check_choice("bound", bound, BOUNDS)
        self.seed = seed

    def build(self, input_shape=None):
        super().build(input_shape)
        self.u = self.add_weight(
            name="u",
            shape=(self.layer.kernel.shape[-1],),
            # Iterated at the start, so that a fresh network is normalised: of a
            # random kernel one iteration finds 4/5 of sigma and twenty 97%. Every
            # layer's outputs would be too large by what is missing.
            initializer=self._initial_u,
            trainable=False,
            # Every replica computes the same `u` from the same kernel. Taking
            # the first one's keeps the copies from ever drifting apart.
            aggregation="only_first_replica",
        )
        self.built = True

    def _initial_u(self, shape, dtype=None):
        start = _normalized(keras.random.normal(shape, dtype="float32", seed=self.seed))
        matrix = self._matrix()
        largest = ops.max(ops.abs(matrix))
        # Scaled so that no product is lost below float32, and one normalisation is
        # enough: these run one by one, and a deep network has many.
        matrix, u = matrix / ops.maximum(largest, _TINY), start
        for _ in range(_INITIAL_ITERATIONS):
            u = ops.matmul(ops.matmul(matrix, u), matrix)
            u = u / ops.norm(u)
        return ops.where(largest > 0.0, u, start)

    def normalized_kernel(self):
        """`W_bar`, float32 and of the kernel's shape; a function of `W`."""
        sigma = self.sigma()
        if self.bound == "upper":
            # The same as W / (sigma + 1e-6) * min(sigma + 1e-6, 1).
            sigma = ops.maximum(sigma + _EPSILON, 1.0)
        else:
            sigma = ops.maximum(sigma, _TINY)
        return ops.cast(self.layer.kernel, "float32") * (self.scale / sigma)

    def sigma(self):
        """The norm of `W` as `u` has it, a scalar; from below, and of `W` alone."""
        image = ops.matmul(self._matrix(), ops.cast(self.u, "float32"))
        v = ops.stop_gradient(_normalized(image))
        return ops.sum(v * image)

    def update(self, power_iterations: int | None = None) -> None:
        """Moves `u` towards the first singular vector of the present kernel.

        Args:
            power_iterations: int >= 1; the layer's own if None.
        """
        if not self.built:
            raise ValueError(
                f"The layer {self.name!r} must be built before its `u` is updated. "
                "Received: a layer that has not seen an input; call it once."
            )
        count = power_iterations or self.power_iterations
        u = self._iterate(self._matrix(), ops.cast(self.u, "float32"), count)
        self.u.assign(ops.stop_gradient(u))

    def _matrix(self):
        kernel = ops.cast(self.layer.kernel, "float32")
        return ops.reshape(kernel, (-1, kernel.shape[-1]))

    def _iterate(self, matrix, u, count):
        for _ in range(count):
            v = _normalized(ops.matmul(matrix, u))
            moved = _normalized(ops.matmul(v, matrix))
            # A kernel of zeros has no direction: keep the last one.
            u = ops.where(ops.any(moved != 0.0), moved, u)
        return u


def update_spectral_norms(network: keras.layers.Layer) -> int:
    """Updates every `SpectralNorm` in a network; call it once a training step.

    Args:
        network: a built Keras model or layer; layers inside others are found.

    Returns:
        How many there are; 0 for a network without any.
    """
    layers = [
        layer for layer in network._flatten_layers() if isinstance(layer, SpectralNorm)
    ]
    for layer in layers:
        layer.update()
    return len(layers)


def _normalized(vector):
    """The vector over its length, or zeros; entries of 1e-10 keep their size."""
    return vector / ops.maximum(ops.sqrt(ops.sum(ops.square(vector))), _TINY)
