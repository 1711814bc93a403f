"""Which score to serve, where no foreign rows are at hand to try them on."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ebm.arguments import listed
from keras_ebm.digests import array_digest
from keras_ebm.layers import TableEncoder
from keras_ebm.metrics import auroc
from keras_ebm.models import BaseEnergyModel
from keras_ebm.ood.combined import SCORES, make_score
from keras_ebm.ood.outputs import network_outputs, output_function
from keras_ebm.ood.score import Score
from keras_ebm.ood.stand_ins import STAND_INS, make_stand_ins
from keras_ebm.rows import as_rows

#: What is tried where nothing else is asked for.
CANDIDATES = (*SCORES, "energy+knn", "energy+class_gaussian")
#: Those that say something of a density, which has no classes.
OF_DENSITIES = ("energy", "approximate_mass", "knn", "nearest", "mixture", "energy+knn")
#: Difference of mean AUROC that counts as none.
TIE = 0.005
#: Known rows of which stand-ins are made, at most, and those that are timed.
MOST_ROWS, TIMED_ROWS = 2000, 256
#: Full covariances of more inputs take minutes.
MOST_MIXTURE_INPUTS = 512
NOTE = (
    "Chosen by stand-ins made of known rows; real foreign inputs may rank the scores "
    "otherwise."
)


@dataclasses.dataclass(frozen=True)
class ScoreChoice:
    """What `choose_score` found.

    Args:
        score: name for `make_score`.
        scores: by name, `auroc` (by stand-in), `mean`, `ms_per_row`,
            `times_network` (the cost with the network's, over the network's) and
            `megabytes` (of the arrays that it keeps), the best mean first.
        skipped: why a score was not tried, by name.
        num_rows: int, known rows that were told from as many of each stand-in.
        seed: int, of the stand-ins.
        weights_sha256: digest of the network's weights.
    """

    score: str
    scores: dict[str, dict[str, Any]]
    skipped: dict[str, str]
    num_rows: int
    seed: int
    weights_sha256: str

    def to_json(self) -> dict[str, Any]:
        """All of it with what the stand-ins are, as JSON-ready values."""
        names = next(iter(self.scores.values()))["auroc"]
        described = {name: STAND_INS[name] for name in names}
        return {**dataclasses.asdict(self), "stand_ins": described, "note": NOTE}

    def table(self) -> str:
        """A text with a line for each score, and how far it is to be trusted."""
        names = list(next(iter(self.scores.values()))["auroc"])
        lines = [
            f"score: {self.score}, of AUROC in % against stand-ins of "
            f"{self.num_rows} validation rows",
            f"  {'':24s} {' '.join(f'{name:>16s}' for name in (*names, 'mean'))}"
            f" {'ms/row':>8s} {'network':>8s} {'MB':>8s}",
        ]
        for name, found in self.scores.items():
            cells = [100.0 * found["auroc"][n] for n in names] + [100.0 * found["mean"]]
            lines.append(
                f"  {name:24s} {' '.join(f'{cell:16.1f}' for cell in cells)}"
                f" {found['ms_per_row']:8.3f} {found['times_network']:7.1f}x"
                f" {found['megabytes']:8.2f}"
            )
        lines += [
            f"  {name:24s} not tried: {why}" for name, why in self.skipped.items()
        ]
        lines += [f"  {name}: {STAND_INS[name]}" for name in names]
        return "\n".join([*lines, NOTE])


def choose_score(
    model: BaseEnergyModel,
    validation: Any,
    *,
    train: tuple[Any, Any],
    scores: Sequence[str] | None = None,
    seed: int = 0,
) -> ScoreChoice:
    """Ranks scores on rows that stand in for foreign ones.

    Half of the validation rows put sums of scores on one scale; the others are the
    known rows, and what the stand-ins of `STAND_INS` are made of. No class can be held
    out of a network that was trained on it, so none is. The largest mean AUROC wins;
    of scores within `TIE` of it, the energy, and else the one of the least to compute
    and to keep. It is a choice without foreign data, not a measure of it: **real
    foreign inputs may rank the scores otherwise**.

    Give neither the rows that calibrate the threshold nor those of a test.

    Args:
        model: a trained `EnergyModel`.
        validation: raw known rows `(n, ...)` that the network was not trained on, four
            at least, or `(x, y)` with their labels; without labels the predicted
            classes tell which rows to blend.
        train: `(x, y)` raw training rows, which scores are fitted on; -1 unlabelled.
        scores: names for `make_score`; those of `CANDIDATES` without.
        seed: int >= 0, of the halves and of the stand-ins.

    Returns:
        `ScoreChoice`. A score that cannot be fitted, or needs what the model does not
        give, is in its `skipped`.

    Raises:
        ValueError: if there are fewer rows, they are no array of numbers, or no score
            can be tried.
    """
    x, y = validation if isinstance(validation, tuple) else (validation, None)
    x = _numbers(as_rows(x, "validation", model.raw_spec()), "validation")
    if len(x) < 4 or (y is not None and len(y) != len(x)):
        raise ValueError(
            "`validation` must be four rows at least, with as many labels or none. "
            f"Received: {len(x)} rows and "
            f"{'no' if y is None else len(y)} labels."
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    half = len(x) // 2
    for_scale, for_known = order[:half], order[half : half + MOST_ROWS]
    scale = x[for_scale], None if y is None else np.asarray(y)[for_scale]
    y = np.full(len(x), -1) if y is None else np.asarray(y)
    wanted, skipped = _candidates(model, CANDIDATES if scores is None else scores)
    needs = frozenset().union(*(score.requires for score in wanted.values()))
    known, needs = _outputs_of(model, x[for_known], needs)
    for name in [n for n, score in wanted.items() if not score.requires <= needs]:
        skipped[name] = "the network gives no gradient of its inputs"
        del wanted[name]
    rows = {"train": train, "validation": scale}
    _fit(model, wanted, skipped, rows)
    labels = np.where(y[for_known] == -1, known["logits"].argmax(-1), y[for_known])
    sets = make_stand_ins(
        x[for_known], labels, categories=_categories(model), seed=seed
    )
    foreign = {
        name: network_outputs(model, s, requires=needs) for name, s in sets.items()
    }
    found = _measure(wanted, skipped, known, foreign)
    if not found:
        raise ValueError(
            "`scores` must have one that can be tried. Received: "
            f"{listed(f'{name} ({why})' for name, why in skipped.items())}."
        )
    _add_costs(model, found, wanted, x[for_known][:TIMED_ROWS])
    ranked = dict(sorted(found.items(), key=lambda item: -item[1]["mean"]))
    return ScoreChoice(
        _simplest_of_the_best(ranked, wanted),
        ranked,
        skipped,
        len(for_known),
        seed,
        array_digest(model.network.get_weights()),
    )


def _numbers(rows, name) -> np.ndarray:
    if isinstance(rows, dict):
        raise ValueError(
            f"`{name}` must be one array of numbers, of which stand-ins can be made. "
            f"Received: a dict of the inputs {list(rows)}; name the score yourself for "
            "other inputs."
        )
    if rows.dtype.kind not in "iubf" or rows.ndim < 2:
        raise ValueError(
            f"`{name}` must be one array of numbers of shape (n, ...), of which "
            f"stand-ins can be made. Received: {rows.dtype} of shape {rows.shape}; "
            "name the score yourself for other inputs."
        )
    return rows


def _candidates(model, names) -> tuple[dict[str, Score], dict[str, str]]:
    """Scores to try, and those that this model has no use for."""
    wanted, skipped = {name: make_score(name) for name in names}, {}
    num_inputs = int(np.prod(model.network.input_shape[1:]))
    has_features = _has_features(model)
    for name, score in list(wanted.items()):
        if model.num_classes < 2 and name not in OF_DENSITIES:
            skipped[name] = "it needs classes, and the model has none"
        elif "features" in score.requires and not has_features:
            skipped[name] = "it needs the layer before the logits of a functional model"
        elif "mixture" in name.split("+") and num_inputs > MOST_MIXTURE_INPUTS:
            skipped[name] = f"covariances of {num_inputs} inputs take minutes"
        else:
            continue
        del wanted[name]
    return wanted, skipped


def _has_features(model) -> bool:
    try:
        output_function(model, {"features"})
    except ValueError:
        return False
    return True


def _outputs_of(model, x, needs):
    """What scores read of known rows, without gradients where there are none."""
    try:
        return network_outputs(model, x, requires=needs), needs
    except (ValueError, TypeError, LookupError, tf.errors.OpError):
        if "gradient_norm" not in needs:
            raise
    needs = needs - {"gradient_norm"}
    return network_outputs(model, x, requires=needs), needs


def _fit(model, wanted, skipped, rows: Mapping[str, tuple]) -> None:
    """Fits the scores that are fitted; those that cannot be are skipped."""
    learned = {name: score for name, score in wanted.items() if score.fitted_names}
    if not learned:
        return
    needs = frozenset().union(*(score.requires for score in learned.values()))
    parts = []
    for name, (x, y) in rows.items():
        x = as_rows(x, name, model.raw_spec())
        parts.append(network_outputs(model, x, y, requires=needs - {"gradient_norm"}))
        if "gradient_norm" in needs:
            more = network_outputs(model, x, requires={"gradient_norm"})
            parts[-1]["gradient_norm"] = more["gradient_norm"]
    for name, score in learned.items():
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                score.fit(*parts)
        except (ValueError, ImportError, np.linalg.LinAlgError) as error:
            skipped[name] = str(error)
        else:
            if score.name == name:
                continue
            skipped[name] = str(told[0].message)
        del wanted[name]


def _measure(wanted, skipped, known, foreign) -> dict[str, dict[str, Any]]:
    found = {}
    for name, score in wanted.items():
        try:
            values = score.predict(known)
            by_set = {
                place: float(auroc(values, score.predict(outputs)))
                for place, outputs in foreign.items()
            }
        except ValueError as error:
            skipped[name] = str(error)
            continue
        mean = float(np.mean(list(by_set.values())))
        found[name] = {"auroc": by_set, "mean": mean}
    return found


def _add_costs(model, found, scores, x) -> None:
    network, _ = _time(model, None, x)
    for name, values in found.items():
        seconds, size = _time(model, scores[name], x)
        values["ms_per_row"] = 1e3 * seconds / len(x)
        values["times_network"] = seconds / network
        values["megabytes"] = size / 1e6


def _time(model, score: Score | None, x) -> tuple[float, int]:
    """Seconds for rows `x`, the best of three, and the bytes of what is kept."""
    requires = {"logits"} if score is None else score.requires
    outputs = output_function(model, requires)

    def run(rows):
        values = outputs(rows)
        return values["logits"] if score is None else score(values)

    graph = tf.function(run, autograph=False)
    rows, times = tf.constant(x), []
    graph(rows)
    for _ in range(3):
        start = time.perf_counter()
        graph(rows).numpy()
        times.append(time.perf_counter() - start)
    return min(times), 0 if score is None else score.kept_bytes


def _simplest_of_the_best(ranked, scores) -> str:
    """The name of the score that wins; times of a clock decide nothing."""
    best = next(iter(ranked.values()))["mean"]
    places = {name: place for place, name in enumerate(scores)}

    def burden(name):
        score = scores[name]
        backward = "gradient_norm" in score.requires
        return name != "energy", score.kept_bytes, backward, places[name]

    return min((n for n in ranked if ranked[n]["mean"] >= best - TIE), key=burden)


def _categories(model) -> dict[int, int]:
    encoder = model.preprocessor
    if not isinstance(encoder, TableEncoder) or encoder.schema is None:
        return {}
    return {
        place: len(column["vocabulary"])
        for place, column in enumerate(encoder.schema["columns"])
        if column["kind"] != "numeric"
    }
