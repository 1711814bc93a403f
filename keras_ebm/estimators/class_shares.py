"""How common each class is among rows without labels, of which labels say nothing."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_ebm.estimators.few_labels import KernelClassifier, evenly, log_softmax

#: Unlabelled rows that are looked at, at most.
MOST_ROWS = 2_000
#: What is tried where the shares are counted; the lapses as shares of rows.
TEMPERATURES = np.geomspace(0.5, 50.0, 40)
LAPSES = (0.0, 0.02, 0.05, 0.1, 0.2)
#: Rows that the labels' own shares stand for beside counted ones.
PRIOR_ROWS = 5.0
#: How many times the rows that the answers do not explain speak for the labels.
CAUTION = 3.0


def class_shares(
    log_probabilities: np.ndarray,
    labelled: np.ndarray,
    strength: float,
    num_iterations: int = 100,
) -> np.ndarray:
    """The classes' shares among rows, by expectation maximisation.

    The likeliest shares `w` of rows whose `p(x|y)` is as among the labelled ones,

        w_y = (sum_i r_iy + strength * v_y) / (n + strength),
        r_iy proportional to p(y|x_i) w_y / v_y,

    again and again, where `v` are the labels' shares, which count as `strength` more
    rows: the likeliest without them are far out where answers are not calibrated.

    Args:
        log_probabilities: `(n, K)`, `log p(y|x)` of the rows as the labels taught it.
        labelled: `(K,)`, `v`.
        strength: float >= 0, in rows.
        num_iterations: int.

    Returns:
        `(K,)` that sum to 1.

    References:
        - Saerens, Latinne and Decaestecker (2002), "Adjusting the outputs of a
          classifier to new a priori probabilities", equation 2.9; the pseudo-counts
          are ours.
    """
    shares = labelled
    for _ in range(num_iterations):
        posterior = np.exp(log_softmax(log_probabilities + np.log(shares / labelled)))
        counts = posterior.sum(0) + strength * labelled
        shares = counts / counts.sum()
    return shares


@dataclasses.dataclass(frozen=True)
class ClassShares:
    """Shares of the classes, and what they are worth to a network's logits.

    Attributes:
        labelled: `(K,)`, among the labels.
        shares: `(K,)`, among the rows without.
        temperature: float > 0, that the network's logits are divided by for
            probabilities.
        offsets: list of K floats, `T log(shares / labelled)`: what
            `EnergyModel.class_offsets` adds to logits.
    """

    labelled: np.ndarray
    shares: np.ndarray
    temperature: float

    @property
    def offsets(self) -> list[float]:
        return (self.temperature * np.log(self.shares / self.labelled)).tolist()

    @classmethod
    def counted(
        cls, logits: np.ndarray, labels: np.ndarray, labelled: np.ndarray
    ) -> ClassShares:
        """By labelled rows, drawn as rows to come are, that were not trained on.

        The shares are counted, the ones that were trained on as 5 rows more. The
        temperature, and a share of rows whose class is anyone's guess, which is not
        kept, are those of the lowest cross-entropy with these shares.

        Args:
            logits: `(n, K)`.
            labels: `(n,)` ints, -1 for none.
            labelled: `(K,)`, shares among the labels that the network was trained on.
        """
        known = labels >= 0
        logits, labels = np.asarray(logits[known], np.float64), labels[known]
        counts = np.bincount(labels, minlength=len(labelled)) + PRIOR_ROWS * labelled
        shares = counts / counts.sum()
        own = np.log(shares / labelled)
        losses = []
        for temperature in TEMPERATURES:
            log_p = log_softmax(logits / temperature + own)
            p = np.exp(log_p[np.arange(len(labels)), labels])
            for lapse in LAPSES:
                mixed = (1.0 - lapse) * p + lapse * shares[labels]
                with np.errstate(divide="ignore"):
                    losses.append((-np.mean(np.log(mixed)), temperature))
        return cls(labelled, shares, float(min(losses)[1]))

    @classmethod
    def estimate(
        cls,
        logits: np.ndarray,
        entries: np.ndarray,
        labels: np.ndarray,
        caution: float = CAUTION,
    ) -> ClassShares:
        """By a network's logits of rows of which some have labels.

        A network that fits its few labels is far too sure, so its logits are first
        divided by a temperature: that at which it is on average as sure of the
        unlabelled rows as a `KernelClassifier`, whose own is found by leaving
        labelled rows out. Then `class_shares`, with a strength of
        `caution * n (1 - s) / s` where `s` is that classifier's informedness: where
        the columns say little of the class, so does their distribution.

        Args:
            logits: `(n, K)` of all rows.
            entries: `(n, d)`, the same rows preprocessed.
            labels: `(n,)`, -1 for none.
            caution: float >= 0.

        Raises:
            ValueError: if no row is labelled, or none is unlabelled.
        """
        known = labels >= 0
        if known.all() or not known.any():
            raise ValueError(
                "`labels` must hold classes and -1, for rows whose classes' shares are "
                f"asked. Received: {known.sum()} labels of {len(labels)} rows."
            )
        kernel = KernelClassifier.fit(entries[known], labels[known], logits.shape[1])
        others = np.flatnonzero(~known)
        others = others[evenly(len(others), MOST_ROWS)]
        sureness = np.exp(kernel.log_probabilities(entries[others])).max(1).mean()
        logits = np.asarray(logits[others], np.float64)
        temperature = matched_temperature(logits, sureness)
        s = max(kernel.informedness, 1e-3)
        shares = class_shares(
            log_softmax(logits / temperature),
            kernel.shares,
            caution * len(others) * (1.0 - s) / s,
        )
        return cls(kernel.shares, shares, temperature)


def matched_temperature(logits: np.ndarray, sureness: float) -> float:
    """The temperature from 1 to 100 at which answers are that sure on average.

    Args:
        logits: `(n, K)`.
        sureness: float in (0, 1), mean of the largest probabilities.
    """
    low, high = 0.0, np.log(100.0)
    for _ in range(30):
        middle = (low + high) / 2.0
        p = np.exp(log_softmax(logits / np.exp(middle)))
        low, high = (middle, high) if p.max(1).mean() > sureness else (low, middle)
    return float(np.exp(low))
