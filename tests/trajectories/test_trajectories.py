"""Trajectories against systems whose next state, energy and plans are known."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.models import EnergyModel
from keras_ebm.random import StepRandom
from keras_ebm.trajectories import (
    GaussianStep,
    LastChange,
    NearestStep,
    StateScale,
    StepChains,
    StepNoise,
    TransitionModel,
    fit_step,
    fit_transitions,
    frechet_over_steps,
    plan,
    rollout,
    step_network,
    transition_network,
    transition_score,
    windows,
)

SIZE = 2
UNIT = StateScale([0.0] * SIZE, [1.0] * SIZE, [-50.0] * SIZE, [50.0] * SIZE)


def unit_step(noise="gaussian", past=1, root=None, scale=UNIT):
    """The last state plus Gaussian noise; a standard normal random walk by default."""
    network = step_network(past, SIZE, hidden=(4,))
    for weights in network.weights:
        weights.assign(tf.zeros_like(weights))
    step = GaussianStep(network, scale, noise, num_residuals=4)
    step.root.assign(np.eye(SIZE) if root is None else root)
    return step


def flat_model(negatives, past=1):
    """A network that says 0 of every window."""
    rows = np.random.default_rng(0).normal(size=(8, past + 1, SIZE)).astype("float32")
    network = transition_network(rows, hidden=(4,))
    for weights in network.weights:
        weights.assign(tf.zeros_like(weights))
    return TransitionModel(network, preprocessor=UNIT, negatives=negatives)


def walk(count=60, steps=20, seed=0):
    """Episodes of `s' = 0.9 s + noise` whose noise is 1 or -1, each as likely."""
    rng = np.random.default_rng(seed)
    states = np.zeros((count, steps + 1, SIZE), np.float32)
    for step in range(steps):
        noise = rng.choice([-1.0, 1.0], (count, SIZE)) + 0.1 * rng.normal(
            size=(count, SIZE)
        )
        states[:, step + 1] = 0.9 * states[:, step] + noise
    return states


@pytest.fixture(scope="module")
def fitted():
    """Episodes of two-valued noise, the Gaussian of them, and its correction."""
    states = walk(200, 10)
    step = fit_step(states, past=1, hidden=(16,), epochs=8, seed=0)
    noise = StepNoise(step, candidates=30)
    model = fit_transitions(
        states,
        noise,
        hidden=(32, 32),
        epochs=30,
        batch_size=100,
        learning_rate=0.01,
    )
    return states, step, model


def test_windows_hold_each_transition_and_rest_before_the_start():
    states = np.arange(6.0).reshape(1, 3, 2)
    found = windows(states, past=2)
    expected = [[[0, 1], [0, 1], [2, 3]], [[0, 1], [2, 3], [4, 5]]]
    np.testing.assert_array_equal(found, expected)


def test_a_scale_standardises_and_leaves_what_never_moves():
    states = np.zeros((2, 5, 2), np.float32)
    states[..., 0] = np.arange(10).reshape(2, 5)
    states[..., 1] = 7.0
    scale = StateScale.of(states)
    found = np.asarray(scale(states))
    np.testing.assert_allclose(found[..., 0].std(), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(found[..., 1], 0.0)
    np.testing.assert_allclose(np.asarray(scale.raw(found)), states, atol=1e-5)
    assert (scale.low[0], scale.high[0]) == (0.0, 9.0)


def test_the_energy_of_a_gaussian_step_is_minus_its_log_density():
    root = np.array([[2.0, 0.0], [1.0, 0.5]])
    rows = np.array([[[1.0, -1.0], [2.0, 3.0]]], np.float32)
    cov, off = root @ root.T, np.array([1.0, 4.0])
    expected = 0.5 * off @ np.linalg.solve(cov, off)
    expected += 0.5 * np.log(np.linalg.det(2 * np.pi * cov))
    found = unit_step(root=root).row_energy(rows)
    np.testing.assert_allclose(found, [expected], rtol=1e-5)


def test_adapt_measures_the_covariance_and_keeps_residuals():
    rng = np.random.default_rng(0)
    root = np.array([[1.0, 0.0], [0.8, 0.6]])
    rows = np.zeros((5000, 2, SIZE), np.float32)
    rows[:, 1] = rng.normal(size=(5000, SIZE)) @ root.T
    step = unit_step("residuals")
    step.adapt(rows)
    np.testing.assert_allclose(step.root, root, atol=0.05)
    kept = {tuple(row) for row in np.asarray(step.residuals)}
    assert len(kept) == 4 and kept <= {tuple(row) for row in rows[:, 1]}
    drawn = np.asarray(step.next_states(tf.zeros([50, 1, SIZE]), StepRandom(0, 0)))
    assert {tuple(row) for row in drawn} == kept


@pytest.mark.parametrize("noise", ["none", "gaussian", "residuals"])
def test_a_rollout_is_a_function_of_its_seed_and_begins_at_its_start(noise):
    step = unit_step(noise)
    start = np.array([[0.1, 0.2], [3.0, 4.0]], np.float32)
    one, two = rollout(step, start, 5, seed=3), rollout(step, start, 5, seed=3)
    assert one.shape == (2, 6, SIZE)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one[:, 0], start)
    if noise == "gaussian":
        assert np.abs(one - rollout(step, start, 5, seed=4)).max() > 0.1


def test_a_rollout_of_a_gaussian_walk_spreads_by_the_number_of_steps():
    made = rollout(unit_step(), np.zeros((4000, SIZE)), 9, seed=0)
    # The standard error of a variance of 4,000 rows is 2.2 % of it.
    np.testing.assert_allclose(made.var(axis=0)[1:, 0], np.arange(1, 10), rtol=0.1)


def test_a_rollout_never_leaves_the_range_that_was_seen():
    narrow = StateScale([0.0, 0], [1.0, 1], [-0.5, -0.5], [0.5, 0.5])
    made = rollout(unit_step(scale=narrow), np.zeros((50, SIZE)), 30)
    assert np.abs(made).max() == 0.5


def test_a_start_beyond_the_range_is_kept_as_it_is():
    narrow = StateScale([0.0, 0], [1.0, 1], [-0.5, -0.5], [0.5, 0.5])
    made = rollout(unit_step(scale=narrow), np.full((1, SIZE), 2.0), 3)
    assert made[0, 0, 0] == 2.0 and np.abs(made[0, 1:]).max() <= 0.5


def test_a_rollout_that_leaves_the_numbers_is_an_error_with_its_step():
    step = unit_step("none")
    step.network.weights[-1].assign([np.nan, 0.0])
    with pytest.raises(RuntimeError, match="2 of 2 episodes left the .* at step 1"):
        rollout(step, np.zeros((2, SIZE)), 3)


@pytest.mark.parametrize(
    "start, words",
    [
        (np.zeros((2, 3)), r"`start` must have shape \(n, 2\).*\(2, 3\)"),
        (np.zeros(2), r"shape \(2,\)"),
        (np.zeros((0, 2)), r"shape \(0, 2\)"),
        (np.array([[0.0, np.nan]]), "`start` must be finite.*1 row"),
    ],
)
def test_a_start_of_another_shape_or_not_finite_is_refused(start, words):
    with pytest.raises(ValueError, match=words):
        rollout(unit_step(), start, 3)


def test_the_nearest_step_repeats_the_change_that_followed_the_nearest_past():
    rows = np.array([[[0.0, 0], [1, 0]], [[9.0, 9], [9, 7]]], np.float32)
    made = rollout(NearestStep(UNIT, rows, 1), np.array([[0.2, 0], [8, 8]]), 1)
    np.testing.assert_allclose(made[:, 1], [[1.2, 0], [8, 6]], atol=1e-6)


def test_the_distance_over_steps_is_that_of_the_gaussians_of_each():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(50, 3, SIZE))
    shifted = true + np.array([0.0, 1.0, 2.0])[None, :, None]
    np.testing.assert_allclose(
        frechet_over_steps(shifted, true), [0.0, 2.0, 8.0], atol=1e-8
    )


def test_a_plan_of_a_gaussian_walk_is_the_straight_line_to_the_known_end():
    # sum 1/2 |s_t - s_{t-1}|^2 + w/2 |s_H - g|^2: the end is g w H / (1 + w H).
    goal = np.array([4.0, np.nan], np.float32)
    found = plan(
        unit_step(), np.zeros((1, SIZE)), goal, 4, goal_weight=1.0, num_steps=800
    )
    end = 4.0 * 4 / (1 + 4)
    np.testing.assert_allclose(found.states[0, :, 0], np.linspace(0, end, 5), atol=0.02)
    np.testing.assert_allclose(found.states[0, :, 1], 0.0, atol=0.02)
    np.testing.assert_allclose(found.miss, [4.0 - end], atol=0.02)
    expected = 0.5 * 0.8**2 + np.log(2 * np.pi)
    np.testing.assert_allclose(found.energy[0], [expected] * 4, atol=0.03)


@pytest.mark.parametrize(
    "goal", [np.full(2, np.nan), np.zeros(3), np.array([np.inf, 0.0])]
)
def test_a_goal_without_a_finite_entry_or_of_another_shape_is_refused(goal):
    with pytest.raises(ValueError, match="`goal` must"):
        plan(unit_step(), np.zeros((1, SIZE)), goal, 4)


def test_without_a_correction_the_energy_is_the_gaussians(fitted):
    states = walk(3, 5)
    step = unit_step()
    for negatives in (StepNoise(step), StepChains(step)):
        found = transition_score(flat_model(negatives), states)
        np.testing.assert_allclose(found, transition_score(step, states), rtol=1e-5)


def test_chains_without_a_correction_draw_the_gaussian():
    source = StepChains(unit_step(), step_size=0.01, num_steps=5, start_stddev=1.0)
    made = rollout(flat_model(source), np.zeros((2000, SIZE)), 1)[:, 1]
    np.testing.assert_allclose(made.std(axis=0), 1.0, atol=0.06)


def test_steps_from_a_resampled_draw_stay_where_the_energy_is_the_gaussians():
    source = StepNoise(unit_step(), candidates=3, num_steps=10, step_size=0.02)
    made = rollout(flat_model(source), np.zeros((2000, SIZE)), 1)[:, 1]
    np.testing.assert_allclose(made.std(axis=0), 1.0, atol=0.06)


def test_chains_leave_the_past_as_it_is_and_walk_the_last_state():
    source = StepChains(num_steps=3, step_size=0.1, start_stddev=0.5)
    rows = np.random.default_rng(0).normal(size=(6, 3, SIZE)).astype("float32")
    model = flat_model(source, past=2)
    made = source.draw(model.inputs_energy, tf.constant(rows), StepRandom(0, 0))
    assert made is None
    made = source.draw(
        model.inputs_energy, tf.constant(rows), StepRandom(0, 0), training=True
    )
    np.testing.assert_array_equal(made.x[:, :2], rows[:, :2])
    assert np.abs(made.x[:, 2] - rows[:, 1]).min() > 0


def test_contrast_learns_the_two_values_that_a_gaussian_cannot(fitted):
    _, step, model = fitted
    past = walk(200, 3, seed=5)[:, -1]
    noise = {}
    for name, one in (("gaussian", step), ("contrast", model)):
        made = rollout(one, past, 1, seed=1)
        noise[name] = np.abs(np.abs(made[:, 1] - 0.9 * past) - 1.0)
    # Of a Gaussian of variance 1 an even half is within 0.5 of 1 or -1 at most.
    assert np.mean(noise["gaussian"] < 0.5) < 0.65
    assert np.mean(noise["contrast"] < 0.5) > 0.85


def test_energies_of_contrast_tell_what_the_gaussian_takes_for_likely(fitted):
    states, *models = fitted
    frozen = np.repeat(0.0 * states[:, :1], 3, axis=1)
    usual = walk(60, 2, seed=9)
    pair = (frozen, usual)
    seen = [[transition_score(one, x).mean() for x in pair] for one in models]
    assert seen[0][0] < seen[0][1] and seen[1][0] > seen[1][1]


def test_a_saved_model_rolls_out_and_scores_as_before(fitted, tmp_path):
    states, step, model = fitted
    for one in (step, model):
        one.save(tmp_path / "m.keras")
        again = keras.saving.load_model(tmp_path / "m.keras")
        np.testing.assert_array_equal(
            rollout(again, states[:4, 0], 3), rollout(one, states[:4, 0], 3)
        )
        np.testing.assert_allclose(
            transition_score(again, states[:4]), transition_score(one, states[:4])
        )
    raw = windows(states[:4], model.past)
    found = np.asarray(model.energy(raw)).reshape(4, -1)
    np.testing.assert_allclose(found, transition_score(model, states[:4]), atol=1e-4)
    assert isinstance(model, EnergyModel)


def test_plain_chains_train_and_stay_within_the_numbers():
    states = walk(20, 6)
    source = StepChains(num_steps=3, max_gradient=1.0)
    model = fit_transitions(
        states, source, past=2, hidden=(8,), epochs=2, batch_size=64, energy_l2=1.0
    )
    made = rollout(model, states[:, 0], 6)
    assert np.all(np.isfinite(made)) and np.abs(made).max() <= np.abs(states).max()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: GaussianStep(step_network(1, 3), UNIT), "`network` must map pasts"),
        (lambda: unit_step("some"), "`noise` must be one of"),
        (lambda: StepNoise(None), "`step` must be a GaussianStep"),
        (lambda: StepNoise(unit_step(), candidates=0), "`candidates`"),
        (lambda: StepNoise(unit_step(), num_steps=-1), "`num_steps`"),
        (lambda: StepNoise(unit_step(), step_size=0.0), "`step_size`"),
        (lambda: StepChains("x"), "`step` must be a GaussianStep"),
        (lambda: StepChains(step_size=0.0), "`step_size`"),
        (lambda: StepChains(max_gradient=-1.0), "`max_gradient`"),
        (lambda: flat_model(None), "`negatives` must be StepNoise or StepChains"),
        (lambda: flat_model(StepNoise(unit_step(past=2))), "as many past states"),
        (lambda: StateScale([0.0], [0.0], [0.0], [1.0]), "stddev above 0"),
        (lambda: StateScale([0.0], [1.0], [2.0], [1.0]), "`low` must be at most"),
        (lambda: LastChange([0.0, 1.0]), "`stddev` must be a vector"),
        (lambda: NearestStep(UNIT, np.zeros((1, 2, 2)), 2), "`num_neighbours`"),
        (lambda: unit_step().adapt(np.zeros((3, 2))), "`rows` must be windows"),
        (lambda: windows(np.zeros((2, 3))), "`states` must have shape"),
        (lambda: windows(np.zeros((2, 3, 1)), 0), "`past`"),
        (lambda: frechet_over_steps(np.zeros((1, 2, 1)), np.zeros((2, 2, 1))), "2 epi"),
        (lambda: transition_score(unit_step(), np.zeros((2, 3, 1))), "2 entries"),
        (lambda: transition_score(unit_step(), np.zeros((2, 3))), "`states` must be"),
        (lambda: fit_step(np.full((2, 3, 1), np.nan)), "`states` must be finite"),
    ],
)
def test_an_argument_that_breaks_its_rule_is_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        make()
