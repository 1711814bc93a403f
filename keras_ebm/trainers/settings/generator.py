"""Settings of generators, entropy estimators and negatives, and what they build."""

import dataclasses

from keras_ebm import GaussianGenerator, negatives
from keras_ebm.entropy import ESTIMATORS, ImportanceSampling
from keras_ebm.trainers.program.devices import check_one_worker
from keras_ebm.trainers.program.options import Checked, setting

#: Arguments of estimators by the setting that each has; without any it is left out.
ESTIMATOR_SETTINGS = {
    "importance": {"num_samples": "importance_samples", "widening": "widening"},
    "log_volume": {
        "method": "volume_method",
        "num_iterations": "volume_iterations",
        "fold_weight": "fold_weight",
    },
    "hmc": {
        "num_burn_in": "hmc_samples",
        "num_samples": "hmc_samples",
        "compat": "hmc_compat",
    },
}


def estimators_offered() -> dict:
    """Of the library's estimators, by name, those that programs' generators fit."""
    return {name: one for name, one in ESTIMATORS.items() if not one.linear_only}


def _entropy_choices() -> tuple[str, ...]:
    return (*estimators_offered(), "none")


@dataclasses.dataclass(frozen=True)
class SamplingSettings(Checked):
    """How negatives are made and the generator kept from collapsing."""

    CHOICES = {
        "entropy": _entropy_choices,
        "volume_method": ("auto", "dense", "iterative"),
        "correction": ("auto", "none", "weights", "resample", "latent", "chains"),
    }

    SUBJECTS = {
        "latent_dim": "Generator",
        "entropy": "Entropy of the generator",
        "correction": "Corrected negatives",
    }

    latent_dim: int = setting(
        32,
        "Size of the generator's latent. 0 takes that of the inputs, but 16 at most.",
        low=0,
    )
    generator_hidden: tuple = setting(
        (),
        "Widths of the generator's layers. If none are given, they follow from the "
        "data.",
    )
    generator_activation: str = setting("silu", "Activation of the generator's layers.")
    decoder_skip: float = setting(
        0.0,
        "Adds this many times the latent to the decoder's output, where the sizes "
        "agree.",
    )
    initial_stddev: float = setting(
        0.1, "Standard deviation of the generator's noise at the start.", above=0
    )
    min_stddev: float = setting(
        0.01, "Lower bound of the standard deviation of the generator's noise.", above=0
    )
    max_stddev: float = setting(
        0.3, "Upper bound of the standard deviation of the generator's noise.", above=0
    )
    stddev_per_entry: bool = setting(
        False, "Gives each entry of a sample a standard deviation of its own."
    )
    entropy: str = setting(
        "importance", "Estimator of the gradient of the generator's entropy."
    )
    entropy_weight: float = setting(
        1.0, "Weight of the generator's entropy in its loss.", low=0
    )
    importance_samples: int = setting(
        20, "Proposals that the importance estimator draws for each sample.", low=1
    )
    widening: float = setting(
        1.0, "Factor by which the importance estimator widens its proposals.", above=0
    )
    volume_method: str = setting(
        "auto",
        "How log_volume finds the volume: dense takes a pass for each latent, "
        "iterative takes conjugate gradients, auto is dense up to 16 latents.",
    )
    volume_iterations: int = setting(
        2, "Conjugate-gradient steps of an iterative log_volume.", low=1
    )
    fold_weight: float = setting(
        0.0,
        "Weight of log_volume's term against folds. Latent and data must have one "
        "size.",
        low=0,
    )
    hmc_samples: int = setting(
        2, "States that an hmc chain keeps, and as many that it burns in.", low=1
    )
    hmc_compat: bool = setting(
        False,
        "Computes hmc as the published code does, without the likelihood's force.",
    )
    correction: str = setting(
        "auto",
        "What betters the generator's samples: weights (importance weights), resample "
        "(by those weights, then moves), latent (moves over latent and noise), chains "
        "(persistent ones that start from them). auto: resample where log_volume knows "
        "log q(x) and the latent is as large as a sample; else chains in "
        "keras-ebm train-likelihood and none in keras-ebm train-vera.",
    )
    move_steps: int = setting(
        3, "Transitions of the moves of corrections and chains.", low=1
    )
    move_leapfrog: int = setting(
        1,
        "Leapfrog steps of a move. 1 is MALA, more is Hamiltonian Monte Carlo.",
        low=1,
    )
    initial_step_size: float = setting(
        0.01,
        "Step size of the moves at the start, in squared units of an input per nat.",
        above=0,
    )
    move_acceptance: float = setting(
        0.6, "Acceptance that the moves' step size is adapted to.", above=0, below=1
    )
    move_adaptation: float = setting(
        0.05, "How fast the log of the moves' step size is adapted.", above=0
    )
    num_jumps: int = setting(
        0,
        "Proposals of a wide normal before the moves, which cross between modes of the "
        "plane.",
        low=0,
    )
    jump_stddev: float = setting(
        2.5, "Standard deviation of those proposals, in units of an input.", above=0
    )
    buffer_size: int = setting(10_000, "How many persistent chains are kept.", low=1)
    restart_share: float = setting(
        0.05,
        "Share of the chains that start anew each time they are taken out.",
        low=0,
        high=1,
    )
    minimum_share: float = setting(
        0.0,
        "Tempers the importance weights so that their effective share of the samples "
        "is at least this. 0 never does.",
        low=0,
        below=1,
    )


