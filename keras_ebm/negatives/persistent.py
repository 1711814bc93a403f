"""Persistent Markov chains, whose states are an energy's negatives."""

import keras
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_size
from keras_ebm.negatives.moves import MovesByMALA, Negatives
from keras_ebm.random import replica_context
from keras_ebm.samplers.mala import mala_state


@keras.saving.register_keras_serializable(package="keras_ebm")
class PersistentChains(MovesByMALA):
    """Chains that go on from one training step to the next (PCD).

    The buffer is visited in turn, a batch at a step; a share of the chains
    starts anew, from `N(0, start_stddev^2 I)` or, in `VERA`, from the
    generator. They are moved by MALA at
    temperature 1, so that the negatives follow `exp(-E)` where chains mix, and
    are saved with the model. For one replica.

    Args:
        shape: of one preprocessed input.
        capacity: int >= 1, number of chains, at least a batch; 10,000 in the
            papers. A chain that is visited once in many steps lags behind the
            energy, from which high dimensions did not recover.
        num_steps: int >= 1, MALA steps each time a chain is visited.
        restart_share: float in [0, 1], 0.05 in the papers. Chains that have
            just started are not yet samples of `p`.
        start_stddev: float > 0, of a chain's first state, in units of `x`.
        initial_step_size: float > 0, in squared units of `x` per nat.
        target_acceptance: float in (0, 1) that the step size is adapted to.
        adaptation_rate: float > 0, of the log of the step size. Where it is too
            low for an energy that sharpens fast, the chains freeze.
        num_leapfrog: int >= 1; above 1 the moves are Hamiltonian.
        seed: int, of the first states.
        **kwargs: forwarded to `keras.layers.Layer`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Tieleman (2008), "Training restricted Boltzmann machines using
          approximations to the likelihood gradient".
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689: the buffer
          and its restarts.
    """

    log_names = ("mala_acceptance", "mala_step_size")

    def __init__(
        self,
        shape,
        capacity: int = 10_000,
        num_steps: int = 10,
        restart_share: float = 0.05,
        start_stddev: float = 1.0,
        initial_step_size: float = 0.01,
        target_acceptance: float = 0.6,
        adaptation_rate: float = 0.05,
        num_leapfrog: int = 1,
        seed: int = 0,
        **kwargs,
    ):
        check_size("num_steps", num_steps)
        super().__init__(
            num_steps,
            initial_step_size,
            target_acceptance,
            adaptation_rate,
            num_leapfrog,
            **kwargs,
        )
        self.shape = tuple(shape)
        self.capacity = check_size("capacity", capacity)
        self.restart_share = check_positive(
            "restart_share", restart_share, zero_allowed=True
        )
        self.start_stddev = check_positive("start_stddev", start_stddev)
        self.seed = seed
        self.buffer = self.add_weight(
            name="buffer",
            shape=(capacity, *self.shape),
            trainable=False,
            initializer=keras.initializers.RandomNormal(stddev=start_stddev, seed=seed),
        )

    def advance(self, energy_fn, count, random, fresh=None) -> Negatives:
        """Moves the next `count` chains and returns where they then are.

        Args:
            energy_fn: callable from `(n, ...)` to energies `(n,)`.
            count: int scalar, the batch's size.
            random: `keras_ebm.random.StepRandom`, whose iteration says whose
                turn it is.
            fresh: `(count, ...)`, where chains that start anew do so; default
                normal draws.

        Raises:
            ValueError: under a strategy of several replicas.
        """
        if replica_context()[1] > 1:
            raise ValueError(
                "PersistentChains serves one replica. Received: "
                f"{replica_context()[1]} replicas; train without a strategy."
            )
        count = tf.minimum(count, self.capacity)
        first = tf.cast(random.iteration, tf.int32) * count
        turn = (first + tf.range(count)) % self.capacity
        buffer = self.buffer.value
        state = tf.gather(buffer, turn)
        if fresh is None:
            fresh = self.start_stddev * random.normal(tf.shape(state), "restart")
        restarted = random.uniform([count], "restarted") < self.restart_share
        restarted = tf.reshape(restarted, [-1, *[1] * len(self.shape)])
        state = tf.where(restarted, fresh, state)
        state, logs = self.move(energy_fn, mala_state(energy_fn, state), random)
        x = tf.stop_gradient(state.x)
        buffer.scatter_nd_update(turn[:, None], x)
        return Negatives(x, None, logs)

    def get_config(self):
        return {
            **super().get_config(),
            "shape": list(self.shape),
            "capacity": self.capacity,
            "restart_share": self.restart_share,
            "start_stddev": self.start_stddev,
            "seed": self.seed,
        }
