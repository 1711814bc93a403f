"""Probabilities of the classes, at a temperature that held-out rows choose."""

import numpy as np
import tensorflow as tf

from keras_ebm.metrics.calibration import fit_temperature


class GivesProbabilities:
    """`p(y|x) = softmax(f(x) / T)` of a model with logits `f` and `temperature` `T`.

    The temperature changes no class and no energy: how sure an answer sounds, and
    nothing else. It is saved with the model.
    """

    def probabilities(self, x):
        """`p(y|x)` of raw inputs, `(batch, K)` float32."""
        return self.to_probabilities(self.logits(x))

    def to_probabilities(self, logits):
        """`softmax(logits / temperature)` of logits `(batch, K)`, in their precision.

        Half precision is raised to float32.
        """
        logits = tf.convert_to_tensor(logits)
        if logits.dtype.size < 4:
            logits = tf.cast(logits, tf.float32)
        return tf.nn.softmax(logits / tf.cast(self.temperature, logits.dtype))

    def fit_temperature(self, x, y, batch_size: int = 256) -> float:
        """Sets `temperature` by labelled rows that training did not see.

        Args:
            x: numpy array, raw rows `(n, ...)`.
            y: `(n,)` integer labels; rows of -1 are left out.
            batch_size: int, rows in one pass of the network.

        Returns:
            The temperature, which is also set.

        Raises:
            ValueError: if the model has no classes, or no row has a label.

        References:
            - Guo et al. (2017), "On calibration of modern neural networks",
              section 4.2.
        """
        if self.num_classes < 2:
            raise ValueError(
                "`fit_temperature` needs a model with classes. Received: "
                f"{self.num_classes} output."
            )
        x, y = np.asarray(x), np.asarray(y)
        x, y = x[y >= 0], y[y >= 0]
        starts = range(0, len(x), batch_size)
        parts = [self.logits(tf.constant(x[i : i + batch_size])) for i in starts]
        logits = np.concatenate(parts) if parts else np.zeros([0, self.num_classes])
        self.temperature = fit_temperature(logits, y)
        return self.temperature