def build_generator(decoder, settings: SamplingSettings) -> GaussianGenerator:
    """The generator around a decoder."""
    return GaussianGenerator(
        decoder,
        settings.initial_stddev,
        (settings.min_stddev, settings.max_stddev),
        settings.stddev_per_entry,
    )


def build_entropy(settings: SamplingSettings):
    """`(estimator, weight)`; the weight of `none` is 0."""
    if settings.entropy == "none":
        return ImportanceSampling(), 0.0
    names = ESTIMATOR_SETTINGS.get(settings.entropy, {})
    arguments = {argument: getattr(settings, name) for argument, name in names.items()}
    return ESTIMATORS[settings.entropy](**arguments), settings.entropy_weight


def correction_kind(settings: SamplingSettings, sample_size: int, other: str) -> str:
    """What `--correction` comes to for samples of `sample_size` numbers.

    Importance weights collapse where a latent is much smaller than a sample, so
    `auto` then takes `other`.
    """
    if settings.correction != "auto":
        return settings.correction
    square = settings.latent_dim == sample_size
    return "resample" if square and settings.entropy == "log_volume" else other


def build_correction(settings: SamplingSettings, kind: str):
    """The correction of the generator's samples; None for `none` and `chains`."""
    if kind in ("none", "chains"):
        return None
    moves = _moves(settings)
    if kind == "latent":
        return negatives.LatentRefinement(settings.move_steps, **moves)
    steps = settings.move_steps if kind == "resample" else 0
    return negatives.ImportanceCorrection(
        steps, minimum_share=settings.minimum_share, **moves
    )


def build_chains(settings: SamplingSettings, shape, remedy="correction=none"):
    """Persistent chains over preprocessed inputs of `shape`.

    Raises:
        ValueError: if several workers train; `remedy` does without chains.
    """
    check_one_worker(remedy)
    return negatives.MarkovChains(
        negatives.MALAMoves(settings.move_steps, **_moves(settings)),
        negatives.ReplayBuffer(shape, settings.buffer_size, in_turn=True),
        restart_share=settings.restart_share,
    )


def _moves(settings):
    return {
        "initial_step_size": settings.initial_step_size,
        "target_acceptance": settings.move_acceptance,
        "adaptation_rate": settings.move_adaptation,
        "num_leapfrog": settings.move_leapfrog,
        "num_jumps": settings.num_jumps,
        "jump_stddev": settings.jump_stddev,
    }
