"""Streams of classes, and what is measured along them."""

import numpy as np
import pytest

from keras_ebm.continual import Learner, NearestMean, class_stream, run_stream

X = np.arange(8, dtype=np.float32)[:, None]
Y = np.array([0, 1, 2, 3, 0, 1, 2, 3])


class Constant(Learner):
    """Takes every row for the class that came last."""

    def learn_task(self, x, y):
        self.seen = len(x)

    def class_scores(self, x):
        classes = len(self.classes)
        return np.tile(np.arange(classes), (len(x), 1))

    def kept(self):
        return [np.zeros(len(self.classes) or 1)]


def test_each_row_comes_once_and_with_its_class():
    tasks = list(class_stream(X, Y, order=[3, 1, 0, 2], classes_per_task=2))
    assert [task.classes for task in tasks] == [(3, 1), (0, 2)]
    rows = np.concatenate([task.x for task in tasks])[:, 0]
    assert sorted(rows) == list(range(8))
    for task in tasks:
        assert set(task.y) == set(task.classes)
        np.testing.assert_array_equal(task.x[:, 0] % 4, task.y)


def test_the_last_task_has_the_classes_that_are_left_over():
    tasks = class_stream(X, Y, classes_per_task=3)
    assert [task.classes for task in tasks] == [(0, 1, 2), (3,)]


def test_a_stream_is_the_same_for_the_same_seed_and_no_other():
    x, y = np.arange(100.0)[:, None], np.zeros(100, int)
    first, again, other = (next(class_stream(x, y, seed=s)).x for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"order": [0, 0]}, r"each once. Received: order=\[0, 0\]"),
        ({"order": []}, "`order` must name classes"),
        ({"order": [0, 7]}, "Received: 7 without any; the classes are 0, 1, 2, 3"),
        ({"classes_per_task": 0}, "`classes_per_task` must be an integer"),
        ({"y": Y[:3]}, "one integer class for each row"),
        ({"y": Y.astype(float)}, "Received: float64"),
        ({"y": Y - 1}, "Received: -1, an unlabelled row"),
        ({"x": X.astype(str)}, "must hold numbers"),
        ({"x": np.where(X == 5, np.nan, X)}, "1 rows that are not, the first at 5"),
    ],
)
def test_a_stream_of_what_is_none_is_refused_before_its_first_task(change, words):
    given = {"x": X, "y": Y, **change}
    with pytest.raises(ValueError, match=words):
        class_stream(given.pop("x"), given.pop("y"), **given)


def test_accuracy_is_measured_over_the_classes_seen_so_far():
    result = run_stream(Constant(), class_stream(X, Y), (X[:4], Y[:4]))
    assert result.tasks == [(0, 1), (2, 3)]
    # The class that came last is right for one row of two, then for one of four.
    assert result.accuracy == [[0.5], [0.0, 0.5]]
    assert result.seen == [0.5, 0.25] and result.final == 0.25
    assert result.forgetting == 0.5
    assert result.rows == [4, 4]
    assert result.memory == [16, 32] and result.bytes_per_class == 8
    assert len(result.seconds) == len(result.cpu_seconds) == 2


@pytest.mark.parametrize(
    "tasks, test, words",
    [
        ([], (X, Y), "at least one task. Received: none"),
        (class_stream(X, Y), (X[:3], Y[:3]), r"Received: none of \[3\]"),
        (class_stream(X, Y), (X, Y[:3]), "one integer class for each row"),
    ],
)
def test_a_stream_that_cannot_be_measured_is_refused(tasks, test, words):
    with pytest.raises(ValueError, match=words):
        run_stream(Constant(), tasks, test)


def test_a_class_that_comes_again_is_refused_and_nothing_is_learnt_of_its_task():
    learner = NearestMean()
    learner.learn(X[Y < 2], Y[Y < 2])
    with pytest.raises(ValueError, match="Received: 1 again; give all rows"):
        learner.learn(X[(Y == 1) | (Y == 2)], Y[(Y == 1) | (Y == 2)])
    assert learner.classes == [0, 1] and len(learner.means) == 2


def test_rows_before_any_task_are_refused():
    with pytest.raises(ValueError, match="call learn"):
        NearestMean().predict(X)


def test_an_empty_task_is_refused():
    with pytest.raises(ValueError, match="must have rows"):
        NearestMean().learn(X[:0], Y[:0])


def test_a_score_that_is_no_number_is_an_error_with_its_class():
    learner = NearestMean()
    learner.learn(X[:2], Y[:2])
    learner.means[1][:] = np.nan
    with pytest.raises(FloatingPointError, match=r"classes \[1\]"):
        learner.predict(X)
