"""The table of negatives that need no generator: values of `--negatives`."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_ebm import data
from keras_ebm.mixtures import fit_mixture
from keras_ebm.negatives import (
    Bank,
    ColumnShuffle,
    CutAndBlend,
    Jitter,
    Mixed,
    MixtureSamples,
    PatchShuffle,
    PhaseScramble,
)
from keras_ebm.rows import num_rows, take

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
            `(n, ...)`, an int seed, and the shape of one row, to what models take as
            `negatives`.
        objective: what `--objective=auto` comes to without classes. A fixed noise has
            a density ratio to learn, but no chains that follow a falling energy.
        serves: `IMAGES`, `ROWS`, or both, and then rows of any shape.
    """

    build: Callable[[Callable[[], np.ndarray], int, tuple], object]
    objective: str = "contrastive"
    serves: tuple[str, ...] = (IMAGES, ROWS)


def _mixture(rows, seed, shape):
    x = rows()
    if len(x) > FITTED_ROWS:
        x = np.random.default_rng(seed).choice(x, FITTED_ROWS, replace=False)
    return MixtureSamples(fit_mixture(x, COMPONENTS, seed=seed))


def _mixed(rows, seed, shape):
    """What near and far of the data the open half of `benchmarks.panel` chose."""
    if len(shape) != 3:
        return Mixed([ColumnShuffle(), Jitter()])
    parts = [CutAndBlend(), PhaseScramble(random_levels=True)]
    if any(side % 2 for side in shape[:2]):  # No quadrants.
        return Mixed(parts, (3, 1))
    return Mixed([*parts, PatchShuffle()], (2, 1, 1))


#: Sources by their value of `--negatives`, which also has `generator`, any of them
#: behind `generator+`, `both` (generator and batch), `auto` and `none`.
NEGATIVES = {
    "batch": Source(lambda *given: CutAndBlend()),
    "jitter": Source(lambda *given: Jitter(), objective="logistic"),
    "mixture": Source(_mixture, serves=(ROWS,), objective="logistic"),
    "shuffle": Source(
        lambda *given: ColumnShuffle(), serves=(ROWS,), objective="logistic"
    ),
    "phase_scramble": Source(
        lambda *given: PhaseScramble(), objective="logistic", serves=(IMAGES,)
    ),
    "patch_shuffle": Source(
        lambda *given: PatchShuffle(), objective="logistic", serves=(IMAGES,)
    ),
    "mixed": Source(_mixed, objective="logistic"),
    # Nothing but the rows of `--bank`.
    "bank": Source(lambda *given: None, objective="logistic"),
}
BESIDE = "generator+"


def with_generator() -> tuple[str, ...]:
    """The values of `--negatives` that train a generator."""
    return ("generator", *(BESIDE + name for name in NEGATIVES), "both")


def negatives_choices() -> tuple[str, ...]:
    """All values of `--negatives`."""
    return ("auto", *NEGATIVES, *with_generator(), "none")


def source_of(name: str) -> Source | None:
    """The source that a value of `--negatives` names; None for a generator alone."""
    return NEGATIVES.get("batch" if name == "both" else name.removeprefix(BESIDE))


def is_of_images(dataset) -> bool:
    """Whether the rows of a data set are images."""
    return dataset.kind == "image" or np.ndim(dataset.x) == 4


def _wanted(dataset) -> set[str]:
    """What a source has to serve for rows of a data set."""
    if is_of_images(dataset):
        return {IMAGES}
    deep = dataset.kind == "inputs" and np.ndim(dataset.x) != 2
    return {IMAGES, ROWS} if deep else {ROWS}


def bank_of(run, settings) -> np.ndarray | None:
    """Raw rows of `--bank`; None where it is empty.

    Args:
        run: `RunData`.
        settings: with `bank` and `bank_rows`.

    Raises:
        ValueError: if they cannot be made, or there are no negatives for them.
    """
    if not settings.bank:
        return None
    if settings.negatives == "none":
        raise ValueError(
            "`bank` stands among negatives. Received: "
            f"bank={settings.bank} with negatives=none; use negatives=bank."
        )
    if settings.bank == "holdout":
        raise ValueError(
            "`bank` must not be what the run is measured by later. Received: "
            "bank=holdout; name another data set."
        )
    x, y = run.rows("train")
    rng = np.random.default_rng(run.settings.seed)
    shown = rng.permutation(len(y))[: settings.bank_rows]
    known = dataclasses.replace(run.dataset, x=take(x, shown), y=y[shown], num_test=0)
    made = data.foreign(
        settings.bank,
        known,
        seed=run.settings.seed,
        data_dir=run.settings.data_dir or None,
    )
    return take(made, rng.permutation(num_rows(made))[: settings.bank_rows])


def build_negatives(
    name: str,
    dataset,
    train_x,
    preprocessor,
    seed: int,
    shape: tuple[int, ...],
    bank: np.ndarray | None = None,
):
    """What a model takes as `negatives`; None for `generator` and `none`.

    Args:
        name: value of `--negatives`.
        dataset: `keras_ebm.data.Dataset`.
        train_x: raw training rows.
        preprocessor: layer or None, adapted to them.
        seed: int.
        shape: of one preprocessed row.
        bank: raw rows that stand among the negatives, or None.

    Raises:
        ValueError: if the source makes no such rows: images, or rows of numbers; or
            there is no bank for `bank`.
    """
    own = _build_own(name, dataset, train_x, preprocessor, seed, shape)
    if bank is None:
        if name.removeprefix(BESIDE) == "bank":
            raise ValueError(
                f"`negatives` {name} takes the rows of `bank`. Received: none; name "
                "them by bank=SPEC."
            )
        return own
    rows = Bank(_preprocessed(bank, preprocessor))
    return rows if own is None else Mixed([own, rows])


def _build_own(name, dataset, train_x, preprocessor, seed, shape):
    """The source without a bank, or None."""
    source = source_of(name)
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
    return source.build(lambda: _preprocessed(train_x, preprocessor), seed, shape)


def _preprocessed(x, preprocessor) -> np.ndarray:
    if preprocessor is None:
        return np.asarray(x)
    starts = range(0, len(x), BATCH)
    return np.concatenate([preprocessor(x[i : i + BATCH]) for i in starts])
