"""Restoration, on energies whose posterior is known in closed form."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.generators import GaussianGenerator
from keras_ebm.models import VERA, DenoisingModel
from keras_ebm.networks import (
    ReconstructionEnergy,
    convolutional_denoiser,
    mlp_energy,
)
from keras_ebm.random import StepRandom
from keras_ebm.restore import (
    Downsampled,
    EnergyWalk,
    GaussianNoise,
    LatentWalk,
    LevelWalk,
    Masked,
    SaltAndPepper,
    choose_walk,
    hidden_entries,
    psnr,
    restore,
)

KNOWN = np.zeros((4, 4, 1), bool)
KNOWN[:2] = True
CORRUPTIONS = [
    SaltAndPepper(0.2),
    GaussianNoise(0.5),
    GaussianNoise(0.5, None, None),
    Masked(KNOWN, -1.0),
    Downsampled(2),
]


def normal_energy(x):
    """Of `N(0, I)`."""
    return 0.5 * tf.reduce_sum(tf.square(x), axis=list(range(1, x.shape.rank)))


def normal_levels(x, stddev):
    """Of `N(0, I)` under noise of `stddev`."""
    return normal_energy(x / tf.sqrt(1.0 + tf.square(stddev)))


def images(rows=4):
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(0.0, 0.5, (rows, 4, 4, 1)), -1, 1).astype(np.float32)


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: type(c).__name__)
def test_a_corruption_is_the_same_after_it_was_saved(corruption):
    config = keras.saving.serialize_keras_object(corruption)
    again = keras.saving.deserialize_keras_object(config)
    x = tf.constant(images())
    one, other = (c.corrupt(x, StepRandom(3, 0)) for c in (corruption, again))
    np.testing.assert_array_equal(one, other)
    assert again.get_config() == corruption.get_config()


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: type(c).__name__)
def test_what_was_there_is_likelier_than_something_else(corruption):
    x = tf.constant(images(50))
    observed = corruption.corrupt(x, StepRandom(3, 0))
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = corruption.negative_log_likelihood(x, observed)
    gradient = tape.gradient(loss, x, unconnected_gradients="zero")
    assert loss.shape == (50,) and np.isfinite(gradient).all()
    other = corruption.negative_log_likelihood(tf.reverse(x, [0]), observed)
    assert tf.reduce_mean(loss) <= tf.reduce_mean(other)
    assert corruption.start(observed).shape == x.shape


def test_a_share_of_the_entries_becomes_black_or_white():
    x = tf.zeros((50, 20, 20, 1))
    observed = SaltAndPepper(0.2).corrupt(x, StepRandom(0, 0)).numpy()
    # 20,000 entries: standard errors of 0.002.
    assert abs((observed == 1).mean() - 0.1) < 0.01
    assert abs((observed == -1).mean() - 0.1) < 0.01
    assert (SaltAndPepper(0.2).fixed(observed) == (observed == 0)).all()


def test_the_likelihood_of_what_was_clipped_is_that_of_lying_beyond():
    noise = GaussianNoise(0.5)
    # P(x + 0.5 e <= -1) at x = -1 is a half, and at x = 20 as good as nothing.
    losses = noise.negative_log_likelihood(
        tf.constant([[-1.0], [20.0]]), tf.constant([[-1.0], [-1.0]])
    )
    assert float(losses[0]) == pytest.approx(np.log(2.0))
    # The log of a normal's tail at 42: -z^2 / 2 - log(z sqrt(2 pi)).
    assert float(losses[1]) == pytest.approx(882.0 + np.log(42.0) + 0.919, abs=0.01)


def test_a_guess_and_what_is_clipped_meet_where_integration_says():
    noise = GaussianNoise(0.5)
    grid = np.linspace(-6, 6, 20_001)
    guess, stddev = 0.2, 0.8
    tail = noise.negative_log_likelihood(
        tf.constant(grid[:, None], tf.float32), tf.fill((len(grid), 1), -1.0)
    ).numpy()
    weight = np.exp(-0.5 * ((grid - guess) / stddev) ** 2 - tail)
    found = noise.informed(tf.constant([[guess]]), stddev, tf.constant([[-1.0]]))
    assert float(found[0, 0]) == pytest.approx(
        (weight * grid).sum() / weight.sum(), abs=1e-3
    )


def test_a_white_entry_is_kept_where_it_is_expected_and_replaced_where_not():
    observed = tf.constant([[1.0, 1.0, 0.3]])
    guess = tf.constant([[0.99, -1.0, -1.0]])
    found = SaltAndPepper(0.1).informed(guess, 0.1, observed)
    np.testing.assert_allclose(found, [[1.0, -1.0, 0.3]], atol=0.01)


def test_means_of_squares_are_those_that_were_observed():
    x = tf.constant(images())
    corruption = Downsampled(2, stddev=1e-4)
    observed = corruption.corrupt(x, StepRandom(0, 0))
    assert observed.shape == (4, 2, 2, 1)
    found = corruption.informed(tf.zeros_like(x), 1.0, observed)
    np.testing.assert_allclose(
        corruption.corrupt(found, StepRandom(0, 0)), observed, atol=1e-5
    )
    np.testing.assert_allclose(corruption.negative_log_likelihood(x, observed), 0.0)


def test_chains_on_an_energy_and_a_likelihood_reach_the_posterior():
    observed = np.array([[2.0]], np.float32)
    walk = EnergyWalk(200, 0.02, 0.2, box=None)
    found = restore(
        normal_energy,
        np.repeat(observed, 1_000, axis=0),
        GaussianNoise(1.0, None, None),
        walk,
        num_chains=2,
        batch_size=1_000,
    )
    # N(1, 1/2); 2,000 chains, a standard error of 0.016.
    assert abs(found.mean.mean() - 1.0) < 0.08
    assert abs(found.chains.std() - 0.5**0.5) < 0.06
    assert found.chains.shape == (2, 1_000, 1) and found.energies.shape == (2, 1_000)
    assert found.steps == 200


def test_walking_down_the_levels_ends_at_the_posterior_mean():
    noise = GaussianNoise(1.0, None, None)
    observed = np.full((400, 1), 2.0, np.float32)
    walk = LevelWalk(30, 0.05, 20.0, data_stddev=1.0, box=None)
    found = restore(normal_levels, observed, noise, walk, num_chains=2)
    # E[x | y] = y / 2.
    assert abs(found.mean.mean() - 1.0) < 0.1


def test_what_is_known_stays_and_the_rest_follows_from_it():
    def energy(x):
        # Two entries of variance 1 and correlation 0.8.
        a, b = x[:, 0], x[:, 1]
        return (a * a + b * b - 1.6 * a * b) / (2.0 * (1.0 - 0.64))

    known = np.array([True, False])
    observed = np.tile([[1.0, 0.0]], (500, 1)).astype(np.float32)
    walk = EnergyWalk(200, 0.02, 0.2, box=None)
    found = restore(energy, observed, Masked(known), walk, num_chains=1)
    np.testing.assert_array_equal(found.mean[:, 0], 1.0)
    assert abs(found.mean[:, 1].mean() - 0.8) < 0.1
    assert abs(found.mean[:, 1].std() - 0.6) < 0.08


def test_rows_may_each_have_a_mask_of_their_own():
    known = np.array([[True, False], [False, True], [True, True]])
    observed = np.array([[5.0, 0.0], [0.0, 6.0], [7.0, 8.0]], np.float32)
    walk = EnergyWalk(100, 0.1, 0.0, box=None)
    found = restore(normal_energy, observed, Masked(known), walk, batch_size=2)
    np.testing.assert_allclose(found.mean, observed, atol=1e-3)
    assert hidden_entries(Masked(known), observed).sum() == 2


def test_steps_are_chosen_on_rows_since_walking_on_destroys():
    # The energy's only minimum is at 0: a few steps take noise away, many the signal.
    x = np.ones((40, 8), np.float32)
    walks = [EnergyWalk(n, 0.1, 0.0, 0.0, box=None) for n in (1, 2, 60)]
    noise = GaussianNoise(0.5, None, None)
    chosen = choose_walk(normal_energy, x, noise, walks)
    assert chosen.walk.num_steps in (1, 2)
    assert chosen.scores[2] < chosen.scores[:2].min()


def test_the_ratio_of_signal_to_noise_is_in_decibels():
    x = np.zeros((2, 4))
    off = np.array([[0.2, 0.2, 0.2, 0.2], [0.02, 0.02, 9.0, 9.0]])
    counted = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
    np.testing.assert_allclose(psnr(x, off, where=counted), [20.0, 40.0])
    assert psnr(x, x)[0] == 60.0


def linear_vera():
    decoder = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    decoder.layers[0].set_weights([np.array([[1.0, 2.0]]), np.zeros(2)])
    return VERA(mlp_energy((2,), hidden=(4,)), GaussianGenerator(decoder))


def test_latents_walk_to_those_whose_output_was_observed():
    walk = LatentWalk(300, 0.01, tolerance=0.1)
    known = np.array([True, False])
    observed = np.array([[1.5, 0.0]], np.float32)
    found = restore(linear_vera(), observed, Masked(known), walk, num_chains=1)
    # z = 1.5 / (1 + 0.1^2), of which the second entry is the double.
    np.testing.assert_allclose(found.mean, [[1.5, 3.0 / 1.01]], atol=0.01)


def perfect_denoiser(size=2):
    """Of data `N(0, I)`: the energy's own scales are already right."""
    x, level = keras.Input((size,)), keras.Input((1,))
    return keras.Model([x, level], keras.layers.Rescaling(0.0)(x))


