"""Builds and measures the densities of `keras-ebm train-likelihood`."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import VERA, DensityModel, EnergyModel, networks, objectives
from keras_ebm.layers import LogitPixels
from keras_ebm.trainers.program.options import integers, setting
from keras_ebm.trainers.settings.generator import (
    SamplingSettings,
    build_chains,
    build_correction,
    build_entropy,
    build_generator,
    correction_kind,
)
from keras_ebm.trainers.settings.optimizers import OptimizerSettings

#: What `--method` may be: criteria first, then what needs samples.
METHODS = (
    "maximum_likelihood",
    "grid",
    "sliced_score_matching",
    "sliced_score_matching_vr",
    "denoising_score_matching",
    "noise_contrastive",
    "persistent_chains",
    "vera",
)
BATCH = 1000


@dataclasses.dataclass(frozen=True)
class DensitySettings(SamplingSettings, OptimizerSettings):
    """The density's network, how it is trained, and by what samples."""

    CHOICES = {
        **SamplingSettings.CHOICES,
        **OptimizerSettings.CHOICES,
        "method": METHODS,
        "network": ("nice", "mixture", "mlp"),
    }

    SUBJECTS = {
        "method": "Density",
        "gradient_penalty": "Loss",
    }

    method: str = setting(
        "maximum_likelihood",
        "maximum_likelihood (normalised networks), grid (the same in the plane, for "
        "any network), score matching, noise contrast, or by samples of chains or of "
        "a generator, whose entropy --entropy estimates.",
    )
    network: str = setting(
        "nice",
        "Network of the density: nice and mixture are normalised, mlp is any energy.",
    )
    hidden: tuple = setting(
        (),
        "Widths of the network's layers. If none are given, they follow from the "
        "network.",
    )
    standardise: bool = setting(
        True, "Standardises points inside the model. Images always are."
    )
    activation: str = setting(
        "",
        "Activation of the network. If it is empty, softplus for nice and silu for "
        "mlp.",
    )
    num_couplings: int = setting(4, "Couplings of nice.", low=1)
    num_components: int = setting(50, "Components of the mixture.", low=1)
    base_stddev: float = setting(
        0.0,
        "Standard deviation of a Gaussian factor of an mlp's density. 0 leaves it out.",
        low=0,
    )
    noise_stddev: float = setting(
        0.16,
        "Standard deviation of the noise of denoising and of noise contrast, on "
        "standardised inputs.",
        above=0,
    )
    num_slices: int = setting(1, "Directions of sliced score matching.", low=1)
    gradient_penalty: float = setting(
        0.0, "Weight of the penalty on dE/dx at the data, for chains and vera.", low=0
    )
    data_stddev: float = setting(
        0.0, "Standard deviation of noise on standardised training data.", low=0
    )


def preprocessor(kind: str, x: np.ndarray, standardise: bool = True):
    """Standardises rows, of images the logits of their pixels.

    None for points that are not to be standardised.

    Args:
        kind: of the dataset.
        x: training rows; dequantised pixels where they are images.
    """
    images = kind == "image"
    if not images and not standardise:
        return None
    logits = [LogitPixels()] if images else []
    scale = keras.layers.Normalization(name="standardise")
    scale.adapt(logits[0](x) if images else x)
    return keras.Sequential([keras.Input(x.shape[1:]), *logits, scale])


def log_scale(model) -> float:
    """The sum of the logs of what the model's preprocessor divides by."""
    if model.preprocessor is None:
        return 0.0
    variance = model.preprocessor.get_layer("standardise").variance
    return float(0.5 * np.sum(np.log(variance)))


def dequantise(x, uniform):
    """Pixels with `uniform` noise in `[0, 1)` on them, one part in 256 wide."""
    return tf.cast(x, tf.float32) + (uniform - 0.5) * (255.0 / 256.0)


def build_density(kind: str, x: np.ndarray, settings: DensitySettings, seed: int):
    """An uncompiled model of the density of rows like `x`.

    Args:
        kind: of the dataset.
        x: training rows; dequantised pixels where they are images.
        settings: `DensitySettings`.
        seed: int.

    Returns:
        `DensityModel`, `EnergyModel` with chains, or `VERA`.

    Raises:
        ValueError: if settings do not go together.
    """
    keras.utils.set_random_seed(seed)
    size = math.prod(x.shape[1:])
    network = _network(settings, size, seed)
    common = {
        "preprocessor": preprocessor(kind, x, settings.standardise),
        "data_stddev": settings.data_stddev,
        "seed": seed,
    }
    if settings.method == "persistent_chains":
        chains = build_chains(settings, (size,), "another method")
        penalty = settings.gradient_penalty
        return EnergyModel(
            network, negatives=chains, gradient_penalty=penalty, **common
        )
    if settings.method == "vera":
        return _vera(network, size, settings, common)
    return DensityModel(network, _criterion(settings), **common)


def _vera(network, size, settings, common):
    decoder = networks.mlp_decoder(
        settings.latent_dim,
        (size,),
        hidden=integers("Layer widths", settings.generator_hidden) or (128, 128),
        activation=settings.generator_activation,
        skip=settings.decoder_skip,
    )
    entropy, weight = build_entropy(settings)
    kind = correction_kind(settings, size, "chains")
    if kind == "chains":
        common["negatives"] = build_chains(settings, (size,))
    return VERA(
        network,
        build_generator(decoder, settings),
        entropy=entropy,
        entropy_weight=weight,
        correction=build_correction(settings, kind),
        gradient_penalty=settings.gradient_penalty,
        **common,
    )


def _network(settings, size, seed):
    hidden = integers("Layer widths", settings.hidden)
    if settings.network == "mixture":
        return networks.GaussianMixture(size, settings.num_components, seed=seed)
    if settings.network == "nice":
        return networks.NICE(
            size,
            hidden=hidden or (1000, 1000, 1000, 1000),
            num_couplings=settings.num_couplings,
            activation=settings.activation or "softplus",
        )
    return networks.mlp_energy(
        (size,),
        hidden=hidden or (128, 128, 128),
        activation=settings.activation or "silu",
        base_stddev=settings.base_stddev or None,
    )


def _criterion(settings):
    sliced = objectives.SlicedScoreMatching
    criteria = {
        "maximum_likelihood": objectives.MaximumLikelihood,
        "grid": objectives.GridLikelihood,
        "sliced_score_matching": lambda: sliced(False, settings.num_slices),
        "sliced_score_matching_vr": lambda: sliced(True, settings.num_slices),
        "denoising_score_matching": lambda: objectives.DenoisingScoreMatching(
            settings.noise_stddev
        ),
        "noise_contrastive": lambda: objectives.ConditionalNoiseContrastive(
            settings.noise_stddev
        ),
    }
    return criteria[settings.method]()


def log_likelihood(model, x: np.ndarray) -> float:
    """Mean `log p` of rows in nats, in the space before standardising.

    For images that is the space of logits, with no term for the logit itself.
    """
    values = [
        model.log_prob(x[start : start + BATCH]) for start in range(0, len(x), BATCH)
    ]
    return float(np.mean(np.concatenate(values))) - log_scale(model)
