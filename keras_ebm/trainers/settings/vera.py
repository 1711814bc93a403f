"""Builds the model of `keras-ebm train-vera`, with defaults that depend on the data."""

import dataclasses
import math

import keras
import numpy as np

from keras_ebm import VERA, EnergyModel, networks
from keras_ebm.entropy import ESTIMATORS
from keras_ebm.trainers.program.options import setting
from keras_ebm.trainers.settings.adversarial import (
    AdversarialSettings,
    build_adversarial,
)
from keras_ebm.trainers.settings.generator import (
    SamplingSettings,
    build_chains,
    build_correction,
    build_entropy,
    build_generator,
    correction_kind,
)
from keras_ebm.trainers.settings.negatives import (
    build_negatives,
    is_of_images,
    negatives_choices,
    source_of,
    with_generator,
)
from keras_ebm.trainers.settings.networks import (
    NETWORK_CHOICES,
    NetworkSettings,
    build_network,
    build_preprocessor,
    check_negatives,
    computing_in,
    none_or,
    widths,
)
from keras_ebm.trainers.settings.optimizers import OptimizerSettings
from keras_ebm.trainers.settings.unlabelled import (
    SemiSupervisedSettings,
    build_semi_supervised,
)

#: Latents at most where their number is left to the data.
DEFAULT_LATENTS = 16


@dataclasses.dataclass(frozen=True)
class ModelSettings(
    NetworkSettings,
    SamplingSettings,
    SemiSupervisedSettings,
    AdversarialSettings,
    OptimizerSettings,
):
    """Networks and losses; None stands for a choice by the data."""

    CHOICES = {
        **SamplingSettings.CHOICES,
        **OptimizerSettings.CHOICES,
        **NETWORK_CHOICES,
        **AdversarialSettings.CHOICES,
        "generator_network": ("mlp", "large_mlp", "convolutional", "resnet", "dcgan"),
        "generator_normalization": ("none", "batch", "group", "layer", "instance"),
        "negatives": negatives_choices,
        "objective": ("auto", "contrastive", "logistic"),
    }

    SUBJECTS = {
        "generator_network": "Generator",
        "negatives": "Loss",
        "bank": "Loss",
        "bank_rows": "Loss",
    }

    generator_network: str = setting(
        "mlp",
        "Decoder of the generator. The importance estimator runs it 20 times a step.",
    )
    generator_filters: int = setting(
        0,
        "Channels of resnet and dcgan decoders. 0 takes the decoder's own number.",
        low=0,
    )
    generator_normalization: str = setting(
        "layer",
        "Normalisation in large_mlp, resnet and dcgan decoders. The entropy's "
        "estimators refuse batch.",
    )
    negatives: str = setting(
        "auto",
        "Where negatives come from: the generator (VERA), the batch (cuts and "
        "blends of two inputs), jitter (inputs with noise of many widths), mixture "
        "(samples of a mixture of Gaussians fitted to training rows; not of images), "
        "shuffle (each column's values dealt out anew; not of images), "
        "phase_scramble (images with random Fourier phases), patch_shuffle (images "
        "with their quadrants in another order), mixed (several of these: of images "
        "batch, phases at any brightness and quadrants, of rows shuffle and jitter), "
        "bank (the rows of --bank alone), "
        "any of these beside the generator by generator+, such as generator+mixed, "
        "both (generator+batch), or none (a plain classifier). auto: with classes "
        "and the logistic objective generator+mixed for images and generator+shuffle "
        "for rows of several numbers, else generator.",
    )
    bank: str = setting(
        "",
        "Foreign rows that stand among the negatives, as one half of them where there "
        "are others beside a generator's: what --ood of keras-ebm evaluate takes, such "
        "as a data set, noise:uniform or phase_scramble. With --backbone they are "
        "images, whose features are taken.",
    )
    bank_rows: int = setting(2000, "Rows of --bank, at most.", low=1)
    objective: str = setting(
        "auto",
        "contrastive (the papers' likelihood) or logistic (a density ratio, "
        "kind to accuracy); auto: logistic with classes and for the negatives jitter, "
        "mixture, shuffle, phase_scramble, patch_shuffle and mixed, else contrastive.",
    )
    energy_weight: float | None = setting(
        None,
        "Weight of the energy term. If it is not given, 0.1 with classes, else 1.",
        low=0,
    )
    classification_weight: float = setting(1.0, "Weight of the cross-entropy.", low=0)
    gradient_penalty: float | None = setting(
        None,
        "Weight of the penalty on dE/dx at the data. If it is not given, 0.1 for the "
        "contrastive objective, else 0.",
        low=0,
    )
    data_stddev: float = setting(
        0.0, "Standard deviation of noise on preprocessed training data.", low=0
    )


