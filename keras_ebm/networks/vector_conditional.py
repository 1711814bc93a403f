"""An energy of inputs and of numbers that describe them."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_ebm.networks.class_conditional import Labelled
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class VectorConditional(Labelled):
    """An energy `E(x, y)` whose labels `y` are vectors of numbers.

    A position, an orientation as its cosine and sine, the state before: what
    `ClassConditional` is for classes. There is no energy of `x` alone, as `y` cannot be
    summed over: calling it says so.

    Args:
        network: functional Keras model from `[x, y]`, of shapes `(batch, ...)` and
            `(batch, D)`, to `(batch, 1)`, such as
            `keras_ebm.networks.mlp_energy(shape, num_classes=D)`.
        **kwargs: forwarded to `keras.Model`.

    Raises:
        ValueError: if `network` has other inputs or outputs; when it is called
            without labels.

    References:
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689, section 4.3
          (composition of size, position and rotation).
    """

    @property
    def label_size(self) -> int:
        """`D`, the length of a label."""
        return self.network.inputs[1].shape[-1]

    @property
    def output_shape(self) -> tuple:
        """Of one energy a row: `(None, 1)`."""
        return (None, 1)

    def call(self, inputs, training=False):
        del inputs, training
        raise ValueError(
            f"The network needs a label of {self.label_size} numbers for each row. "
            "Received: inputs alone; ask energy(x, y), or give it a label for good by "
            "keras_ebm.networks.GivenLabel."
        )

    def class_logits(self, x: tf.Tensor, y: tf.Tensor, training: bool = False):
        """`f(x, y) = -E(x, y)` of each row with its own label.

        Args:
            x: inputs, `(batch, ...)`.
            y: labels `(batch, D)`, or one for all rows, `(D,)`.
            training: bool, passed to the network.

        Returns:
            float32 tensor of shape `(batch,)`, in nats.
        """
        x = tf.convert_to_tensor(x)
        labels = tf.cast(y, tf.float32)
        labels = tf.broadcast_to(labels, [tf.shape(x)[0], self.label_size])
        return tf.cast(self.network([x, labels], training=training)[:, 0], tf.float32)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1)


@keras.saving.register_keras_serializable(package="keras_ebm")
class GivenLabel(Saveable, keras.Model):
    """The energy `E(x, y)` of a conditional network at one label, as one of `x`.

    A Keras network like any other: it can be composed, sampled, saved and exported.

    Args:
        network: `ClassConditional`, `VectorConditional`, or a network of a logit for
            each class.
        label: int of a class, or numbers `(D,)`.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: `x`, of shape `(batch, ...)`.

    Returns:
        Logits `f(x, label)` in nats, float32 of shape `(batch, 1)`.

    Raises:
        ValueError: if the network has no such label.
    """

    _values = ("label",)
    _parts = ("network",)
    _shares_parts = True

    def __init__(self, network: keras.Model, label: Any, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.label = self._check(label)
        self.built = True

    def _check(self, label):
        size = getattr(self.network, "label_size", 0)
        if size:
            values = [float(value) for value in tf.reshape(label, [-1])]
            if len(values) != size:
                raise ValueError(
                    f"`label` must have {size} numbers. Received: label={label!r}."
                )
            return values
        classes = self.network.output_shape[-1]
        number = int(label)
        if number != label or not 0 <= number < classes or classes < 2:
            raise ValueError(
                "`label` must be a class of the network, from 0 to "
                f"{classes - 1}. Received: label={label!r}."
            )
        return number

    @property
    def input_shape(self) -> tuple:
        """That of the network's `x`, `(None, ...)`."""
        return tuple(self.network.input_shape)

    @property
    def output_shape(self) -> tuple:
        """`(None, 1)`."""
        return (None, 1)

    def level_energy(self, x: tf.Tensor, stddev: tf.Tensor, training: bool = False):
        """`E(x, label, s)` of a network of levels of noise, float32 `(batch,)`.

        Args:
            x: inputs `(batch, ...)`.
            stddev: see `ReconstructionEnergy.level_energy`.
            training: bool, passed to the network.
        """
        return self.network.level_energy(x, stddev, training, self._labels_of(x))

    def _labels_of(self, x):
        """The label for each row of `x`."""
        label = tf.constant(self.label)
        return tf.broadcast_to(label, [tf.shape(x)[0], *label.shape])

    def call(self, inputs, training=False):
        x = tf.convert_to_tensor(inputs)
        if hasattr(self.network, "class_logits"):
            labels = self._labels_of(x)
            return self.network.class_logits(x, labels, training=training)[:, None]
        logits = tf.cast(self.network(x, training=training), tf.float32)
        return logits[:, self.label : self.label + 1]

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1)
