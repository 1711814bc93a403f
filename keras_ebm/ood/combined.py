"""Scores by name, and the sum of several of them."""

import warnings
from collections.abc import Mapping

import numpy as np

from keras_ebm.arguments import listed
from keras_ebm.ood.feature_scores import (
    KNN,
    ClassGaussian,
    Mahalanobis,
    Nearest,
    RelativeMahalanobis,
)
from keras_ebm.ood.fold_score import FoldScore
from keras_ebm.ood.head_scores import ReAct, ViM
from keras_ebm.ood.mixture_score import Mixture
from keras_ebm.ood.output_scores import (
    ApproximateMass,
    Energy,
    Entropy,
    GeneralizedEntropy,
    MaxLogit,
    MaxSoftmax,
)
from keras_ebm.ood.score import ROUNDING, Score

SCORE_CLASSES = {
    score.name: score
    for score in (
        Energy,
        MaxSoftmax,
        MaxLogit,
        Entropy,
        GeneralizedEntropy,
        ApproximateMass,
        KNN,
        Nearest,
        Mixture,
        Mahalanobis,
        RelativeMahalanobis,
        ClassGaussian,
        ViM,
        ReAct,
    )
}
SCORES = tuple(SCORE_CLASSES)


class SumScore(Score):
    """The sum of scores, each in standard deviations of known rows.

    All are fitted on the training rows. Then the mean and the standard
    deviation of each over the validation rows put them on one scale:
    `sum_i (s_i(x) - mean_i) / std_i`. Training rows would not do, as a distance
    to stored rows is 0 for the rows themselves. Then scores that read nothing but
    inputs, whose validation rows no network needs unseen, are fitted on all rows. No
    foreign row is used.

    A score that does not vary over the validation rows, but for rounding, has no scale
    and is left out with a `UserWarning`: distances to the nearest row are all 0 where
    every row occurs many times. `name` and `scores` are then those that are left; the
    first one as it is, where none varies.

    Args:
        *scores: two `Score`s or more.

    Raises:
        ValueError: if there are fewer.
    """

    fitted_names = ("means", "stds")

    def __init__(self, *scores: Score):
        super().__init__()
        if len(scores) < 2:
            raise ValueError(
                f"`scores` must be two or more. Received: {len(scores)} of them."
            )
        self._join(scores)

    def fit(self, train, validation=None):
        """Fits all scores, and their scales on validation rows.

        Args:
            train: dict of arrays of the training rows.
            validation: dict of arrays of known rows that the network was not
                trained on. Where it has `"labels"`, rows labelled -1 are left
                out, since they may be of any kind.

        Returns:
            The score itself.

        Raises:
            ValueError: if there are no validation rows, or a score is not finite on
                them.
        """
        known = self._known_rows(validation)
        scales, kept = [], []
        for score in self.scores:
            values = score.fit(train, validation).predict(known)
            _check_finite(values, score.name)
            if not _varies(values):
                self._notice(score, values)
                continue
            values = values.astype(np.float64)
            scales.append((values.mean(), values.std()))
            kept.append(score)
            if score.requires == {"inputs"}:
                rows = [part["inputs"] for part in (train, known)]
                score.fit({"inputs": np.concatenate(rows)})
        if not kept:
            kept, scales = [self.scores[0]], [(0.0, 1.0)]
        means, stds = np.asarray(scales, np.float32).T
        self.arrays = {"means": means, "stds": stds}
        self._join(kept)
        return self

    def _join(self, scores) -> None:
        self.scores = tuple(scores)
        self.name = "+".join(score.name for score in scores)
        self.requires = frozenset().union(*(score.requires for score in scores))

    def _notice(self, score, values) -> None:
        warnings.warn(
            f"score {score.name!r} is left out of {self.name!r}: it is "
            f"{values[0]:g} for each of {len(values)} validation rows, which tells "
            "nothing",
            stacklevel=3,
        )

    def _known_rows(self, validation):
        if validation is None:
            raise ValueError(
                f"`validation` must be given to fit `{self.name}`, which puts "
                "its scores on the scale of known rows that the network "
                "was not trained on. Received: validation=None."
            )
        missing = self.requires - set(validation)
        if missing:
            raise ValueError(
                f"`validation` must have the keys {sorted(self.requires)}. "
                f"Received: only [{listed(map(repr, sorted(validation)))}]."
            )
        if "labels" not in validation:
            return validation
        known = np.asarray(validation["labels"]) != -1
        return {key: np.asarray(validation[key])[known] for key in self.requires}

    def _score(self, inputs):
        scales = self.arrays["means"], self.arrays["stds"]
        return sum(
            (score._score(inputs) - mean) / std
            for score, mean, std in zip(self.scores, *scales, strict=True)
        )

    def _check_fitted(self):
        super()._check_fitted()
        for score in self.scores:
            score._check_fitted()

    @property
    def kept_bytes(self):
        return super().kept_bytes + sum(score.kept_bytes for score in self.scores)

    def state(self):
        state = super().state()
        for place, score in enumerate(self.scores):
            state |= {f"{place}.{key}": v for key, v in score.state().items()}
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]):
        count = len(state["means"])
        score = cls.__new__(cls)
        Score.__init__(score)
        score._join([load_score(_part(state, f"{place}.")) for place in range(count)])
        score.arrays = {key: np.asarray(state[key]) for key in cls.fitted_names}
        return score


def make_score(spec: str) -> Score:
    """Makes an unfitted score from its name.

    Args:
        spec: string, one of `SCORES`, or different ones joined by `+` for a
            `SumScore`, such as `"energy+knn"`.

    Returns:
        A `Score`.

    Raises:
        ValueError: if the string names no score.
    """
    names = [name.strip() for name in spec.split("+")]
    if len(set(names)) < len(names) or not set(names) <= set(SCORE_CLASSES):
        raise ValueError(
            f"`spec` must be one of {', '.join(SCORE_CLASSES)}, or different ones "
            f"joined by '+'. Received: spec={spec!r}."
        )
    parts = [SCORE_CLASSES[name]() for name in names]
    return parts[0] if len(parts) == 1 else SumScore(*parts)


def load_score(state: Mapping[str, np.ndarray]) -> Score:
    """Rebuilds a fitted score of any kind from what its `state()` gave.

    Args:
        state: mapping of arrays, such as `numpy.load` returns.

    Returns:
        A fitted `Score`.

    Raises:
        ValueError: if the state names no known score.
    """
    name = str(state["name"])
    if "+" in name or "means" in state:
        return SumScore.from_state(state)
    if name == FoldScore.name:
        return FoldScore.from_state(state)
    if name not in SCORE_CLASSES:
        raise ValueError(
            f"`state` must name one of {', '.join(SCORE_CLASSES)}. Received: {name!r}."
        )
    return SCORE_CLASSES[name].from_state(state)


def _check_finite(values: np.ndarray, name: str) -> None:
    if not len(values):
        raise ValueError(
            "`validation` must have at least one labelled row, or no key "
            "'labels' at all. Received: no row that is not labelled -1."
        )
    finite = np.isfinite(values)
    if not finite.all():
        raise ValueError(
            f"`validation` must have finite scores of `{name}`. Received: "
            f"{(~finite).sum()} of {len(values)} rows with nan or inf."
        )


def _varies(values: np.ndarray) -> bool:
    return bool(np.ptp(values) > ROUNDING * np.abs(values).max())


def _part(state, prefix: str) -> dict[str, np.ndarray]:
    keys = [key for key in state if key.startswith(prefix)]
    return {key.removeprefix(prefix): state[key] for key in keys}
