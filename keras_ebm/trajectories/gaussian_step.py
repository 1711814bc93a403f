"""One step ahead by a Gaussian: a network's mean, and the spread of its residuals."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_choice, check_size
from keras_ebm.protocols import RandomDraws
from keras_ebm.saveable import Saveable
from keras_ebm.trajectories.state_scale import StateScale

NOISES = ("none", "gaussian", "residuals")
#: Share of the mean variance that is added to each, so that the covariance has a root.
RIDGE = 1e-6


@keras.saving.register_keras_serializable(package="keras_ebm")
class GaussianStep(Saveable, keras.Model):
    """`p(next | past) = N(last + change(past), C)`, in standardised states.

    `fit` trains the network of the mean change by Keras's own means, on standardised
    windows and their last states; `adapt` then measures what it leaves. `fit_step` does
    both.

    Args:
        network: Keras model from standardised pasts `(batch, past, state)` to the
            change of the last state, `(batch, state)`.
        scale: `StateScale`.
        noise: what `next_states` adds to the mean: `"gaussian"`, normal draws of the
            covariance of residuals; `"residuals"`, one of the residuals of training
            rows, each as likely; or `"none"`.
        num_residuals: int >= 1, how many residuals are kept.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: standardised pasts `(batch, past, state)`.

    Returns:
        The mean of the next state, standardised, `(batch, state)`.

    Raises:
        ValueError: if an argument breaks its rule.
    """

    _parts = ("network", "scale")
    _values = ("noise", "num_residuals")

    def __init__(
        self,
        network: keras.Model,
        scale: StateScale,
        noise: str = "gaussian",
        num_residuals: int = 20_000,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _, self.past, size = check_step_shapes(network, scale)
        self.network = network
        self.scale = scale
        self.noise = check_choice("noise", noise, NOISES)
        self.num_residuals = check_size("num_residuals", num_residuals)
        # Of the covariance C: the triangular root L, C = L L^T.
        self.root = self._kept("root", (size, size))
        self.residuals = self._kept("residuals", (num_residuals, size))
        self.built = True

    def _kept(self, name, shape):
        return self.add_weight(
            name=name, shape=shape, initializer="zeros", trainable=False
        )

    def call(self, inputs, training=False):
        return inputs[:, -1] + self.network(inputs, training=training)

    def get_compile_config(self):
        """None: what it was fitted by is not saved, as it is no longer trained then."""
        return None

    def adapt(self, rows: np.ndarray, seed: int = 0) -> None:
        """Measures the residuals of standardised windows.

        Args:
            rows: `(n, past + 1, state)`, as `windows` makes them.
            seed: int, of which residuals are kept where there are too many.

        Raises:
            ValueError: if there is no row, or a residual is not finite.
        """
        check_windows(rows, (self.past + 1, self.root.shape[0]))
        means = self.predict(rows[:, :-1], batch_size=4096, verbose=0)
        residuals = np.asarray(rows[:, -1] - means, np.float64)
        if not np.all(np.isfinite(residuals)):
            raise ValueError(
                "`rows` must have finite residuals. Received: some that are not; train "
                "again with a lower learning rate."
            )
        cov = residuals.T @ residuals / len(residuals)
        ridge = RIDGE * max(np.trace(cov) / len(cov), RIDGE)
        self.root.assign(np.linalg.cholesky(cov + ridge * np.eye(len(cov))))
        rng = np.random.default_rng(seed)
        enough = len(residuals) >= self.num_residuals
        picked = rng.choice(len(residuals), self.num_residuals, replace=not enough)
        self.residuals.assign(residuals[picked])

    def row_energy(self, rows: tf.Tensor) -> tf.Tensor:
        """`-log p` of the last states of standardised windows, `(batch,)` nats."""
        rows = tf.convert_to_tensor(rows)
        white = self.whiten(rows[:, :-1], rows[:, -1])
        log_volume = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(self.root)))
        constant = 0.5 * self.root.shape[0] * math.log(2.0 * math.pi)
        return 0.5 * tf.reduce_sum(tf.square(white), axis=1) + log_volume + constant

    def whiten(self, past: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
        """What is left of next states `(n, state)`, in units of the Gaussian."""
        residuals = after - self(past)
        white = tf.linalg.triangular_solve(self.root, tf.transpose(residuals))
        return tf.transpose(white)

    def next_states(self, past: tf.Tensor, random: RandomDraws) -> tf.Tensor:
        """Draws what comes next.

        Args:
            past: `(n, past, state)`, standardised.
            random: `keras_ebm.random.StepRandom`.

        Returns:
            `(n, state)`, standardised.
        """
        return self(past) + self.draw_noise(tf.shape(past)[0], random)

    def draw_noise(self, count: tf.Tensor, random: RandomDraws) -> tf.Tensor:
        """What is added to means, `(count, state)`, standardised."""
        size = self.root.shape[0]
        if self.noise == "none":
            return tf.zeros([count, size])
        if self.noise == "residuals":
            picked = random.integers([count], "residual", self.num_residuals)
            return tf.gather(self.residuals, picked)
        normal = random.normal([count, size], "step")
        return tf.matmul(normal, self.root, transpose_b=True)


def check_step_shapes(network: keras.Model, scale: StateScale) -> tuple:
    """The network's input shape, or ValueError if it and the scale do not agree."""
    shape, size = tuple(network.input_shape), len(scale.mean)
    out = tuple(network.output_shape)
    if len(shape) != 3 or shape[-1] != size or out != (None, size):
        raise ValueError(
            "`network` must map pasts (batch, past, state) to changes (batch, state), "
            f"of the {size} entries of `scale`. Received: a network from {shape} to "
            f"{out}."
        )
    return shape


def check_windows(rows: np.ndarray, shape: tuple[int, int]) -> None:
    """Raises ValueError unless `rows` are windows of a shape, at least one."""
    received = tuple(np.shape(rows))
    if len(received) != 3 or received[1:] != shape or not received[0]:
        raise ValueError(
            f"`rows` must be windows of shape (n, {shape[0]}, {shape[1]}): the states "
            f"before a transition and the one after it. Received: shape {received}; "
            "make them with keras_ebm.trajectories.windows."
        )


def check_step(step: GaussianStep | None) -> Any:
    """A step that is no longer trained, or ValueError if it is something else."""
    if step is not None and not isinstance(step, GaussianStep):
        raise ValueError(f"`step` must be a GaussianStep. Received: step={step!r}.")
    if step is not None:
        step.trainable = False
    return step
