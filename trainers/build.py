"""Builds the model, the optimizers and the defaults of `trainers.vera`."""

import dataclasses
import math

import keras
import numpy as np

from keras_ebm import VERA, EnergyModel, GaussianGenerator, networks
from keras_ebm.arguments import check_positive
from keras_ebm.entropy import ImportanceSampling
from keras_ebm.layers import TableEncoder
from keras_ebm.negatives import CutAndBlend
from keras_ebm.schedules import WarmUp
from trainers.common import setting


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """Networks, losses and optimizers; None stands for a choice by the data."""

    CHOICES = {
        "network": ("auto", "mlp", "convolutional"),
        "generator_network": ("mlp", "convolutional"),
        "negatives": ("generator", "batch", "both", "none"),
        "objective": ("auto", "contrastive", "logistic"),
        "entropy": ("importance", "none"),
        "schedule": ("cosine", "steps", "constant"),
    }

    network: str = setting(
        "auto", "Energy network; auto: convolutional for images of 28 pixels and up."
    )
    hidden: tuple = setting((), "Widths of the mlp's layers; default by the data.")
    activation: str = setting("silu", "Activation of the energy network.")
    latent_dim: int = setting(32, "Size of the generator's latent.")
    generator_network: str = setting(
        "mlp", "Generator's decoder; the importance sampler runs it 20 times a step."
    )
    generator_hidden: tuple = setting(
        (), "Widths of the generator's layers; default by the data."
    )
    initial_stddev: float = setting(0.1, "Where the generator's sigma starts.")
    min_stddev: float = setting(0.01, "Lower bound of the generator's sigma.")
    max_stddev: float = setting(0.3, "Upper bound of the generator's sigma.")
    negatives: str = setting(
        "generator",
        "Where negatives come from: the generator (VERA), the batch (cuts and "
        "blends of two inputs), both, or none (a plain classifier).",
    )
    objective: str = setting(
        "auto",
        "contrastive (the papers' likelihood) or logistic (a density ratio, "
        "kind to accuracy); auto: logistic with classes, else contrastive.",
    )
    energy_weight: float | None = setting(
        None, "Weight of the energy term; default 0.1 with classes, else 1."
    )
    classification_weight: float = setting(1.0, "Weight of the cross-entropy.")
    conditional_entropy_weight: float = setting(
        0.0, "Weight of the entropy of p(y|x) on unlabelled rows."
    )
    gradient_penalty: float | None = setting(
        None, "Gradient penalty; default 0.1 when contrastive, else 0."
    )
    entropy: str = setting("importance", "Estimator of the entropy gradient.")
    entropy_weight: float = setting(1.0, "Weight of the generator's entropy.")
    importance_samples: int = setting(20, "Proposals of the importance sampler.")
    widening: float = setting(1.0, "Widens the importance sampler's proposals.")
    data_stddev: float = setting(0.0, "Noise added to preprocessed training data.")
    learning_rate: float = setting(2e-3, "Adam's step size for the energy.")
    generator_learning_rate: float = setting(1e-3, "And for the generator.")
    posterior_learning_rate: float = setting(0.02, "And for the sampler's widths.")
    beta_1: float = setting(0.9, "Adam's first decay for the energy.")
    generator_beta_1: float = setting(0.5, "And for the generator.")
    beta_2: float = setting(0.99, "Adam's second decay for both.")
    schedule: str = setting("cosine", "Decay of the learning rates over the run.")
    decay_epochs: tuple = setting((), "Epochs where schedule=steps decays.")
    decay_rate: float = setting(0.3, "Factor of schedule=steps.")
    warmup_steps: int = setting(0, "Steps of linear warm-up.")
    ema_momentum: float = setting(
        0.0, "Momentum of the averaged energy weights used for evaluation; 0: none."
    )


RATES = ("learning_rate", "generator_learning_rate", "posterior_learning_rate")


def build_model(dataset, train_x: np.ndarray, settings: ModelSettings, seed: int):
    """Builds an uncompiled model for a dataset.

    Args:
        dataset: `keras_ebm.data.Dataset`.
        train_x: raw training rows, which the preprocessor is adapted to.
        settings: `ModelSettings`.
        seed: int, of the initial weights and the noise.

    Returns:
        `VERA` or `EnergyModel`.
    """
    keras.utils.set_random_seed(seed)
    preprocessor, shape = _preprocessor(dataset, train_x)
    network = _energy(dataset, shape, settings)
    arguments = _loss_arguments(dataset, settings)
    arguments |= {
        "preprocessor": preprocessor,
        "class_names": dataset.class_names or None,
        "seed": seed,
    }
    if settings.negatives in ("batch", "both"):
        arguments["negatives"] = CutAndBlend()
    if settings.negatives in ("batch", "none"):
        return EnergyModel(network, **arguments)
    generator = GaussianGenerator(
        _decoder(dataset, shape, settings),
        settings.initial_stddev,
        (settings.min_stddev, settings.max_stddev),
    )
    sampler = ImportanceSampling(
        settings.importance_samples, widening=settings.widening
    )
    weight = settings.entropy_weight if settings.entropy != "none" else 0.0
    return VERA(network, generator, entropy=sampler, entropy_weight=weight, **arguments)


