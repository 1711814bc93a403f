"""Random draws that are a function of a seed, an iteration and a name."""

import zlib

import tensorflow as tf

# Named, since the default is chosen by device. XLA takes other bits of the same
# integers for its floats: `jit_compile=True` is another stream of noise.
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
    the number of replicas does not change the noise either.

    Args:
        seed: int, the run's seed.
        iteration: int or integer scalar tensor, the step's number; usually
            `optimizer.iterations`.
    """

    def __init__(self, seed: int, iteration):
        self.seed = seed
        # Read now: an optimizer's counter moves on before its step is over.
        self.iteration = tf.cast(tf.convert_to_tensor(iteration), tf.int64)

    def _key(self, name: str):
        key = tf.stack([tf.cast(self.seed, tf.int64), self.iteration])
        return tf.random.experimental.stateless_fold_in(
            key, tf.constant(zlib.crc32(name.encode()), tf.int64), alg=_ALGORITHM
        )

    def _draw(self, sampler, shape, name, **kwargs):
        replica, num_replicas = replica_context()
        shape = tf.unstack(shape) if tf.is_tensor(shape) else shape
        rows = shape[0]
        full = sampler(
            [rows * num_replicas, *shape[1:]],
            seed=self._key(name),
            alg=_ALGORITHM,
            **kwargs,
        )
        if num_replicas == 1:
            return full
        start = tf.cast(replica, tf.int32) * rows
        return full[start : start + rows]

    def seed_pair(self, name: str):
        """Two integers for a sampler that draws by itself.

        They differ from replica to replica, so such a sampler's noise depends
        on the number of replicas.
        """
        replica, _ = replica_context()
        key = tf.random.experimental.stateless_fold_in(
            self._key(name), tf.cast(replica, tf.int64), alg=_ALGORITHM
        )
        return tf.cast(key % (2**31 - 1), tf.int32)

    def normal(self, shape, name: str):
        """Standard normal draws of `shape`; the first axis is the batch."""
        return self._draw(tf.random.stateless_normal, shape, name)

    def uniform(self, shape, name: str, minval=0.0, maxval=1.0):
        """Uniform draws of `shape` in `[minval, maxval)`."""
        return self._draw(
            tf.random.stateless_uniform, shape, name, minval=minval, maxval=maxval
        )
