"""Learning-rate schedules that Keras does not ship."""

from collections.abc import Callable

import keras
import tensorflow as tf
from keras import ops

from keras_ebm.arguments import check_positive, check_size


@keras.saving.register_keras_serializable(package="keras_ebm")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Ramps a schedule up linearly: `rate(step) * min(1, (step + 1) / warmup_steps)`.

    Args:
        rate: float or another `LearningRateSchedule`, followed from step 0.
        warmup_steps: int >= 1.
    """

    def __init__(self, rate: float | Callable, warmup_steps: int):
        self.rate = rate
        self.warmup_steps = check_size("warmup_steps", warmup_steps)

    def __call__(self, step: int | tf.Tensor):
        rate = self.rate(step) if callable(self.rate) else self.rate
        done = (ops.cast(step, "float32") + 1.0) / self.warmup_steps
        return rate * ops.minimum(1.0, done)

    # Written out, as Keras's base has no configuration for `Saveable` to add to.
    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        rate = serialize(self.rate) if callable(self.rate) else self.rate
        return {"rate": rate, "warmup_steps": self.warmup_steps}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if isinstance(config["rate"], dict):
            config["rate"] = keras.saving.deserialize_keras_object(config["rate"])
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_ebm")
class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule times a factor.

    Args:
        rate: `LearningRateSchedule`.
        factor: float > 0.
    """

    def __init__(self, rate: Callable, factor: float):
        self.rate = rate
        self.factor = check_positive("factor", factor)

    def __call__(self, step: int | tf.Tensor):
        return self.factor * self.rate(step)

    def get_config(self):
        rate = keras.saving.serialize_keras_object(self.rate)
        return {"rate": rate, "factor": self.factor}

    @classmethod
    def from_config(cls, config):
        rate = keras.saving.deserialize_keras_object(config["rate"])
        return cls(rate, config["factor"])
