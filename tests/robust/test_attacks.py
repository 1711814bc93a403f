"""Attacks on a linear classifier, whose nearest error is known in closed form."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.random import StepRandom
from keras_ebm.robust import (
    Ball,
    Evasion,
    MaskedGradients,
    bpda,
    masking_checks,
    masking_failures,
    pgd,
    square_attack,
    transfer,
)

RANDOM = StepRandom(0, 0)
WEIGHTS = tf.constant([3.0, 4.0])
ROWS = tf.constant([[0.2, 0.1], [-0.3, 0.4], [1.0, 1.0]])
# 3 a + 4 b is 1, 0.7 and 7: over 7 in the L-infinity norm, over 5 in L2.
MARGINS = np.array([1.0, 0.7, 7.0])
LABELS = np.ones(3, np.int64)


def linear(x):
    score = tf.linalg.matvec(x, WEIGHTS)
    return tf.stack([-score, score], axis=1)


@pytest.mark.parametrize("norm, dual", [("linf", 7.0), ("l2", 5.0)])
@pytest.mark.parametrize("share, wins", [(0.98, False), (1.02, True)])
def test_pgd_finds_the_nearest_error_and_none_nearer(norm, dual, share, wins):
    for row, label, distance in zip(ROWS, LABELS, MARGINS / dual, strict=True):
        numbers = {"bound": share * distance, "norm": norm, "random": RANDOM}
        found = pgd(linear, row[None], [label], **numbers)
        assert (found.success.numpy() > 0) == [wins]


@pytest.mark.parametrize("norm, order", [("linf", np.inf), ("l2", 2)])
@pytest.mark.parametrize("attack", [pgd, square_attack])
def test_an_attack_stays_in_the_ball_about_the_given_input_and_in_the_box(
    attack, norm, order
):
    x = tf.constant(np.random.default_rng(0).uniform(size=(8, 6)), tf.float32)

    def logits(x):
        return tf.stack([tf.reduce_sum(x**2, 1), tf.reduce_sum(x, 1)], axis=1)

    found = attack(
        logits,
        x,
        np.zeros(8, np.int64),
        bound=0.4,
        norm=norm,
        box=(0.0, 1.0),
        random=RANDOM,
    )
    change = (found.x - x).numpy()
    assert np.linalg.norm(change, order, axis=1).max() <= 0.4 + 1e-6
    assert found.x.numpy().min() >= 0.0 and found.x.numpy().max() <= 1.0
    assert np.abs(change).max() > 0.05


def test_many_l2_steps_go_no_further_than_the_bound():
    centre = tf.zeros([1, 2])
    ball = Ball("l2", 1.0)
    x = centre
    for _ in range(20):
        x = ball.project(x + 1.0, centre)
    np.testing.assert_allclose(np.linalg.norm(x), 1.0, rtol=1e-6)


def test_random_starts_are_of_the_size_of_the_bound_whatever_it_is():
    centre = tf.zeros([2000, 3])
    for norm, order in (("linf", np.inf), ("l2", 2)):
        starts = Ball(norm, 5.0).start(centre, RANDOM).numpy()
        lengths = np.linalg.norm(starts, order, axis=1)
        # The length of a uniform draw of a ball in three dimensions: 3/4 of it.
        assert abs(lengths.mean() - 3.75) < 0.08 and lengths.max() <= 5.0 + 1e-5


def test_an_input_outside_the_box_stays_in_its_own_ball():
    centre = tf.constant([[1.4, 0.5]])
    moved = Ball("linf", 0.1, (0.0, 1.0)).project(centre + 0.2, centre)
    np.testing.assert_allclose(moved, [[1.4, 0.6]], rtol=1e-6)


def test_without_a_bound_the_given_rows_come_back():
    for attack in (pgd, square_attack):
        found = attack(linear, ROWS, LABELS, bound=0.0, random=RANDOM)
        np.testing.assert_array_equal(found.x, ROWS)
        np.testing.assert_allclose(found.success, -2 * MARGINS, rtol=1e-6)


def test_a_targeted_attack_reaches_its_class():
    def three(x):
        return tf.stack([x[:, 0], x[:, 1], 0.5 * (x[:, 0] + x[:, 1])], axis=1)

    rows = tf.constant([[1.0, 0.0]])
    near = pgd(three, rows, [1], bound=0.49, targeted=True, random=RANDOM)
    far = pgd(three, rows, [1], bound=0.51, targeted=True, random=RANDOM)
    assert near.success < 0 < far.success and np.argmax(three(far.x)) == 1


def test_rows_of_several_chunks_come_back_in_their_order():
    whole = pgd(linear, ROWS, LABELS, bound=0.1, random=RANDOM)
    parts = pgd(linear, ROWS, LABELS, bound=0.1, rows_at_a_time=2, random=RANDOM)
    np.testing.assert_allclose(whole.success, parts.success, rtol=1e-5)


def test_square_finds_errors_of_images_without_gradients():
    images = tf.fill([4, 6, 6, 1], 0.5)

    def logits(x):
        mean = tf.reduce_mean(tf.stop_gradient(x), axis=[1, 2, 3])
        return tf.stack([mean - 0.46, 0.46 - mean], axis=1)

    numbers = {"box": (0.0, 1.0), "random": RANDOM, "num_queries": 300}
    labels = np.zeros(4, np.int64)
    found = square_attack(logits, images, labels, bound=0.05, **numbers)
    assert (found.success.numpy() > 0).all()
    missed = square_attack(logits, images, labels, bound=0.03, **numbers)
    assert (missed.success.numpy() < 0).all()


def rounded(x):
    # A staircase: its gradient is 0 wherever it has one.
    return tf.round(4.0 * x) / 4.0


def masked(x):
    return linear(rounded(x))


def test_a_staircase_has_no_gradient_and_bpda_goes_round_it():
    bound = 0.4
    with pytest.raises(ValueError, match="must have a gradient .*bpda"):
        pgd(masked, ROWS[:2], LABELS[:2], bound=bound, num_steps=5, random=RANDOM)
    seeing = bpda(rounded, linear)
    found = pgd(seeing, ROWS[:2], LABELS[:2], bound=bound, random=RANDOM)
    assert (found.success.numpy() > 0).all()
    other = transfer(linear, masked, ROWS, LABELS, bound=bound, random=RANDOM)
    assert (other.success.numpy()[:2] > 0).all()


def test_masked_gradients_fail_loudly():
    # Rows far from the middle: a random start does not turn them.
    rows, labels = tf.constant([[0.6, 0.5], [0.5, 0.6]]), np.ones(2, np.int64)

    def flat(x):
        return linear(tf.stop_gradient(x) + 0.0 * x)

    numbers = {"bounds": [0.8], "box": (-1.0, 1.0), "num_steps": 5, "num_queries": 20}
    with pytest.raises(MaskedGradients, match="the black box is stronger: 0.000"):
        masking_checks(flat, rows, labels, random=RANDOM, **numbers)
    assert masking_checks(linear, rows, labels, random=RANDOM, **numbers) == []


@pytest.mark.parametrize(
    "found, words",
    [
        ({"white": {0.1: 0.5, 0.2: 0.6}}, "a larger bound is not stronger"),
        ({"white": {0.1: 0.5}, "black": {0.1: 0.4}}, "the black box is stronger"),
        ({"white": {0.1: 0.5}, "one_step": {0.1: 0.4}}, "one step is stronger"),
        ({"white": {0.1: 0.5}, "unbounded": 0.3}, "without a bound does not win"),
    ],
)
def test_each_sign_of_masking_has_its_sentence(found, words):
    (failure,) = masking_failures(found.pop("white"), **found)
    assert words in failure


def test_what_behaves_has_no_failure():
    white = {0.1: 0.5, 0.2: 0.2}
    assert not masking_failures(white, black={0.1: 0.6}, one_step=white, unbounded=0.0)


def test_an_attack_that_knows_the_detector_stays_below_its_threshold():
    # The detector refuses where the first entry falls below 0.1.
    evade = Evasion(lambda x: -x[:, 0], -0.1, 10.0)
    numbers = {"bound": 0.5, "num_steps": 50, "random": RANDOM}
    blind = pgd(linear, ROWS[:1], LABELS[:1], **numbers)
    aware = pgd(linear, ROWS[:1], LABELS[:1], evade=evade, **numbers)
    assert blind.x[0, 0] < 0.1 <= aware.x[0, 0]
    assert aware.success > 0
    refused = evade._replace(threshold=-2.0)
    none = pgd(linear, ROWS[:1], LABELS[:1], evade=refused, **numbers)
    assert none.success < 0


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"bound": -0.1}, "`bound` must be a finite number at least 0"),
        ({"norm": "l1"}, "`norm` must be one of 'linf', 'l2'"),
        ({"box": (1.0, 0.0)}, "`box` must be"),
        ({"num_steps": 0}, "`num_steps` must be"),
        ({"restarts": 0}, "`restarts` must be"),
        ({"loss": "hinge"}, "`loss` must be one of"),
        ({"eot": 2}, "`eot` above 1 needs answers that are drawn"),
        ({"y": [1, 1]}, "`y` must hold the number of a class for each row"),
        ({"y": [1, 1, -1]}, "rows without"),
    ],
)
def test_a_wrong_argument_of_pgd_is_named(changes, words):
    numbers = {"bound": 0.1, "y": LABELS, "random": RANDOM, **changes}
    with pytest.raises(ValueError, match=words):
        pgd(linear, ROWS, **numbers)