def _preprocessor(dataset, train_x):
    if dataset.kind == "image":
        return keras.layers.Rescaling(1.0 / 127.5, offset=-1.0), dataset.input_shape
    encoder = TableEncoder(dataset.schema)
    encoder.adapt(train_x)
    return encoder, (encoder.num_features,)


def _is_convolutional(dataset, settings):
    large = dataset.kind == "image" and min(dataset.input_shape[:2]) >= 28
    return settings.network == "convolutional" or (settings.network == "auto" and large)


def _energy(dataset, shape, settings):
    num_outputs = max(dataset.num_classes, 1)
    if _is_convolutional(dataset, settings):
        return networks.convolutional_energy(
            shape, num_outputs, activation=settings.activation
        )
    default = (128, 128, 128) if dataset.kind == "vector" else (256, 256)
    return networks.mlp_energy(
        shape,
        num_outputs,
        hidden=_widths(settings.hidden, default),
        activation=settings.activation,
    )


def _decoder(dataset, shape, settings):
    if settings.generator_network == "convolutional":
        return networks.convolutional_decoder(settings.latent_dim, shape)
    default = (128, 256) if math.prod(shape) > 256 else (128, 128)
    return networks.mlp_decoder(
        settings.latent_dim,
        shape,
        hidden=_widths(settings.generator_hidden, default),
        output_activation="tanh" if dataset.kind == "image" else None,
    )


def _widths(values, default):
    return _integers("Layer widths", values) or default


def _integers(what, values):
    try:
        return tuple(int(value) for value in values)
    except ValueError:
        raise ValueError(
            f"{what} must be integers with commas between them. Received: "
            f"{','.join(values)}."
        ) from None


def _loss_arguments(dataset, settings):
    """Resolves what depends on whether there are classes."""
    has_classes = dataset.num_classes > 1
    objective = settings.objective
    if objective == "auto":
        objective = "logistic" if has_classes else "contrastive"
    weight, penalty = settings.energy_weight, settings.gradient_penalty
    if weight is None:
        weight = 0.1 if has_classes else 1.0
    if penalty is None:
        penalty = 0.1 if objective == "contrastive" else 0.0
    if settings.negatives == "none":
        weight = penalty = 0.0
    return {
        "objective": objective,
        "energy_weight": weight,
        "gradient_penalty": penalty,
        "classification_weight": settings.classification_weight,
        "conditional_entropy_weight": settings.conditional_entropy_weight,
        "data_stddev": settings.data_stddev,
    }


def compile_model(model, settings: ModelSettings, epochs: int, steps: int) -> None:
    """Compiles a model with the optimizers of `settings`.

    Args:
        model: `EnergyModel`.
        settings: `ModelSettings`.
        epochs: int, length of the run, which the schedules span.
        steps: int, steps an epoch.
    """
    for name in RATES:
        check_positive(name, getattr(settings, name))
    ema = {}
    if settings.ema_momentum:
        ema = {"use_ema": True, "ema_momentum": settings.ema_momentum}
    optimizers = {
        "optimizer": keras.optimizers.Adam(
            _schedule(settings.learning_rate, settings, epochs, steps),
            settings.beta_1,
            settings.beta_2,
            epsilon=1e-8,
            **ema,
        )
    }
    if isinstance(model, VERA):
        optimizers["generator_optimizer"] = keras.optimizers.Adam(
            _schedule(settings.generator_learning_rate, settings, epochs, steps),
            settings.generator_beta_1,
            settings.beta_2,
            epsilon=1e-8,
        )
        optimizers["posterior_optimizer"] = keras.optimizers.Adam(
            settings.posterior_learning_rate
        )
    model.compile(**optimizers)


def _schedule(rate, settings, epochs, steps):
    schedules = keras.optimizers.schedules
    if settings.schedule == "cosine":
        rate = schedules.CosineDecay(rate, epochs * steps)
    elif settings.schedule == "steps":
        epochs = _integers("`decay_epochs`", settings.decay_epochs)
        boundaries = [epoch * steps for epoch in epochs]
        values = [rate * settings.decay_rate**i for i in range(len(boundaries) + 1)]
        rate = schedules.PiecewiseConstantDecay(boundaries, values)
    return WarmUp(rate, settings.warmup_steps) if settings.warmup_steps else rate