def test_the_energy_of_a_reconstruction_is_its_error_in_units_of_the_noise():
    network = ReconstructionEnergy(perfect_denoiser(), low=0.5, high=2.0)
    x = tf.constant([[1.0, 2.0]])
    # D(x) = x / (1 + s^2).
    for stddev in (0.5, 2.0):
        rest = 5.0 * (stddev**2 / (1 + stddev**2)) ** 2
        energy = network.level_energy(x, stddev)
        assert float(energy[0]) == pytest.approx(rest / (2 * stddev**2), rel=1e-5)
    assert network(x)[0, 0] == -network.level_energy(x, 0.5)[0]


@pytest.fixture(scope="module")
def denoising():
    keras.utils.set_random_seed(0)
    denoiser = convolutional_denoiser((4, 4, 1), filters=(8,), bottleneck=8)
    network = ReconstructionEnergy(denoiser, data_stddev=0.5)
    model = DenoisingModel(network)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    # Two pictures: one half white, the other black.
    x = np.where(np.arange(64)[:, None, None, None] % 2, KNOWN, ~KNOWN)
    x = np.where(x, 0.5, -0.5).astype(np.float32)
    history = model.fit(x, batch_size=64, epochs=150, verbose=0)
    return model, x, history


def test_training_by_noise_restores_what_it_saw(denoising, tmp_path):
    model, x, history = denoising
    assert history.history["loss"][-1] < 0.8 * history.history["loss"][0]
    hidden = Masked(KNOWN, 0.0)
    observed = hidden.corrupt(tf.constant(x[:4]), StepRandom(0, 0))
    walk = LevelWalk(10, data_stddev=0.5)
    found = restore(model, observed, hidden, walk, num_chains=2)
    # Grey for what is not known would be 12 decibels.
    assert psnr(x[:4], found.mean, where=~KNOWN).mean() > 14.0
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.energy(x[:4]), model.energy(x[:4]))
    assert model.evaluate(x, verbose=0, return_dict=True)["loss"] > 0


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: SaltAndPepper(1.0), "`share` must be below 1"),
        (lambda: GaussianNoise(0.0), "`stddev` must be a finite number above 0"),
        (lambda: GaussianNoise(1.0, -1.0, None), "`low` and `high` must both"),
        (lambda: GaussianNoise(1.0, 1.0, -1.0), "`low` must be below `high`"),
        (lambda: Masked(np.ones(3)), "`known` must be booleans"),
        (lambda: Masked(KNOWN, np.nan), "`hidden` must be a finite number"),
        (lambda: Downsampled(1), "`factor` must be an integer of at least 2"),
        (
            lambda: Downsampled(3).corrupt(tf.zeros((1, 4, 4, 1)), None),
            "`factor` must divide",
        ),
        (lambda: convolutional_denoiser((5, 4, 1)), "sides divisible by 4"),
        (lambda: ReconstructionEnergy(mlp_energy((2,))), "`denoiser` must be"),
        (
            lambda: ReconstructionEnergy(perfect_denoiser(), low=2.0, high=1.0),
            "`low` must be below `high`",
        ),
        (lambda: DenoisingModel(mlp_energy((2,))), "`network` must be an energy of"),
        (lambda: psnr(np.zeros((1, 2)), np.zeros((2, 2))), "shape of `x`"),
        (
            lambda: psnr(np.zeros((1, 2)), np.zeros((1, 2)), where=[[False] * 2]),
            "a True in every row",
        ),
        (lambda: choose_walk(normal_energy, KNOWN, None, []), "`walks` must hold"),
    ],
)
def test_what_cannot_be_restored_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def run(energy=normal_energy, observed=((1.0,),), walk=None, **options):
    noise = GaussianNoise(1.0, None, None)
    return restore(energy, np.array(observed), noise, walk or EnergyWalk(1), **options)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"observed": ((np.nan,),)}, "`observed` must be finite rows"),
        ({"observed": np.zeros((0, 1))}, "`observed` must be finite rows"),
        ({"num_chains": 0}, "`num_chains` must be an integer"),
        ({"walk": EnergyWalk(0)}, "`num_steps` must be an integer"),
        ({"walk": EnergyWalk(1, 0.0)}, "`step_size` must be"),
        ({"walk": LevelWalk(2, low=3.0, high=1.0)}, "`low` must not be above"),
        ({"walk": LatentWalk(1)}, "`energy` must be a model with a generator"),
        ({"walk": LevelWalk(1), "energy": linear_vera()}, "must have levels of noise"),
    ],
)
def test_a_walk_that_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        run(**options)


def test_chains_that_leave_the_numbers_are_told_of():
    with pytest.raises(RuntimeError, match="1 of 1 chains left the numbers"):
        run(walk=EnergyWalk(200, 1e3, box=None), num_chains=1)
