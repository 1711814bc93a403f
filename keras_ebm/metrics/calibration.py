"""Whether the probabilities of a classifier can be taken at their word.

Rows labelled -1 are unlabelled and left out everywhere. One column, or a vector, means
two classes: it is the probability, or the logit, of class 1.
"""

from typing import NamedTuple

import numpy as np


class Reliability(NamedTuple):
    """What a reliability diagram shows; every array has one entry per bin.

    Attributes:
        edges: float array of shape `(num_bins + 1,)`, from 0 to 1.
        count: int array of shape `(num_bins,)`, rows in the bin.
        confidence: float array of shape `(num_bins,)`, their mean largest
            probability; `nan` where the bin is empty.
        accuracy: float array of shape `(num_bins,)`, the share of them whose
            likeliest class is right; `nan` where the bin is empty.
    """

    edges: np.ndarray
    # A name that it shares with the method of tuples, which nothing here calls.
    count: np.ndarray  # type: ignore[assignment]
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(
    probabilities: np.ndarray, labels: np.ndarray, num_bins: int = 15
) -> Reliability:
    """Confidence and accuracy by bins of the largest probability.

    The bins have equal width and own their right edge: bin `i` is
    `(i / num_bins, (i + 1) / num_bins]`.

    Args:
        probabilities: float array of shape `(rows, num_classes)`; each row
            sums to 1. `(rows, 1)` or `(rows,)` of two classes, for class 1.
        labels: int array of shape `(rows,)`; -1 leaves a row out.
        num_bins: int >= 1. Defaults to `15`.

    Returns:
        A `Reliability`.

    Raises:
        ValueError: if an argument breaks its rule, or no row has a label.
    """
    check_num_bins(num_bins)
    probabilities, labels = _labelled(probabilities, labels)
    confidence = probabilities.max(axis=1)
    hit = probabilities.argmax(axis=1) == labels
    inner = inner_edges(num_bins).astype(confidence.dtype)
    bins = np.searchsorted(inner, confidence, side="left")
    count = np.bincount(bins, minlength=num_bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the nan of an empty bin
        return Reliability(
            edges=np.concatenate([[0.0], inner_edges(num_bins), [1.0]]),
            count=count,
            confidence=np.bincount(bins, confidence, num_bins) / count,
            accuracy=np.bincount(bins, hit, num_bins) / count,
        )


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, num_bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over bins, weighted by rows.

    `sum_b (n_b / n) |accuracy_b - confidence_b|` over the bins of
    `reliability`. It is biased upwards for few rows: compare only values
    computed from as many rows with as many bins.

    Args:
        probabilities: float array of shape `(rows, num_classes)`; each row
            sums to 1. `(rows, 1)` or `(rows,)` of two classes, for class 1.
        labels: int array of shape `(rows,)`; -1 leaves a row out.
        num_bins: int >= 1. Defaults to `15`.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: if an argument breaks its rule, or no row has a label.

    References:
        - Guo et al. (2017), "On calibration of modern neural networks",
          equation 3.
    """
    table = reliability(probabilities, labels, num_bins)
    filled = table.count > 0
    gap = np.abs(table.accuracy[filled] - table.confidence[filled])
    return float(np.dot(gap, table.count[filled]) / table.count.sum())


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over rows of the squared error summed over the classes.

    Args:
        probabilities: float array of shape `(rows, num_classes)`; each row
            sums to 1. `(rows, 1)` or `(rows,)` of two classes, for class 1.
        labels: int array of shape `(rows,)`; -1 leaves a row out.

    Returns:
        A float in [0, 2]. Some texts divide by the number of classes, or
        count one of two classes only.

    Raises:
        ValueError: if an argument breaks its rule, or no row has a label.

    References:
        - Brier (1950), "Verification of forecasts expressed in terms of
          probability", equation 2.
    """
    probabilities, labels = _labelled(probabilities, labels)
    error = probabilities.astype(np.float64)
    error[np.arange(len(labels)), labels] -= 1.0
    return float(np.square(error).sum(axis=1).mean())


def negative_log_likelihood(
    probabilities: np.ndarray, labels: np.ndarray, from_logits: bool = False
) -> float:
    """Mean of `-log p(label | x)`, in nats.

    Nothing is clipped: a probability of 0 for a label that occurs gives
    `inf`. Logits avoid the rounding that makes such zeros.

    Args:
        probabilities: float array of shape `(rows, num_classes)`; each row
            sums to 1, or holds logits if `from_logits`. `(rows, 1)` or `(rows,)`
            of two classes, for class 1.
        labels: int array of shape `(rows,)`; -1 leaves a row out.
        from_logits: bool. Defaults to `False`.

    Returns:
        A float >= 0, possibly `inf`.

    Raises:
        ValueError: if an argument breaks its rule, or no row has a label.
    """
    values, labels = _labelled(probabilities, labels, from_logits)
    values = values.astype(np.float64)
    if from_logits:
        shifted = values - values.max(axis=1, keepdims=True)
        log_total = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        log_probabilities = shifted - log_total
    else:
        with np.errstate(divide="ignore"):
            log_probabilities = np.log(values)
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


#: Between which temperatures are sought.
TEMPERATURES = (0.01, 100.0)
#: Rows that the row of no class in particular counts for; of .1 and 1, and of other
#: pulls to 1, the best on 126 and on 40 rows of digits, seeds 10 to 12.
EVEN_ROWS = 0.1
#: Above it, every answer is a guess.
LARGEST_LAPSE_RATE = 0.99
#: Below it there are none, so that a probability of 0 divides nothing.
LEAST_LAPSE_RATE = 1e-9


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The temperature and the lapse rate at which labels are likeliest.

    Of the probabilities `(1 - l) softmax(logits / T) + l / K`. Without lapses, a few
    rows that the logits are surely wrong about would have all others doubted.
    Minimises the negative log-likelihood of the labels and of a tenth of a row more,
    which knows no lapses and has the mean of the rows' logits and a label drawn
    evenly: without it, logits that are right about every one of a few rows would ask
    for certainty. Fit it on rows that did not train the logits.

    Args:
        logits: float array of shape `(rows, num_classes)`, or `(rows, 1)`.
        labels: int array of shape `(rows,)`; -1 leaves a row out.

    Returns:
        `(T, l)`: floats in [0.01, 100], to a thousandth of itself, and in [0, 0.99].
        The largest temperature where the logits tell nothing.

    Raises:
        ValueError: if an argument breaks its rule, or no row has a label.

    References:
        - Guo et al. (2017), "On calibration of modern neural networks",
          section 4.2.
        - Wichmann and Hill (2001), "The psychometric function: I", for lapses.
    """
    if np.ndim(logits) != 2:
        raise ValueError(
            "`logits` must have shape `(rows, num_classes)`. Received: shape "
            f"{np.shape(logits)}."
        )
    logits, labels = _labelled(logits, labels, from_logits=True)
    logits = logits.astype(np.float64)
    low, high = (np.log(bound) for bound in TEMPERATURES)
    # From the largest down, as of equals the first is taken. The losses may have
    # several minima: 1/13 apart, then closer around the best.
    for count in (120, 20, 20):
        tried = np.linspace(high, low, count)
        losses = [_loss_at(np.exp(t), logits, labels)[0] for t in tried]
        best = int(np.argmin(losses))
        low, high = tried[min(best + 1, count - 1)], tried[max(best - 1, 0)]
    temperature = float(np.exp(tried[best]))
    return temperature, _loss_at(temperature, logits, labels)[1]


def _loss_at(temperature, logits, labels) -> tuple[float, float]:
    """The loss of `fit_temperature` at a temperature, and the best lapse rate there."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(axis=1, keepdims=True)
    log_p = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    even = -EVEN_ROWS * log_p.mean()
    chance = 1.0 / logits.shape[1]
    p = np.exp(log_p[np.arange(len(labels)), labels])

    def too_low(rate):
        # The loss is convex in the rate; this is the sign of its slope.
        return np.sum((p - chance) / ((1.0 - rate) * p + rate * chance)) < 0.0

    low, high = 0.0, LARGEST_LAPSE_RATE if too_low(LEAST_LAPSE_RATE) else 0.0
    for _ in range(40 if high else 0):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if too_low(middle) else (low, middle)
    rate = 0.5 * (low + high)
    if rate == 0.0:
        return even - log_p[np.arange(len(labels)), labels].sum(), rate
    return even - np.log((1.0 - rate) * p + rate * chance).sum(), rate


def check_num_bins(num_bins: int) -> None:
    """Raises `ValueError` unless `num_bins` is at least 1."""
    if num_bins < 1:
        raise ValueError(
            f"`num_bins` must be at least 1. Received: num_bins={num_bins}."
        )


def inner_edges(num_bins: int) -> np.ndarray:
    """Float64 array `1/num_bins, 2/num_bins, ...` without 0 and 1."""
    return np.arange(1, num_bins) / num_bins


def _labelled(values, labels, from_logits=False):
    """Checks both arrays and returns the rows that have a label."""
    values, labels = np.asarray(values), np.asarray(labels)
    name = "logits" if from_logits else "probabilities"
    _check_shapes(values, labels, name)
    known = labels != -1
    if not known.any():
        raise ValueError(
            "`labels` must name the class of at least one row; -1 means "
            f"unlabelled. Received: {len(labels)} rows, all labelled -1."
        )
    values, labels = values.reshape(len(values), -1)[known], labels[known]
    _check_label_range(labels, max(2, values.shape[1]))
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"`{name}` must be finite. Received: {(~finite).sum()} of "
            f"{len(finite)} labelled rows with nan or inf."
        )
    if values.shape[1] == 1:
        values = _both_columns(values, from_logits)
    elif not from_logits:
        _check_simplex(values)
    return values, labels


