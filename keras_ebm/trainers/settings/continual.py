"""Learners of streams by their names, and the settings that they are built by."""

import dataclasses
from collections.abc import Callable

import keras

from keras_ebm import models, negatives, networks
from keras_ebm.continual import (
    ChainLearner,
    DensityLearner,
    FirstTaskScaling,
    KerasLearner,
    Learner,
    NearestMean,
    RidgeFeatures,
    StreamingLDA,
    cosine_features,
    flat_rows,
)
from keras_ebm.trainers.program.options import SEED, Checked, integers, setting

#: Split MNIST of the second paper. It was not published as code: what is not marked is
#: this package's own choice.
PRESETS = {
    "igebm_split_mnist": {
        "dataset": "tfds:mnist",  # [M]
        "methods": ("shared_chains",),  # [M] E(x, y)
        "classes_per_task": 2,  # [M]
        "hidden": ("400", "400"),  # [M]
        "epochs": 4,  # [?] 4 in the baselines' published script
        "num_steps": 10,  # [?]
        "step_size": 10.0,  # [?]
        "batch_size": 128,  # [?] 128 in the baselines' published script
        "restart_share": 0.05,  # [?]
    },
}


@dataclasses.dataclass(frozen=True)
class LearnerSettings(Checked):
    """What learns the stream."""

    SUBJECTS = {"methods": "Learners", "num_steps": "Chains", "components": "Densities"}

    methods: tuple = setting(
        ("density", "nearest_mean"),
        "What learns the stream, one after the other: density, mixture, gaussian, "
        "gaussian_chains, chains, shared_chains, ridge, lda, nearest_mean, softmax.",
    )
    hidden: tuple = setting(
        ("400", "400"), "Widths of the hidden layers of chains and of softmax."
    )
    epochs: int = setting(
        1, "Passes of softmax and shared_chains over a task while it lasts.", low=1
    )
    batch_size: int = setting(64, "Rows of a step, of chains and of softmax.", low=1)
    learning_rate: float = setting(1e-3, "Of Adam, of chains and of softmax.", above=0)
    num_steps: int = setting(30, "Langevin steps of a chain in each update.", low=1)
    step_size: float = setting(
        10.0, "Of the steps of chains in pixels, in squared units per nat.", above=0
    )
    noise_stddev: float = setting(0.005, "Of the steps of chains in pixels.", low=0)
    restart_share: float = setting(
        0.3, "Share of the chains that start anew in each update.", low=0, high=1
    )
    energy_l2: float = setting(
        1.0, "Weight that holds the energies of chains in pixels near 0.", low=0
    )
    average_from: float = setting(
        1 / 3,
        "Share of a class's updates after which the mean of its weights begins.",
        low=0,
        below=1,
    )
    components: int = setting(30, "Gaussians a class, of density and mixture.", low=1)
    ridge: float = setting(
        0.1, "Added to variances of density and mixture, in mean variances.", above=0
    )
    frequencies: int = setting(
        10, "Cosine frequencies along each side of an image, of densities.", low=1
    )
    ratio_epochs: int = setting(
        5, "Passes of the learnt log-ratio of density over a class's rows.", low=1
    )
    random_features: int = setting(4_000, "Random features of ridge.", low=1)
    seed: int = setting(0, "Of the split, of weights, draws and noise.", **SEED)

    def __post_init__(self):
        super().__post_init__()
        unknown = [name for name in self.methods if name not in LEARNERS]
        if unknown or not self.methods or len(set(self.methods)) < len(self.methods):
            raise ValueError(
                f"`methods` must be of {', '.join(LEARNERS)}, each once. Received: "
                f"methods={','.join(self.methods)}."
            )
        if any(width < 1 for width in self.widths):
            raise ValueError(
                "`hidden` must be widths of at least 1. Received: hidden="
                f"{','.join(map(str, self.hidden))}."
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """`hidden` as integers."""
        return integers("`hidden`", self.hidden)


@dataclasses.dataclass(frozen=True)
class StreamShape:
    """What of the data a learner is built for.

    Attributes:
        shape: of a row.
        num_classes: int, of the whole stream.
        image: bool, whether rows are images in [0, 1], and not columns.
    """

    shape: tuple[int, ...]
    num_classes: int
    image: bool

    @property
    def grey(self) -> bool:
        """Whether rows are images of one channel, whose frequencies are taken."""
        return self.image and self.shape[-1] == 1


def build_learner(
    method: str, settings: LearnerSettings, stream: StreamShape
) -> Learner:
    """An untrained learner by its name.

    Args:
        method: one of `LEARNERS`.
        settings: `LearnerSettings`.
        stream: `StreamShape`. Columns are standardised by the first task.
    """
    keras.utils.set_random_seed(settings.seed)
    learner = LEARNERS[method](settings, stream)
    return learner if stream.image else FirstTaskScaling(learner)


def _features(settings, stream):
    if not stream.grey:
        return flat_rows
    return cosine_features(min(settings.frequencies, *stream.shape[:2]))


def _density(settings, stream, components: int, epochs: int) -> Learner:
    return DensityLearner(
        components,
        ridge=settings.ridge,
        features=_features(settings, stream),
        epochs=epochs,
        seed=settings.seed,
    )


def _chains(settings, shape, image: bool, buffer_size: int = 2_000):
    """Chains in the box of pixels, or from a normal distribution."""
    moves = negatives.LangevinMoves(
        settings.num_steps,
        settings.step_size if image else 0.1,
        settings.noise_stddev if image else None,
        noise_first=image,
        box=(0.0, 1.0) if image else None,
    )
    return negatives.MarkovChains(
        moves,
        negatives.ReplayBuffer(shape, max(buffer_size, settings.batch_size)),
        start="uniform" if image else "normal",
        start_range=(0.0, 1.0),
        restart_share=settings.restart_share,
    )


def _adam(settings, beta_1: float = 0.9):
    return keras.optimizers.Adam(settings.learning_rate, beta_1=beta_1)


def _own_chains(settings, stream) -> Learner:
    def build(shape):
        # In columns a broad factor keeps chains from walking off.
        base = None if stream.image else 2.0
        network = networks.mlp_energy(shape, hidden=settings.widths, base_stddev=base)
        model = models.LangevinModel(
            network,
            _chains(settings, shape, stream.image),
            energy_l2=settings.energy_l2 if stream.image else 0.0,
            seed=settings.seed,
        )
        model.compile(_adam(settings, 0.0))
        return model

    return ChainLearner(
        build,
        batch_size=settings.batch_size,
        average_from=settings.average_from,
        seed=settings.seed,
    )


def _gaussian_chains(settings, stream) -> Learner:
    def build(shape):
        network = networks.mlp_energy(
            shape, hidden=settings.widths, base_stddev=1.0, initial_gain=1 / 3
        )
        chains = _chains(settings, shape, image=False)
        model = models.LangevinModel(network, chains, seed=settings.seed)
        model.compile(_adam(settings))
        return model

    return ChainLearner(
        build,
        features=_features(settings, stream),
        base=True,
        batch_size=settings.batch_size,
        average_from=settings.average_from,
        seed=settings.seed,
    )


def _shared_chains(settings, stream) -> Learner:
    x = keras.Input(stream.shape, name="x")
    label = keras.Input((stream.num_classes,), name="label")
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(x), label])
    for width in settings.widths:
        hidden = keras.layers.Dense(width, "silu")(hidden)
    network = keras.Model([x, label], keras.layers.Dense(1)(hidden))
    model = models.LangevinModel(
        networks.ClassConditional(network),
        _chains(settings, stream.shape, stream.image),
        energy_l2=settings.energy_l2,
        seed=settings.seed,
    )
    model.compile(_adam(settings, 0.0))
    return KerasLearner(
        model,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        before_task=lambda model: model.negatives.buffer.reset(),
    )


def _softmax(settings, stream) -> Learner:
    layers = [keras.layers.Dense(width, "relu") for width in settings.widths]
    model = keras.Sequential(
        [
            keras.Input(stream.shape),
            keras.layers.Flatten(),
            *layers,
            keras.layers.Dense(stream.num_classes),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(_adam(settings), loss)
    return KerasLearner(model, epochs=settings.epochs, batch_size=settings.batch_size)


#: By name: callable from `(LearnerSettings, StreamShape)` to a `Learner`.
LEARNERS: dict[str, Callable[[LearnerSettings, StreamShape], Learner]] = {
    "density": lambda s, stream: _density(s, stream, s.components, s.ratio_epochs),
    "mixture": lambda s, stream: _density(s, stream, s.components, 0),
    "gaussian": lambda s, stream: _density(s, stream, 1, 0),
    "gaussian_chains": _gaussian_chains,
    "chains": _own_chains,
    "shared_chains": _shared_chains,
    "ridge": lambda s, stream: RidgeFeatures(s.random_features, seed=s.seed),
    "lda": lambda s, stream: StreamingLDA(),
    "nearest_mean": lambda s, stream: NearestMean(),
    "softmax": _softmax,
}
