"""The energy up to which a detector accepts."""

import numpy as np
import tensorflow as tf

from keras_ebm.gradients import energy_and_gradient
from keras_ebm.ood import Detector

#: A changed row passes by this share of the threshold (of 1 nat, if that is more),
#: so that the rounding of another machine does not refuse it.
SLACK = 1e-4


class Level:
    """Energies of preprocessed inputs, and how far above the threshold they are.

    Args:
        detector: `keras_ebm.ood.Detector` with the score `"energy"`.

    Attributes:
        slack: float > 0, nats by which a changed row must be below the threshold.
    """

    def __init__(self, detector: Detector):
        self._network = detector.model.network
        self._score = detector.score
        threshold = detector.conformal.threshold(detector.target_fpr)
        self._by_class = detector.conformal.by_class
        self._threshold = np.asarray(threshold, np.float32)
        # The threshold of a class without calibration rows is infinite.
        sizes = np.abs(self._threshold[np.isfinite(self._threshold)])
        self.slack = SLACK * max(1.0, float(sizes.max(initial=0.0)))

    def energy(self, inputs: tf.Tensor) -> tf.Tensor:
        """Energies `(batch,)` of inputs `(batch, entries)`, in nats."""
        return self._score({"logits": self._logits(inputs)})

    def excess(self, inputs: tf.Tensor):
        """Energies, what they exceed the threshold by, and their gradient.

        The threshold is that of the class predicted, where there is one for each.

        Returns:
            `(energy, excess, gradient)`, of shapes `(batch,)`, `(batch,)` and
            `(batch, entries)`.
        """
        seen = []

        def energy_fn(inputs):
            seen.append(self._logits(inputs))
            return self._score({"logits": seen[-1]})

        energy, gradient = energy_and_gradient(energy_fn, inputs)
        threshold = tf.constant(self._threshold)
        if self._by_class:
            threshold = tf.gather(threshold, tf.argmax(seen[-1], axis=-1))
        return energy, energy - threshold, gradient

    def _logits(self, inputs):
        return tf.cast(self._network(inputs, training=False), tf.float32)