def _both_columns(values, from_logits):
    """`(rows, 2)` of the column of class 1."""
    if from_logits:
        return np.concatenate([np.zeros_like(values), values], axis=1)
    low, high = values.min(), values.max()
    if low < 0.0 or high > 1.0:
        raise ValueError(
            "`probabilities` of one column, those of class 1, must lie in [0, 1]; "
            f"apply a sigmoid to logits first. Received: from {low:g} to {high:g}."
        )
    return np.concatenate([1.0 - values, values], axis=1)


def _check_shapes(values, labels, name) -> None:
    if values.ndim not in (1, 2) or labels.shape != values.shape[:1]:
        raise ValueError(
            f"`{name}` must have shape `(rows, num_classes)`, or `(rows,)` of two "
            "classes, and `labels` shape `(rows,)`. Received: shapes "
            f"{values.shape} and {labels.shape}."
        )


def _check_label_range(labels, num_classes: int) -> None:
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"`labels` must be integers. Received: dtype {labels.dtype}.")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"`labels` must lie in [0, {num_classes}), or be -1 for an "
            f"unlabelled row. Received: labels from {labels.min()} to "
            f"{labels.max()}."
        )


def _check_simplex(probabilities) -> None:
    total = probabilities.sum(axis=1)
    if probabilities.min() < 0.0 or np.abs(total - 1.0).max() > 1e-3:
        raise ValueError(
            "`probabilities` must be non-negative with rows that sum to 1; "
            "apply a softmax to logits first. Received: smallest value "
            f"{probabilities.min()}, row sums from {total.min()} to "
            f"{total.max()}."
        )
