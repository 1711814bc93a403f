"""scikit-learn's classifiers on few labels, for `benchmarks.tabular` to stand beside.

Each is fitted at some settings, of which the last is the one for those who have no
validation labels.
"""

from collections.abc import Callable

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

#: Unlabelled rows that label spreading can hold, as it compares each with each.
MOST_UNLABELLED = 3_000


def svm(x, labels) -> list[Callable]:
    """Support vector machines of an RBF kernel, of the labelled rows alone."""
    known = labels >= 0
    return [
        SVC(C=cost, gamma=width / x.shape[1]).fit(x[known], labels[known]).predict
        for cost in (1.0, 100.0, 10.0)
        for width in (0.1, 0.3, 1.0)
    ]


def boosting(x, labels) -> list[Callable]:
    """Boosted trees, of the labelled rows alone."""
    known = labels >= 0
    return [
        HistGradientBoostingClassifier(
            learning_rate=rate,
            max_iter=trees,
            min_samples_leaf=leaf,
            max_leaf_nodes=8,
            early_stopping=False,
            random_state=0,
        )
        .fit(x[known], labels[known])
        .predict
        for rate, trees in ((0.1, 50), (0.03, 100), (0.1, 100))
        for leaf in (1, 5, 2)
    ]


def label_spreading(x, labels) -> list[Callable]:
    """Labels spread over the neighbourhoods of an RBF kernel, of all rows."""
    known = labels >= 0
    unknown = np.flatnonzero(~known)[:MOST_UNLABELLED]
    rows = np.concatenate([np.flatnonzero(known), unknown])
    return [
        LabelSpreading(
            kernel="rbf", gamma=width / x.shape[1], alpha=share, max_iter=300
        )
        .fit(x[rows], labels[rows])
        .predict
        for width in (1.0, 3.0, 30.0, 10.0)
        for share in (0.9, 0.2)
    ]


FITS = {"svm": svm, "boosting": boosting, "label_spreading": label_spreading}
