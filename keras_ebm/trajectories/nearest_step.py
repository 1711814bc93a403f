"""One step ahead as from the nearest state of the training episodes."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_size
from keras_ebm.protocols import RandomDraws
from keras_ebm.trajectories.gaussian_step import check_windows
from keras_ebm.trajectories.state_scale import StateScale


class NearestStep:
    """Makes the change that followed one of the nearest pasts; nothing is trained.

    Args:
        scale: `StateScale`.
        rows: `(n, past + 1, state)`, standardised windows of training episodes.
        num_neighbours: int >= 1, of which one is taken at random.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    def __init__(self, scale: StateScale, rows: np.ndarray, num_neighbours: int = 10):
        received = np.shape(rows)
        past = received[1] - 1 if len(received) == 3 else 1
        check_windows(rows, (max(past, 1) + 1, len(scale.mean)))
        self.scale = scale
        self.past = past
        self.num_neighbours = check_size("num_neighbours", num_neighbours)
        if num_neighbours > len(rows):
            raise ValueError(
                f"`num_neighbours` must be at most the {len(rows)} rows. Received: "
                f"num_neighbours={num_neighbours}."
            )
        rows = tf.constant(rows, tf.float32)
        self._pasts = tf.reshape(rows[:, :-1], [len(rows), -1])
        self._squares = tf.reduce_sum(tf.square(self._pasts), axis=1)
        self._changes = rows[:, -1] - rows[:, -2]

    def next_states(self, past: tf.Tensor, random: RandomDraws) -> tf.Tensor:
        """Draws what comes next; see `TransitionModel.next_states`."""
        flat = tf.reshape(past, [-1, self._pasts.shape[1]])
        # Up to a constant of each row minus half the squared distance.
        near = tf.matmul(flat, self._pasts, transpose_b=True) - 0.5 * self._squares
        found = tf.math.top_k(near, self.num_neighbours).indices
        picked = random.integers([tf.shape(flat)[0]], "neighbour", self.num_neighbours)
        chosen = tf.gather(found, picked, batch_dims=1)
        return past[:, -1] + tf.gather(self._changes, chosen)