def build_model(
    dataset,
    train_x: np.ndarray,
    settings: ModelSettings,
    seed: int,
    bank: np.ndarray | None = None,
):
    """Builds an uncompiled model for a dataset.

    Args:
        dataset: `keras_ebm.data.Dataset`.
        train_x: raw training rows, which the preprocessor is adapted to.
        settings: `ModelSettings`.
        seed: int, of the initial weights and the noise.
        bank: raw rows that stand among the negatives, or None.

    Returns:
        `VERA` or `EnergyModel`.
    """
    keras.utils.set_random_seed(seed)
    preprocessor, shape, value_range = build_preprocessor(dataset, train_x, settings)
    network = build_network(dataset, shape, settings)
    settings = dataclasses.replace(
        settings, negatives=resolved_negatives(settings, dataset)
    )
    if settings.negatives != "none":
        check_negatives(network, dataset, f"negatives={settings.negatives}")
    arguments = _loss_arguments(dataset, settings)
    arguments |= build_semi_supervised(settings, shape)
    arguments |= build_adversarial(settings, value_range)
    arguments |= {
        "preprocessor": preprocessor,
        "class_names": dataset.class_names or None,
        "seed": seed,
    }
    arguments["negatives"] = build_negatives(
        settings.negatives, dataset, train_x, preprocessor, seed, shape, bank
    )
    if settings.negatives not in with_generator():
        return EnergyModel(network, **arguments)
    if not settings.latent_dim:
        latent_dim = min(DEFAULT_LATENTS, math.prod(shape))
        settings = dataclasses.replace(settings, latent_dim=latent_dim)
    with computing_in(_decoder_precision(settings)):
        decoder = _decoder(dataset, shape, settings)
    generator = build_generator(decoder, settings)
    entropy, weight = build_entropy(settings)
    kind = _correction_kind(settings, math.prod(shape), arguments["objective"])
    if kind == "chains":
        arguments["negatives"] = build_chains(settings, shape)
    return VERA(
        network,
        generator,
        entropy=entropy,
        entropy_weight=weight,
        correction=build_correction(settings, kind),
        **arguments,
    )


def resolved_negatives(settings: ModelSettings, dataset) -> str:
    """The value of `negatives` that `auto` comes to for a data set.

    What stands beside the generator is what the open half of `benchmarks.panel` chose.
    """
    if settings.negatives != "auto":
        return settings.negatives
    logistic = settings.objective in ("auto", "logistic")
    alone = settings.correction not in ("auto", "none")
    if dataset.num_classes < 2 or not logistic or alone:
        return "generator"
    if is_of_images(dataset):
        return "generator+mixed"
    several = dataset.kind != "inputs" and np.shape(dataset.x)[-1] > 1
    return "generator+shuffle" if several else "generator"


def _decoder_precision(settings):
    """Half precision where nothing but the decoder's samples is asked of it."""
    estimator = ESTIMATORS.get(settings.entropy)
    precise = estimator is not None and estimator.needs_float32
    if precise and settings.precision != "float32":
        raise ValueError(
            f"`precision` {settings.precision} does not go with "
            f"entropy={settings.entropy}, whose products and chains need float32. "
            "Received: both; use entropy=importance."
        )
    return settings.precision


def _correction_kind(settings, sample_size, objective):
    alone = settings.negatives == "generator"
    if settings.correction == "auto" and not (alone and objective == "contrastive"):
        return "none"
    kind = correction_kind(settings, sample_size, "none")
    if kind == "chains" and not alone:
        raise ValueError(
            "`correction` chains takes the place of other negatives. Received: "
            f"negatives={settings.negatives}; leave one of them out."
        )
    return kind


def _decoder(dataset, shape, settings):
    if settings.generator_network == "convolutional":
        return networks.convolutional_decoder(settings.latent_dim, shape)
    if settings.generator_network in _DECODERS:
        return _published_decoder(dataset, shape, settings)
    default = (128, 256) if math.prod(shape) > 256 else (128, 128)
    return networks.mlp_decoder(
        settings.latent_dim,
        shape,
        hidden=widths(settings.generator_hidden, default),
        activation=settings.generator_activation,
        output_activation="tanh" if dataset.kind == "image" else None,
        skip=settings.decoder_skip,
    )


_DECODERS = {
    "large_mlp": networks.large_mlp_decoder,
    "resnet": networks.resnet_decoder,
    "dcgan": networks.dcgan_decoder,
}


def _published_decoder(dataset, shape, settings):
    name = settings.generator_network
    if name != "large_mlp" and len(shape) != 3:
        raise ValueError(
            f"`generator_network` {name} makes images. Received: inputs of shape "
            f"{tuple(shape)}; use generator_network=mlp."
        )
    options = {"normalization": none_or(settings.generator_normalization)}
    if dataset.kind == "image":
        options["output_activation"] = "tanh"
    if settings.generator_filters and name != "large_mlp":
        options["filters"] = settings.generator_filters
    return _DECODERS[name](settings.latent_dim, shape, **options)


def _loss_arguments(dataset, settings):
    """Resolves what depends on whether there are classes."""
    has_classes = dataset.num_classes > 1
    objective = settings.objective
    if objective == "auto":
        source = source_of(settings.negatives)
        beside = settings.negatives in with_generator()
        alone = source.objective if source and not beside else "contrastive"
        objective = "logistic" if has_classes else alone
    weight, penalty = settings.energy_weight, settings.gradient_penalty
    if weight is None:
        weight = 0.1 if has_classes else 1.0
    if penalty is None:
        penalty = 0.1 if objective == "contrastive" else 0.0
    if settings.negatives == "none":
        # What is left is a plain classifier, but for a penalty that was asked for.
        penalty = settings.gradient_penalty or 0.0
        weight = weight if penalty else 0.0
    return {
        "objective": objective,
        "energy_weight": weight,
        "gradient_penalty": penalty,
        "classification_weight": settings.classification_weight,
        "data_stddev": settings.data_stddev,
    }
