"""Probabilities of the classes, as sure as held-out rows say."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import check_positive, check_share
from keras_ebm.metrics.calibration import fit_temperature
from keras_ebm.models.label_checks import check_array
from keras_ebm.rows import Spec, as_rows, num_rows, take, tensors

_FROZEN = contextvars.ContextVar("frozen_calibration", default=False)


@contextlib.contextmanager
def frozen_calibration() -> Iterator[None]:
    """Functions traced inside the block have temperatures and the like as constants.

    For what is served: a request of one row is answered with fewer operations. Nothing
    that they leave out changes a number.
    """
    token = _FROZEN.set(True)
    try:
        yield
    finally:
        _FROZEN.reset(token)


def _values(variable: tf.Variable) -> np.ndarray:
    """What a variable holds, also while a function is traced."""
    with tf.init_scope():
        return variable.numpy()


class GivesProbabilities:
    """`p(y|x) = (1 - l) softmax((f(x) + o) / T) + l / K` of a model with logits `f`.

    `T` is its `temperature` and `l` its `lapse_rate`, the share of rows whose class is
    anyone's guess. They change no class and no energy: how sure an answer sounds, and
    nothing else. `o` are its `class_offsets`, for classes that are rarer or commoner
    where the model is used than among its labels: they change classes, and no energy.
    All are saved with the model.

    They are in variables, so that a function that was traced with it follows a change.
    They are part of the model's configuration, and no weights.
    """

    #: Of the model: raw inputs to logits `(batch, K)`.
    logits: Callable[..., tf.Tensor]
    raw_spec: Callable[[], Spec]
    rows_at_a_time: Callable[[], int]

    @property
    def num_classes(self) -> int:
        """Number of logits, which the model says."""
        raise NotImplementedError

    def _add_calibration(
        self,
        temperature: float,
        lapse_rate: float,
        class_offsets: Sequence[float] | None = None,
    ) -> None:
        # TensorFlow's, so that they are none of the model's weights.
        self._calibration = tf.Variable([1.0, 0.0], False, dtype=tf.float64)
        self._offsets = tf.Variable(np.zeros(self.num_classes), False, dtype=tf.float64)
        self.temperature, self.lapse_rate = temperature, lapse_rate
        self.class_offsets = class_offsets

    @property
    def temperature(self) -> float:
        """What logits are divided by, above 0."""
        return float(_values(self._calibration)[0])

    @temperature.setter
    def temperature(self, value: float) -> None:
        self._calibrate(0, check_positive("temperature", value))

    @property
    def lapse_rate(self) -> float:
        """Share of an even guess, at least 0 and below 1."""
        return float(_values(self._calibration)[1])

    @lapse_rate.setter
    def lapse_rate(self, value: float) -> None:
        self._calibrate(1, check_share("lapse_rate", value, zero_allowed=True))

    @property
    def class_offsets(self) -> list[float] | None:
        """Nats that are added to the logits of classes, K of them, None for none."""
        values = _values(self._offsets).tolist()
        return values if any(values) else None

    @class_offsets.setter
    def class_offsets(self, values: Sequence[float] | None) -> None:
        offsets = np.zeros(self.num_classes) if values is None else np.asarray(values)
        if offsets.shape != (self.num_classes,) or not np.isfinite(offsets).all():
            raise ValueError(
                f"`class_offsets` must be {self.num_classes} finite numbers, one a "
                f"logit, or None. Received: {values}."
            )
        self._offsets.assign(offsets)

    def offset(self, logits: tf.Tensor):
        """Logits `(batch, K)` whose largest is the class: with the `class_offsets`."""
        logits = tf.convert_to_tensor(logits)
        if _FROZEN.get() and not self.class_offsets:
            return logits
        return logits + tf.cast(tf.convert_to_tensor(self._offsets), logits.dtype)

    def _calibrate(self, place: int, value: float) -> None:
        values = self._calibration.numpy()
        values[place] = value
        self._calibration.assign(values)

    def probabilities(self, x: tf.Tensor):
        """`p(y|x)` of raw inputs, `(batch, K)` float32."""
        return self.to_probabilities(self.logits(x))

    def to_probabilities(self, logits: tf.Tensor):
        """The probabilities of logits `(batch, K)`, in their precision.

        Half precision is raised to float32.
        """
        p = tf.nn.softmax(self._tempered(logits))
        if _FROZEN.get() and not self.lapse_rate:
            return p
        lapse_rate = self._read(1, p.dtype)
        return (1.0 - lapse_rate) * p + lapse_rate / self.num_classes

    def to_log_probabilities(self, logits: tf.Tensor):
        """Their logarithms, which are finite where a probability rounds to 0."""
        plain = tf.nn.log_softmax(self._tempered(logits))
        lapsing = tf.math.log(self.to_probabilities(logits))
        return tf.where(self._read(1, plain.dtype) > 0.0, lapsing, plain)

    def _read(self, place: int, dtype):
        if _FROZEN.get():
            return tf.constant(_values(self._calibration)[place], dtype)
        # Not as an attribute: a traced function has to read the variable.
        return tf.cast(tf.convert_to_tensor(self._calibration)[place], dtype)

    def _tempered(self, logits):
        logits = tf.convert_to_tensor(logits)
        if logits.dtype.size < 4:
            logits = tf.cast(logits, tf.float32)
        if _FROZEN.get() and self.temperature == 1.0:
            return self.offset(logits)
        return self.offset(logits) / self._read(0, logits.dtype)

    def fit_temperature(
        self, x: np.ndarray, y: np.ndarray, batch_size: int | None = None
    ) -> tuple[float, float]:
        """Sets `temperature` and `lapse_rate` by labelled rows unseen in training.

        Args:
            x: numpy array, raw rows `(n, ...)`.
            y: `(n,)` labels as `fit` takes them; rows of -1 are left out.
            batch_size: int, rows in one pass; None: as `rows_at_a_time` says.

        Returns:
            `(temperature, lapse_rate)`; see `metrics.fit_temperature`.

        Raises:
            ValueError: if the model has no classes, no row has a label, or a label is
                no class.

        References:
            - Guo et al. (2017), "On calibration of modern neural networks",
              section 4.2.
        """
        if self.num_classes < 2:
            raise ValueError(
                "`fit_temperature` needs a model with classes. Received: "
                f"{self.num_classes} output."
            )
        x, y = as_rows(x, "x", self.raw_spec()), np.asarray(y)
        if y.ndim != 1 or num_rows(x) != len(y):
            raise ValueError(
                "`y` must hold a label for each row of `x`. Received: y of shape "
                f"{y.shape} for {num_rows(x)} rows; give one label a row."
            )
        y = np.asarray(check_array(y, self.num_classes))
        x, y = take(x, y >= 0), y[y >= 0]
        batch_size = batch_size or self.rows_at_a_time()
        starts = range(0, len(y), batch_size)
        parts = [
            self.logits(tensors(take(x, slice(i, i + batch_size)))) for i in starts
        ]
        logits = np.concatenate(parts) if parts else np.zeros([0, self.num_classes])
        logits = self.offset(logits).numpy()
        self.temperature, self.lapse_rate = fit_temperature(logits, y)
        return self.temperature, self.lapse_rate
