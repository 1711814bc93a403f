"""Settings of the optimizers, and how a model is compiled with them."""

import dataclasses

import keras

from keras_ebm.arguments import check_positive, listed
from keras_ebm.optimizers import ClippedAdam
from keras_ebm.schedules import WarmUp
from keras_ebm.trainers.program.options import Checked, integers, setting


@dataclasses.dataclass(frozen=True)
class OptimizerSettings(Checked):
    """Adam's rates and moments for energy and generator, and their decay."""

    CHOICES = {
        "schedule": ("cosine", "steps", "constant"),
        "optimizer": ("adam", "clipped_adam"),
    }

    SUBJECTS = {
        "optimizer": "Optimizers",
    }

    optimizer: str = setting(
        "adam",
        "Optimizer of the energy. clipped_adam bounds each gradient by its past, as "
        "IGEBM does.",
    )

    learning_rate: float = setting(2e-3, "Adam's step size for the energy.", above=0)
    generator_learning_rate: float = setting(
        1e-3, "Adam's step size for the generator.", above=0
    )
    posterior_learning_rate: float = setting(
        0.02, "Adam's step size for the weights of the entropy's estimator.", above=0
    )
    beta_1: float = setting(
        0.9, "Adam's decay of the first moment, for the energy.", low=0, below=1
    )
    generator_beta_1: float = setting(
        0.5, "Adam's decay of the first moment, for the generator.", low=0, below=1
    )
    beta_2: float = setting(
        0.99,
        "Adam's decay of the second moment, for energy and generator.",
        above=0,
        below=1,
    )
    weight_decay: float = setting(
        0.0,
        "Share of a step by which the energy's weights shrink (decoupled).",
        low=0,
        below=1,
    )
    schedule: str = setting("cosine", "How the learning rates fall over the run.")
    decay_epochs: tuple = setting(
        (), "Epochs at which schedule=steps multiplies the rates by --decay_rate."
    )
    decay_rate: float = setting(
        0.3, "Factor of the rates at each of --decay_epochs.", above=0
    )
    warmup_steps: int = setting(
        0, "Steps over which the learning rates rise from 0.", low=0
    )
    ema_momentum: float = setting(
        0.0,
        "Momentum of the averaged energy weights that are evaluated and saved. 0 keeps "
        "no averages.",
        low=0,
        below=1,
    )
    jit_compile: bool = setting(
        False,
        "Compiles steps by XLA: several times as fast on a GPU, no gain on CPUs. Only "
        "with strategy=none.",
    )


_ADAMS = {"adam": keras.optimizers.Adam, "clipped_adam": ClippedAdam}
RATES = ("learning_rate", "generator_learning_rate", "posterior_learning_rate")


def compile_model(model, settings: OptimizerSettings, epochs: int, steps: int) -> None:
    """Compiles a model with the optimizers of `settings`.

    Args:
        model: `EnergyModel`.
        settings: `OptimizerSettings`.
        epochs: int, length of the run, which the schedules span.
        steps: int, steps an epoch.
    """
    for name in RATES:
        check_positive(name, getattr(settings, name))
    ema = {}
    if settings.ema_momentum:
        ema = {"use_ema": True, "ema_momentum": settings.ema_momentum}
    optimizers = {
        "optimizer": _ADAMS[settings.optimizer](
            _schedule(settings.learning_rate, settings, epochs, steps),
            settings.beta_1,
            settings.beta_2,
            epsilon=1e-8,
            weight_decay=settings.weight_decay or None,
            **ema,
        )
    }
    if model.generator is not None:
        optimizers["generator_optimizer"] = keras.optimizers.Adam(
            _schedule(settings.generator_learning_rate, settings, epochs, steps),
            settings.generator_beta_1,
            settings.beta_2,
            epsilon=1e-8,
        )
        optimizers["posterior_optimizer"] = keras.optimizers.Adam(
            settings.posterior_learning_rate
        )
    model.compile(**optimizers, jit_compile=settings.jit_compile)


def _schedule(rate, settings, epochs, steps):
    schedules = keras.optimizers.schedules
    if settings.schedule == "cosine":
        rate = schedules.CosineDecay(rate, epochs * steps)
    elif settings.schedule == "steps":
        epochs = integers("`decay_epochs`", settings.decay_epochs)
        if any(epoch < 1 for epoch in epochs) or list(epochs) != sorted(set(epochs)):
            raise ValueError(
                "`decay_epochs` must be at least 1 and increase. Received: "
                f"decay_epochs={listed(epochs)}."
            )
        boundaries = [epoch * steps for epoch in epochs]
        values = [rate * settings.decay_rate**i for i in range(len(boundaries) + 1)]
        rate = schedules.PiecewiseConstantDecay(boundaries, values)
    return WarmUp(rate, settings.warmup_steps) if settings.warmup_steps else rate
