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
#: What a source may serve.
IMAGES, ROWS = "images", "rows of numbers"
#: Rows at most that a mixture is fitted to.
FITTED_ROWS = 20_000
BATCH = 4096


class Source(NamedTuple):
    """How a source of negatives is built.

    Args:
        build: callable from `rows`, a function that gives preprocessed training rows
            `(n, features)`, and an int seed to what models take as `negatives`.
        objective: what `--objective=auto` comes to without classes. A fixed noise has
            a density ratio to learn, but no chains that follow a falling energy.
        serves: `IMAGES`, `ROWS`, or both, and then rows of any shape.
    """

    build: Callable[[Callable[[], np.ndarray], int], object]
    objective: str = "contrastive"
    serves: tuple[str, ...] = (IMAGES, ROWS)


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
    "mixture": Source(_mixture, serves=(ROWS,), objective="logistic"),
    "shuffle": Source(
        lambda rows, seed: ColumnShuffle(), serves=(ROWS,), objective="logistic"
    ),
    "phase_scramble": Source(
        lambda rows, seed: PhaseScramble(), objective="logistic", serves=(IMAGES,)
    ),
    "patch_shuffle": Source(
        lambda rows, seed: PatchShuffle(), objective="logistic", serves=(IMAGES,)
    ),
}


def negatives_choices() -> tuple[str, ...]:
    """All values of `--negatives`."""
    return ("generator", *NEGATIVES, "both", "none")


def _wanted(dataset) -> set[str]:
    """What a source has to serve for rows of a data set."""
    if dataset.kind == "image" or np.ndim(dataset.x) == 4:
        return {IMAGES}
    deep = dataset.kind == "inputs" and np.ndim(dataset.x) != 2
    return {IMAGES, ROWS} if deep else {ROWS}


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
    if not _wanted(dataset) <= set(source.serves):
        others = [
            key for key, one in NEGATIVES.items() if _wanted(dataset) <= set(one.serves)
        ]
        raise ValueError(
            f"`negatives` {name} takes {' or '.join(source.serves)}. Received: "
            f"{dataset.kind} rows of {dataset.name}; use negatives="
            f"{' or '.join(others)}."
        )
    return source.build(lambda: _preprocessed(train_x, preprocessor), seed)


def _preprocessed(x, preprocessor) -> np.ndarray:
    if preprocessor is None:
        return np.asarray(x)
    starts = range(0, len(x), BATCH)
    return np.concatenate([preprocessor(x[i : i + BATCH]) for i in starts])
