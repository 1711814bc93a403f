"""Labels of the rows without one, spread over a graph of neighbours before training."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from keras_ebm.arguments import check_choice, check_share, check_size
from keras_ebm.data.optional import require
from keras_ebm.estimators.few_labels import KernelClassifier, evenly

#: What `pseudo_labels` of the estimator and the programs may be.
PSEUDO_LABELS = ("none", "label_spreading", "auto")
#: Rows of a graph at most: as many unlabelled ones are spread over as these allow.
MOST_ROWS = 20_000
#: Entries above which rows are compared by angle, in as many principal components.
MOST_ENTRIES = 64
NEIGHBOURS = 15
#: Share of a row's answer that comes from its neighbours, and what is tried in its
#: place where a class has so many labels that rows left out can tell.
ALPHA, ALPHAS, ENOUGH_TO_CHOOSE = 0.97, (0.9, 0.97, 0.99), 20
#: Labelled rows of each class below which none is left out.
ENOUGH = 5
FOLDS = 5
#: By how much the spread labels must answer labelled rows left out better than a
#: kernel classifier does, for `"auto"` to take them.
LEAD = 0.01


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """Labels that a graph of all rows gives those without one.

        F = (1 - alpha) (1 - alpha S)^-1 Y,    S = D^-1/2 W D^-1/2

    for one-hot labels `Y` of the labelled rows, 0 elsewhere (label spreading, by
    scikit-learn), over the symmetric graph `W` of `NEIGHBOURS` nearest rows with
    weights `exp(-2 |x - z|^2 / (r_x r_z))`, where `r` is the distance of a row's last
    neighbour. A row's label is the class of its largest `F`.

    Attributes:
        labels: `(n,)` ints; the label that was given where there was one, -1 for a row
            that no labelled one reaches, and for those beyond `MOST_ROWS`.
        alpha: float, the one that answered labelled rows left out best where each class
            has `ENOUGH_TO_CHOOSE` of them, else `ALPHA`.
        accuracy: float, share of the labelled rows that were answered right, each fifth
            by the others; NaN where a class has fewer than `ENOUGH`, and none is left
            out.
        kernel_accuracy: likewise, of a `KernelClassifier`.

    References:
        - Zhou et al. (2003), "Learning with local and global consistency", section 2.
        - Zelnik-Manor and Perona (2004), "Self-tuning spectral clustering", equation 1,
          for the weights.
    """

    labels: np.ndarray
    alpha: float
    accuracy: float
    kernel_accuracy: float

    @classmethod
    def spread(cls, entries: np.ndarray, labels: np.ndarray) -> PseudoLabels:
        """Spreads labels over rows.

        Args:
            entries: `(n, d)`, all rows, preprocessed to entries of comparable scale.
            labels: `(n,)` ints from 0, -1 for none.

        Raises:
            ValueError: if no row is labelled, or none is unlabelled.
        """
        known = labels >= 0
        if known.all() or not known.any():
            raise ValueError(
                "`labels` must hold classes and -1, which pseudo-labels are for. "
                f"Received: {known.sum()} labels of {len(labels)} rows."
            )
        taken = _taken(known)
        entries, own = _reduced(np.asarray(entries)[taken]), labels[taken]
        graph = neighbour_graph(entries, min(NEIGHBOURS, len(taken) - 1))
        alpha, accuracy, kernel = _chosen(graph, entries, own)
        found = np.full(len(labels), -1)
        found[taken] = spread_labels(graph, own, alpha)
        return cls(np.where(known, labels, found), alpha, accuracy, kernel)

    @property
    def leads(self) -> bool:
        """Whether they answered rows left out clearly better than a kernel did."""
        return self.accuracy >= self.kernel_accuracy + LEAD


def pseudo_labels(how: str, entries: np.ndarray, labels: np.ndarray):
    """`PseudoLabels`, or None where there shall be none.

    Args:
        how: of `PSEUDO_LABELS`; `"auto"`: none unless they lead, see
            `PseudoLabels.leads`.
        entries: `(n, d)`, preprocessed rows.
        labels: `(n,)`, -1 for none. Where all or none have labels there are no others.
    """
    check_choice("pseudo_labels", how, PSEUDO_LABELS)
    known = labels >= 0
    if how == "none" or known.all() or not known.any():
        return None
    found = PseudoLabels.spread(entries, labels)
    return found if how == "label_spreading" or found.leads else None


def neighbour_graph(entries: np.ndarray, num_neighbours: int) -> Any:
    """The symmetric weights of nearest rows, a sparse `(n, n)` matrix.

    Args:
        entries: `(n, d)`.
        num_neighbours: int from 1 to `n - 1`.
    """
    check_size("num_neighbours", num_neighbours)
    nearest = require("sklearn.neighbors").NearestNeighbors(n_neighbors=num_neighbours)
    # Without rows to ask about, a row is no neighbour of itself.
    distances, places = nearest.fit(entries).kneighbors()
    reach = distances[:, -1:]
    scale = reach * reach[places][:, :, 0]
    # 0 apart where one of the rows lies on all its neighbours.
    apart = np.divide(distances**2, scale, where=scale > 0, out=np.zeros_like(scale))
    close = np.exp(-2.0 * apart)
    starts = np.arange(0, close.size + 1, num_neighbours)
    sparse = require("scipy.sparse")
    size = (len(entries), len(entries))
    weights = sparse.csr_matrix((close.ravel(), places.ravel(), starts), shape=size)
    return weights.maximum(weights.T)


def spread_labels(graph: Any, labels: np.ndarray, alpha: float) -> np.ndarray:
    """The classes that labels spread over a graph give to all rows, `(n,)`.

    Args:
        graph: sparse symmetric `(n, n)`.
        labels: `(n,)` ints, -1 for none.
        alpha: float in (0, 1), share that comes from neighbours.

    Returns:
        `(n,)` ints, -1 for a row that no labelled one reaches.
    """
    check_share("alpha", alpha)
    spreading = require("sklearn.semi_supervised").LabelSpreading(
        kernel=lambda x, z: graph, alpha=alpha, max_iter=200, tol=1e-4
    )
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # What 200 steps do not reach is hundreds of neighbours away.
        warnings.simplefilter("ignore")
        spreading.fit(np.zeros((len(labels), 1)), labels)
    shares = np.nan_to_num(spreading.label_distributions_)
    answers = spreading.classes_[np.argmax(shares, axis=1)]
    return np.where(shares.sum(axis=1) > 0, answers, -1)


def _taken(known: np.ndarray) -> np.ndarray:
    """Numbers of all labelled rows, and of as many others as a graph may have."""
    others = np.flatnonzero(~known)
    most = max(1, MOST_ROWS - int(known.sum()))
    return np.concatenate([np.flatnonzero(known), others[evenly(len(others), most)]])


def _reduced(entries: np.ndarray) -> np.ndarray:
    """Rows of many entries as directions in their principal components."""
    if entries.shape[1] <= MOST_ENTRIES or len(entries) <= MOST_ENTRIES:
        return entries
    components = require("sklearn.decomposition").PCA(MOST_ENTRIES, random_state=0)
    rows = components.fit_transform(entries)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _chosen(graph, entries, labels) -> tuple[float, float, float]:
    """`(alpha, accuracy, kernel_accuracy)` by labelled rows left out."""
    known = np.flatnonzero(labels >= 0)
    classes, counts = np.unique(labels[known], return_counts=True)
    if len(classes) < 2 or counts.min() < ENOUGH:
        return ALPHA, np.nan, np.nan
    alphas = ALPHAS if counts.min() >= ENOUGH_TO_CHOOSE else (ALPHA,)
    folds = require("sklearn.model_selection").StratifiedKFold(
        FOLDS, shuffle=True, random_state=0
    )
    right = np.zeros(len(alphas) + 1)
    for kept, left in folds.split(known, labels[known]):
        fewer = labels.copy()
        fewer[known[left]] = -1
        answers = [spread_labels(graph, fewer, a)[known[left]] for a in alphas]
        kernel = KernelClassifier.fit(
            entries[known[kept]], labels[known[kept]], labels.max() + 1
        )
        answers.append(kernel.log_probabilities(entries[known[left]]).argmax(axis=1))
        right += [np.sum(answer == labels[known[left]]) for answer in answers]
    *shares, own = right / len(known)
    best = int(np.argmax(shares))
    return alphas[best], float(shares[best]), float(own)
