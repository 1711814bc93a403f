"""An energy of inputs and labels as a classifier."""

import keras
import tensorflow as tf

from keras_ebm.saveable import Saveable


def check_labelled(network: keras.Model) -> None:
    """Raises ValueError unless a network takes `[x, y]` and has one output."""
    inputs = list(getattr(network, "inputs", None) or ())
    outputs = getattr(network, "outputs", None) or ()
    good = len(inputs) == 2 and len(inputs[1].shape) == 2
    if not good or [tuple(out.shape) for out in outputs] != [(None, 1)]:
        raise ValueError(
            "`network` must be a functional model from [x, y], with y of shape "
            "(batch, num_classes), to (batch, 1). Received: inputs of shapes "
            f"{[tuple(i.shape) for i in inputs]} and outputs of shapes "
            f"{[tuple(out.shape) for out in outputs]}; build it with "
            "`num_classes` above 0."
        )


class Labelled(Saveable, keras.Model):
    """Base of energies of a network that takes `[x, y]`; see the two that extend it.

    Args:
        network: functional Keras model from `[x, y]` to `(batch, 1)`.
        **kwargs: forwarded to `keras.Model`.

    Raises:
        ValueError: if `network` has other inputs or outputs.
    """

    _parts: tuple[str, ...] = ("network",)

    def __init__(self, network: keras.Model, **kwargs):
        super().__init__(**kwargs)
        check_labelled(network)
        self.network = network
        self.built = True

    @property
    def input_shape(self) -> tuple:
        """That of `x` alone, `(None, ...)`."""
        return tuple(self.network.inputs[0].shape)


@keras.saving.register_keras_serializable(package="keras_ebm")
class ClassConditional(Labelled):
    """Gives one logit a class from a network that takes the class as an input.

    With `f(x, y)` the network's output, `logits[:, y] = f(x, y)`: so is
    `E(x, y) = -f(x, y)`, `p(y|x) = softmax_y f(x, y)` (for as far as `Z(y)` is
    the same for all classes) and `E(x) = -logsumexp_y f(x, y)`.

    The classes are taken one after the other. All at once would need the memory
    of `K` batches, with 1000 classes too; one at a time, inference needs that of
    one (a gradient through the logits needs all `K` either way). What needs one
    class a row, as do chains with given labels, should ask `class_logits`: one
    pass, not `K`.

    Args:
        network: functional Keras model from `[x, y]`, of shapes `(batch, ...)`
            and `(batch, K)` (one-hot), to `(batch, 1)`.
        **kwargs: forwarded to `keras.Model`.

    Call arguments:
        inputs: `x`, of shape `(batch, ...)`.

    Returns:
        Logits in nats, float32 of shape `(batch, K)`.

    Raises:
        ValueError: if `network` has other inputs or outputs.

    References:
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689, section 4.4
          (classification by the energy of each class).
    """

    @property
    def num_classes(self) -> int:
        """`K`, the length of the network's label vector."""
        return self.network.inputs[1].shape[-1]

    @property
    def output_shape(self) -> tuple:
        """As a functional model has it: `(None, K)`."""
        return (None, self.num_classes)

    def call(self, inputs, training=False):
        x = tf.convert_to_tensor(inputs)

        def logits_of(label):
            labels = tf.fill([tf.shape(x)[0]], label)
            return self.class_logits(x, labels, training=training)

        logits = tf.map_fn(
            logits_of,
            tf.range(self.num_classes),
            fn_output_signature=tf.TensorSpec([x.shape[0]], tf.float32),
            # One class at a time, or the memory is that of all of them.
            parallel_iterations=1,
        )
        return tf.transpose(logits)

    def class_logits(self, x: tf.Tensor, y: tf.Tensor, training: bool = False):
        """`f(x, y) = -E(x, y)` of each row with its own label, in one pass.

        Args:
            x: inputs, `(batch, ...)`.
            y: integer labels from 0 to K - 1, `(batch,)`. Of a label outside
                (-1, unlabelled) the one-hot vector is zero: the network's answer
                to no class at all.
            training: bool, passed to the network.

        Returns:
            float32 tensor of shape `(batch,)`, in nats.
        """
        labels = tf.one_hot(tf.cast(y, tf.int32), self.num_classes)
        logits = self.network([tf.convert_to_tensor(x), labels], training=training)
        return tf.cast(logits[:, 0], tf.float32)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_classes)
