"""Builds the model of `keras-ebm train-langevin`: chains, their buffer, the network."""

import dataclasses

import keras
import numpy as np

from keras_ebm import LangevinModel, networks
from keras_ebm.negatives import LangevinMoves, MALAMoves, MarkovChains, ReplayBuffer
from keras_ebm.trainers.program.devices import check_one_worker
from keras_ebm.trainers.program.options import setting
from keras_ebm.trainers.settings.adversarial import (
    AdversarialSettings,
    build_adversarial,
)
from keras_ebm.trainers.settings.networks import (
    NETWORK_CHOICES,
    NetworkSettings,
    build_network,
    build_preprocessor,
    check_negatives,
)
from keras_ebm.trainers.settings.optimizers import OptimizerSettings
from keras_ebm.trainers.settings.unlabelled import (
    SemiSupervisedSettings,
    build_semi_supervised,
)


@dataclasses.dataclass(frozen=True)
class ChainSettings(
    NetworkSettings, SemiSupervisedSettings, AdversarialSettings, OptimizerSettings
):
    """Chains, losses and networks; None stands for a choice by the data."""

    CHOICES = {
        **OptimizerSettings.CHOICES,
        **NETWORK_CHOICES,
        **AdversarialSettings.CHOICES,
        "classes": ("auto", "none", "joint", "conditional"),
        "moves": ("langevin", "mala", "hmc"),
        "clip": ("element", "norm"),
        "start": ("normal", "uniform", "data"),
        "buffer": ("none", "in_turn", "in_place", "ring", "reservoir"),
        "storage": ("float32", "uint8"),
        "objective": ("contrastive", "logistic", "logsumexp", "softplus"),
        "kl_through": ("last", "all"),
    }

    #: There is no generator.
    UNUSED = ("generator_learning_rate", "generator_beta_1", "posterior_learning_rate")
    SUBJECTS = {
        "classes": "Chains",
        "buffer": "Replay buffer",
        "objective": "Loss",
    }

    classes: str = setting(
        "auto",
        "joint: a classifier whose marginal is the density (JEM); conditional: "
        "E(x, y), with chains that walk under labels; none: labels are not used. "
        "auto: joint where there are classes.",
    )
    moves: str = setting(
        "langevin",
        "langevin (unadjusted, of a fixed step size), mala, or hmc (with "
        "--num_leapfrog steps a transition); the last two adapt their step size.",
    )
    num_steps: int = setting(20, "Steps of a chain at each training step.", low=0)
    step_size: float = setting(
        1.0,
        "Step size in squared units of an input per nat; where mala and hmc start.",
        above=0,
    )
    noise_stddev: float | None = setting(
        0.01,
        "Standard deviation of a langevin step's noise. Negative: sqrt(2 step_size), "
        "temperature 1.",
    )
    noise_first: bool = setting(
        False, "Adds a langevin step's noise before taking the gradient."
    )
    max_gradient: float = setting(
        0.0, "Bound of a langevin step's gradient. 0 sets none.", low=0
    )
    clip: str = setting(
        "element",
        "What --max_gradient bounds: each element of the gradient, or its norm.",
    )
    temperature: float = setting(
        1.0, "Temperature that langevin divides the energy by.", above=0
    )
    keep_in_range: bool = setting(
        True, "Clips chains of images to the range of pixels."
    )
    num_leapfrog: int = setting(10, "Leapfrog steps of an hmc transition.", low=1)
    target_acceptance: float = setting(
        0.6, "Acceptance that mala and hmc adapt their step size to.", above=0, below=1
    )
    adaptation_rate: float = setting(
        0.05, "How fast mala and hmc adapt the log of their step size.", above=0
    )
    num_jumps: int = setting(
        0,
        "Proposals of a wide normal before mala or hmc, which cross between modes of "
        "the plane.",
        low=0,
    )
    jump_stddev: float = setting(
        2.5, "Standard deviation of those proposals, in units of an input.", above=0
    )
    start: str = setting(
        "uniform", "Where fresh chains start: normal or uniform noise, or the data."
    )
    start_stddev: float = setting(
        1.0, "Standard deviation of a normal start, or of noise on data.", low=0
    )
    start_mean: float = setting(0.0, "Mean of a normal start.")
    buffer: str = setting(
        "in_place",
        "What moved chains take the place of: their own (in_place, or in_turn when "
        "they are taken out in turn), the oldest (ring), any (reservoir); none: "
        "every chain is fresh.",
    )
    buffer_size: int = setting(10_000, "How many chains the buffer holds.", low=1)
    restart_share: float = setting(
        0.05,
        "Share of the buffer's chains that start anew each time they are taken out.",
        low=0,
        high=1,
    )
    storage: str = setting(
        "float32", "Type of the buffer's states; uint8 is read with fresh dither."
    )
    store_labels: bool = setting(
        True, "Lets chains keep the label that they began with."
    )
    objective: str = setting(
        "contrastive",
        "How energies of data and negatives make a loss; keras_ebm.objectives "
        "describes each.",
    )
    energy_weight: float = setting(1.0, "Weight of the energy term.", low=0)
    classification_weight: float | None = setting(
        None,
        "Weight of the cross-entropy. If it is not given, 1, or 0 where "
        "--classes=conditional.",
        low=0,
    )
    energy_l2: float = setting(
        0.0, "Weight of the squared energies of data and negatives.", low=0
    )
    gradient_penalty: float = setting(
        0.0, "Weight of the penalty on dE/dx at the data.", low=0
    )
    kl_weight: float = setting(
        0.0,
        "Weight of the energy of the chains' ends, with the energy's weights held "
        "fixed.",
        low=0,
    )
    kl_through: str = setting(
        "last", "Steps of the chains that the gradients of that energy go through."
    )
    neighbour_weight: float = setting(
        0.0, "Weight of the chains' distance to their neighbours in the buffer.", low=0
    )
    data_stddev: float = setting(
        0.0, "Noise added to preprocessed training data.", low=0
    )
    dequantise: bool = setting(False, "Adds uniform noise one level wide to pixels.")


