"""Adam that clips each entry of a gradient to what that entry's history allows."""

import keras
import tensorflow as tf
from keras import ops

from keras_ebm.arguments import check_positive
from keras_ebm.saveable import Saveable


@keras.saving.register_keras_serializable(package="keras_ebm")
class ClippedAdam(Saveable, keras.optimizers.Adam):
    """Adam whose gradients are clipped to some deviations of their second moment.

    At step `t`, counted from 1 and with `v` as the steps before have left it,
    every entry of the gradient `g` is clipped,

        bound = clip_stddevs * sqrt(v / (1 - beta_2^t)) + clip_offset
        g <- clip(g, -bound, bound),

    and Adam's step follows with the clipped `g`, in its moments too. At the
    first step `v = 0` and the bound is `clip_offset`.

    On several replicas Keras sums their gradients before an update, so that the
    sum is what is clipped: the step of one device, whatever their number.
    Keras's own `clipnorm` and `clipvalue` act on each replica's share instead.

    Args:
        learning_rate: float or schedule. Defaults to `3e-4`, as the published
            runs of IGEBM had it.
        beta_1: float, decay of the first moment. Defaults to 0: the negatives
            move, and an old gradient points away from where they were.
        beta_2: float, decay of the second moment.
        epsilon: float, Adam's "epsilon hat", beside `sqrt(v)`.
        clip_stddevs: float >= 0.
        clip_offset: float > 0; at 0 nothing would ever move.
        **kwargs: forwarded to `keras.optimizers.Adam`.

    Raises:
        ValueError: if `clip_stddevs` or `clip_offset` breaks its rule.

    References:
        - Du and Mordatch (2019), "Implicit generation and modeling with energy
          based models", https://arxiv.org/abs/1903.08689.
        - Kingma and Ba (2015), https://arxiv.org/abs/1412.6980.
    """

    _values = ("clip_stddevs", "clip_offset")

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 3e-4,
        beta_1: float = 0.0,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        clip_stddevs: float = 3.0,
        clip_offset: float = 0.1,
        **kwargs,
    ):
        kwargs.setdefault("name", "clipped_adam")
        super().__init__(
            learning_rate=learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            **kwargs,
        )
        self.clip_stddevs = check_positive(
            "clip_stddevs", clip_stddevs, zero_allowed=True
        )
        self.clip_offset = check_positive("clip_offset", clip_offset)

    def update_step(self, gradient, variable, learning_rate):
        if isinstance(gradient, tf.IndexedSlices):
            # Some rows of an embedding; the others' gradient is zero.
            gradient = tf.convert_to_tensor(gradient)
        gradient = ops.cast(gradient, variable.dtype)
        bound = self._bound(variable)
        clipped = ops.clip(gradient, -bound, bound)
        super().update_step(clipped, variable, learning_rate)

    def _bound(self, variable):
        velocity = self._velocities[self._get_variable_index(variable)]
        step = ops.cast(self.iterations + 1, variable.dtype)
        correction = 1.0 - ops.power(ops.cast(self.beta_2, variable.dtype), step)
        deviation = ops.sqrt(velocity / correction)
        return self.clip_stddevs * deviation + self.clip_offset
