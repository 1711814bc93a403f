"""The table of negatives that need no generator: values of `--negatives`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_ebm.mixtures import fit_mixture
from keras_ebm.negatives import (
    ColumnShuffle,
    CutAndBlend,
    Jitter,
    MixtureSamples,
    PatchShuffle,
    PhaseScramble,
)

#: Components of a mixture at most, as of `keras_ebm.estimators.EnergyOutlierDetector`.
COMPONENTS = 10
#: Rows at most that a mixture is fitted to.
FITTED_ROWS = 20_000
BATCH = 4096


class Source(NamedTuple):
    """How a source of negatives is built.

    Args:
        build: callable from `rows`, a function that gives preprocessed training rows
            `(n, features)`, and an int seed to what models take as `negatives`.
        makes_images: bool, whether it serves images too.
        objective: what `--objective=auto` comes to without classes. A fixed noise has
            a density ratio to learn, but no chains that follow a falling energy.
        makes_rows: bool, whether it serves rows of numbers too, and not images alone.
    """

    build: Callable[[Callable[[], np.ndarray], int], object]
    makes_images: bool = True
    objective: str = "contrastive"
    makes_rows: bool = True


def _mixture(rows, seed):
    x = rows()
    if len(x) > FITTED_ROWS:
        x = np.random.default_rng(seed).choice(x, FITTED_ROWS, replace=False)
    return MixtureSamples(fit_mixture(x, COMPONENTS, seed=seed))


#: Sources by their value of `--negatives`, which also has `generator`, `both`
#: (generator and batch) and `none`.
NEGATIVES = {
    "batch": Source(lambda rows, seed: CutAndBlend()),
    "jitter": Source(lambda rows, seed: Jitter(), objective="logistic"),
    "mixture": Source(_mixture, makes_images=False, objective="logistic"),
    "shuffle": Source(
        lambda rows, seed: ColumnShuffle(), makes_images=False, objective="logistic"
    ),
    "phase_scramble": Source(
        lambda rows, seed: PhaseScramble(), objective="logistic", makes_rows=False
    ),
    "patch_shuffle": Source(
        lambda rows, seed: PatchShuffle(), objective="logistic", makes_rows=False
    ),
}


def negatives_choices() -> tuple[str, ...]:
    """All values of `--negatives`."""
    return ("generator", *NEGATIVES, "both", "none")


def build_negatives(name: str, dataset, train_x, preprocessor, seed: int):
    """What a model takes as `negatives`; None for `generator` and `none`.

    Args:
        name: value of `--negatives`.
        dataset: `keras_ebm.data.Dataset`.
        train_x: raw training rows.
        preprocessor: layer or None, adapted to them.
        seed: int.

    Raises:
        ValueError: if the source makes no such rows: images, or rows of numbers.
    """
    source = NEGATIVES.get("batch" if name == "both" else name)
    if source is None:
        return None
    deep = dataset.kind == "inputs" and np.ndim(dataset.x) != 2
    if (dataset.kind == "image" or deep) and not source.makes_images:
        others = [key for key, other in NEGATIVES.items() if other.makes_images]
        raise ValueError(
            f"`negatives` {name} takes rows of numbers. Received: "
            f"{dataset.kind} rows of {dataset.name}; use negatives="
            f"{' or '.join(others)}."
        )
    if dataset.kind != "image" and np.ndim(dataset.x) != 4 and not source.makes_rows:
        others = [key for key, other in NEGATIVES.items() if other.makes_rows]
        raise ValueError(
            f"`negatives` {name} takes images. Received: {dataset.kind} rows of "
            f"{dataset.name}; use negatives={' or '.join(others)}."
        )
    return source.build(lambda: _preprocessed(train_x, preprocessor), seed)


def _preprocessed(x, preprocessor) -> np.ndarray:
    if preprocessor is None:
        return np.asarray(x)
    starts = range(0, len(x), BATCH)
    return np.concatenate([preprocessor(x[i : i + BATCH]) for i in starts])