def build_langevin(dataset, train_x: np.ndarray, settings: ChainSettings, seed: int):
    """Builds an uncompiled `LangevinModel` for a dataset.

    Args:
        dataset: `keras_ebm.data.Dataset`.
        train_x: raw training rows, which the preprocessor is adapted to.
        settings: `ChainSettings`.
        seed: int, of the initial weights and the noise.

    Raises:
        ValueError: if the settings do not fit the data or each other.
    """
    keras.utils.set_random_seed(seed)
    preprocessor, shape, value_range = build_preprocessor(dataset, train_x, settings)
    kind = _class_kind(dataset, settings)
    network = build_network(dataset, shape, settings, kind)
    check_negatives(network, dataset, "negatives")
    conditional = kind == "conditional"
    if conditional and not hasattr(network, "class_logits"):
        network = _conditional(network)
    return LangevinModel(
        network,
        _chains(settings, shape, value_range, conditional),
        preprocessor=preprocessor,
        class_names=None if kind == "none" else dataset.class_names or None,
        conditional=conditional,
        objective=settings.objective,
        energy_weight=settings.energy_weight,
        classification_weight=settings.classification_weight,
        **build_semi_supervised(settings, shape),
        **build_adversarial(settings, value_range),
        gradient_penalty=settings.gradient_penalty,
        energy_l2=settings.energy_l2,
        kl_weight=settings.kl_weight,
        kl_through=settings.kl_through,
        neighbour_weight=settings.neighbour_weight,
        data_stddev=settings.data_stddev,
        dequantisation=_level(dataset, settings, value_range),
        seed=seed,
    )


def _conditional(network):
    """A network of `[x, y]` as a classifier; joint logits stay as they are."""
    if isinstance(network.input_shape, list):
        return networks.ClassConditional(network)
    return network


def _class_kind(dataset, settings):
    if settings.classes == "auto":
        return "joint" if dataset.num_classes > 1 else "none"
    if settings.classes != "none" and dataset.num_classes < 2:
        raise ValueError(
            f"`classes` {settings.classes} needs data with classes. Received: "
            f"{dataset.name}, which has none; use classes=none."
        )
    return settings.classes


def _level(dataset, settings, value_range):
    """Width of one of 256 levels of a pixel, where it is wanted."""
    if not settings.dequantise:
        return 0.0
    if dataset.kind != "image":
        raise ValueError(
            f"`dequantise` needs images. Received: {dataset.kind} rows of "
            f"{dataset.name}; use data_stddev."
        )
    return (value_range[1] - value_range[0]) / 256.0


def _chains(settings, shape, value_range, conditional) -> MarkovChains:
    if settings.moves == "langevin":
        moves = _langevin_moves(settings, value_range)
    else:
        moves = MALAMoves(
            settings.num_steps,
            settings.step_size,
            settings.target_acceptance,
            settings.adaptation_rate,
            settings.num_leapfrog if settings.moves == "hmc" else 1,
            num_jumps=settings.num_jumps,
            jump_stddev=settings.jump_stddev,
        )
    buffer = None
    if settings.buffer != "none":
        check_one_worker("buffer=none")
        in_turn = settings.buffer == "in_turn"
        buffer = ReplayBuffer(
            shape,
            settings.buffer_size,
            replacement="in_place" if in_turn else settings.buffer,
            in_turn=in_turn,
            storage=settings.storage,
            value_range=value_range or (-1.0, 1.0),
            store_labels=conditional and settings.store_labels,
        )
    return MarkovChains(
        moves,
        buffer,
        start=settings.start,
        start_stddev=settings.start_stddev,
        start_mean=settings.start_mean,
        start_range=value_range or (-1.0, 1.0),
        restart_share=settings.restart_share,
    )


def _langevin_moves(settings, value_range):
    noise = settings.noise_stddev
    return LangevinMoves(
        settings.num_steps,
        settings.step_size,
        None if noise is None or noise < 0 else noise,
        noise_first=settings.noise_first,
        max_gradient=settings.max_gradient or None,
        clip=settings.clip,
        box=value_range if settings.keep_in_range else None,
        temperature=settings.temperature,
    )
