"""Labels spread over a graph of neighbours to the rows that have none."""

import numpy as np
import pytest

from keras_ebm.estimators import EnergyClassifier, PseudoLabels
from keras_ebm.estimators.pseudo_labels import (
    ALPHA,
    ALPHAS,
    neighbour_graph,
    pseudo_labels,
    spread_labels,
)

#: Six rows of a line, and two far away that are each other's neighbours alone.
LINE = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [100.0], [101.0]])


@pytest.fixture(scope="module")
def moons():
    """Two half circles around each other, seven rows of each with a label."""
    angle = np.linspace(0.0, np.pi, 150)
    first = np.stack([np.cos(angle), np.sin(angle)], 1)
    x = np.concatenate([first, [1.0, 0.4] - first]).astype(np.float32)
    y = np.repeat([0, 1], 150)
    labels = np.where(np.arange(300) % 23 == 0, y, -1)
    return x, y, labels


def test_labels_follow_the_rows_and_not_the_straight_line(moons):
    x, y, labels = moons
    found = PseudoLabels.spread(x, labels)
    assert found.accuracy == 1.0 and found.kernel_accuracy < 1.0 and found.leads
    np.testing.assert_array_equal(found.labels, y)
    np.testing.assert_array_equal(pseudo_labels("auto", x, labels).labels, y)


def test_the_answers_are_those_of_the_closed_form():
    graph = neighbour_graph(LINE[:6], 2)
    labels = np.array([0, -1, -1, -1, -1, 1])
    weights = graph.toarray()
    np.testing.assert_allclose(weights, weights.T)
    root = np.sqrt(weights.sum(1))
    shares = np.linalg.inv(np.eye(6) - 0.9 * weights / np.outer(root, root))[:, [0, 5]]
    expected = np.argmax(shares, axis=1)
    np.testing.assert_array_equal(spread_labels(graph, labels, 0.9), expected)
    np.testing.assert_array_equal(expected, [0, 0, 0, 1, 1, 1])


def test_rows_that_no_label_reaches_have_none():
    labels = np.array([0, -1, -1, -1, -1, 2, -1, -1])
    found = spread_labels(neighbour_graph(LINE, 1), labels, 0.5)
    assert found.tolist()[-2:] == [-1, -1] and set(found) == {0, 2, -1}


def test_equal_rows_are_neighbours_of_full_weight():
    graph = neighbour_graph(np.zeros((4, 2)), 2).toarray()
    assert set(graph.ravel()) == {0.0, 1.0}


def test_few_labels_of_a_class_leave_none_out(moons):
    x, _, labels = moons
    labels = np.where(np.cumsum(labels == 1) > 4, -1, labels)
    found = PseudoLabels.spread(x, labels)
    assert np.isnan(found.accuracy) and found.alpha == ALPHA
    assert not found.leads and pseudo_labels("auto", x, labels) is None


def test_many_labels_choose_how_far_a_label_spreads():
    # Stripes of forty rows: what is further away than that misleads.
    x = np.linspace(0.0, 1.0, 400)[:, None]
    y = np.arange(400) // 40 % 2
    found = PseudoLabels.spread(x, np.where(np.arange(400) % 3 == 0, y, -1))
    assert found.alpha == ALPHAS[0] and found.accuracy > found.kernel_accuracy
    assert np.mean(found.labels == y) > 0.9


def test_rows_beyond_what_a_graph_holds_have_none(moons, monkeypatch):
    x, y, labels = moons
    monkeypatch.setattr("keras_ebm.estimators.pseudo_labels.MOST_ROWS", 100)
    found = PseudoLabels.spread(x, labels).labels
    assert np.sum(found >= 0) == 100
    np.testing.assert_array_equal(found[found >= 0], y[found >= 0])


def test_rows_of_many_entries_are_compared_by_their_components():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = rng.normal(size=(200, 300)) + np.where(y, 1.0, -1.0)[:, None]
    labels = np.where(np.arange(200) < 8, y, -1)
    np.testing.assert_array_equal(PseudoLabels.spread(x, labels).labels, y)


@pytest.mark.parametrize("labels", [np.zeros(8, int), np.full(8, -1)])
def test_there_are_none_where_all_or_no_rows_have_labels(labels):
    assert pseudo_labels("label_spreading", LINE, labels) is None
    with pytest.raises(ValueError, match="`labels` must hold classes and -1"):
        PseudoLabels.spread(LINE, labels)


def test_the_classifier_is_trained_on_what_was_spread(moons):
    x, y, labels = moons
    fitted = EnergyClassifier(
        "supervised",
        feature_transform="standardise",
        pseudo_labels="label_spreading",
        hidden=(8,),
        steps=1,
        run_eagerly=True,
        random_state=0,
    ).fit(x, labels)
    np.testing.assert_array_equal(fitted.pseudo_labels_.labels, y)


def test_an_unknown_way_of_pseudo_labels_is_refused(moons):
    with pytest.raises(ValueError, match="`pseudo_labels` must be one of 'none'"):
        EnergyClassifier(pseudo_labels="spread").fit(moons[0], moons[2])
