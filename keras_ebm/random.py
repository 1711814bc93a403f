"""Random draws that are a function of a seed, an iteration and a name."""

import math
import zlib
from collections.abc import Sequence

import keras
import tensorflow as tf

# Named, since the default is chosen by device.
_ALGORITHM = "philox"


def replica_context():
    """Returns `(replica_id, num_replicas)` of the calling code."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return 0, 1
    return context.replica_id_in_sync_group, context.num_replicas_in_sync


class StepRandom:
    """The noise of one training step.

    A draw depends on `(seed, iteration, name)` and on nothing else: a resumed
    run draws what the uninterrupted one would have drawn. Every draw is made
    for the whole batch of all replicas and each replica keeps its rows, so
    the number of replicas does not change the noise either. Floats are made
    here from random integers, as TensorFlow and XLA turn the same integers
    into different ones: eager, graph and `jit_compile=True` draw alike.

    Args:
        seed: int, the run's seed.
        iteration: int or integer scalar tensor, the step's number; usually
            `optimizer.iterations`.
    """

    def __init__(self, seed: int, iteration: int | tf.Tensor):
        self.seed = seed
        # Read now: an optimizer's counter moves on before its step is over.
        self.iteration = tf.cast(tf.convert_to_tensor(iteration), tf.int64)
        self._base = tf.stack([tf.cast(seed, tf.int64), self.iteration])

    def fold(self, index: int | tf.Tensor) -> "StepRandom":
        """Other draws under the same names, for each `index`, such as a chain's step.

        Args:
            index: int or integer scalar tensor.
        """
        folded = StepRandom(self.seed, self.iteration)
        folded._base = _fold_in(self._base, index)
        return folded

    def key(self, name: str):
        """int64 pair, the same on every replica, that seeds other samplers."""
        return _fold_in(self._base, zlib.crc32(name.encode()))

    def _fractions(self, shape, name):
        """Uniform draws of `shape` in the open interval (0, 1)."""
        bits = tf.random.stateless_uniform(
            shape,
            seed=self.key(name),
            minval=None,
            maxval=None,
            dtype=tf.uint32,
            alg=_ALGORITHM,
        )
        # 23 bits and a half: exact in float32, and neither 0 nor 1.
        bits = tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32))
        return (tf.cast(tf.bitcast(bits, tf.int32), tf.float32) + 0.5) * 2.0**-23

    def seed_pair(self, name: str):
        """Two integers for a sampler that draws by itself.

        They differ from replica to replica, so such a sampler's noise depends
        on the number of replicas.
        """
        replica, _ = replica_context()
        key = _fold_in(self.key(name), replica)
        return tf.cast(key % (2**31 - 1), tf.int32)

    def normal(self, shape: Sequence | tf.Tensor, name: str):
        """Standard normal draws of `shape`; the first axis is the batch.

        By Box and Muller's transformation, two draws from each pair of uniform
        ones; none is beyond 5.8.
        """
        shape = _all_rows(shape)
        size = math.prod(shape)
        radius, angle = tf.unstack(self._fractions([2, (size + 1) // 2], name))
        radius = tf.sqrt(-2.0 * tf.math.log(radius))
        angle = 2.0 * math.pi * angle
        draws = tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=0)
        return _own_rows(tf.reshape(draws[:size], shape))

    def uniform(
        self,
        shape: Sequence | tf.Tensor,
        name: str,
        minval: float | tf.Tensor = 0.0,
        maxval: float | tf.Tensor = 1.0,
    ):
        """Uniform draws of `shape` in `(minval, maxval)`."""
        draws = _own_rows(self._fractions(_all_rows(shape), name))
        return minval + (maxval - minval) * draws

    def integers(self, shape: Sequence | tf.Tensor, name: str, maxval: int | tf.Tensor):
        """Uniform integers of `shape` in `[0, maxval)`, `maxval` up to `2**23`."""
        scaled = self.uniform(shape, name) * tf.cast(maxval, tf.float32)
        return tf.minimum(tf.cast(scaled, tf.int32), tf.cast(maxval, tf.int32) - 1)


def reseed(network: keras.layers.Layer, random: StepRandom) -> None:
    """Makes the draws of a network's own layers, such as dropout, those of a step.

    Keras saves no state of theirs, so that a resumed run would draw others.

    Args:
        network: Keras layer or model.
        random: `StepRandom`.
    """
    generators = [
        value
        for layer in network._flatten_layers()
        for value in vars(layer).values()
        if isinstance(value, keras.random.SeedGenerator)
    ]
    for index, generator in enumerate(generators):
        state = random.fold(index).key("layer") % 2**31
        generator.state.assign(tf.cast(state, generator.state.dtype))


def _all_rows(shape):
    """`shape` with the rows of all replicas."""
    _, num_replicas = replica_context()
    rows, *rest = tf.unstack(shape) if tf.is_tensor(shape) else list(shape)
    return [rows * num_replicas, *rest]


def _own_rows(draws):
    """The rows of this replica out of those of all."""
    replica, num_replicas = replica_context()
    if num_replicas == 1:
        return draws
    rows = tf.shape(draws)[0] // num_replicas
    start = tf.cast(replica, tf.int32) * rows
    return draws[start : start + rows]


def _fold_in(key, data):
    return tf.random.experimental.stateless_fold_in(
        key, tf.cast(tf.convert_to_tensor(data), tf.int64), alg=_ALGORITHM
    )
