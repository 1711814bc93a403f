"""The choice of a score on stand-ins, against what must come out of it."""

import json

import keras
import numpy as np
import pytest

import keras_ebm as ebm
from keras_ebm.data import Column, TableSchema
from keras_ebm.layers import TableEncoder
from keras_ebm.ood import choose_score
from keras_ebm.ood.stand_ins import make_stand_ins


def model_of(weights, preprocessor=None, num_inputs=2):
    """An energy model of which features are inputs, and logits `features @ weights`."""
    inputs = keras.Input((num_inputs,))
    features = keras.layers.Dense(num_inputs, use_bias=False)
    logits = keras.layers.Dense(len(weights[0]), use_bias=False, name="logits")
    network = keras.Model(inputs, logits(features(inputs)))
    network.set_weights([np.eye(num_inputs), np.array(weights)])
    return ebm.EnergyModel(network, preprocessor=preprocessor)


def two_classes(count, seed):
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    x = rng.normal(0.0, 0.3, (count, 2)) + np.where(y[:, None] == 0, -4.0, 4.0)
    return x.astype(np.float32), y


TRAIN, VALIDATION = two_classes(200, 0), two_classes(120, 1)


@pytest.fixture(scope="module")
def blind():
    """The choice for a network that gives all rows the same logits."""
    model = model_of(np.zeros((2, 2)))
    names = ["energy", "max_softmax", "nearest", "energy+nearest"]
    return choose_score(model, VALIDATION, train=TRAIN, scores=names, seed=3)


def test_a_score_that_tells_the_stand_ins_apart_is_chosen(blind):
    # Blends lie about the origin, 12 standard deviations from the rows.
    assert blind.scores["energy"]["mean"] == 0.5
    assert blind.scores["nearest"]["auroc"]["blends"] == 1.0
    assert blind.score == "nearest" and blind.num_rows == 60
    assert "tells nothing" in blind.skipped["energy+nearest"]
    means = [found["mean"] for found in blind.scores.values()]
    assert means == sorted(means, reverse=True)
    # 200 rows and their centre, in float32.
    assert blind.scores["nearest"]["megabytes"] == pytest.approx(201 * 2 * 4 / 1e6)


def test_the_table_says_what_it_was_chosen_by(blind):
    text = blind.table()
    for part in (
        "blends",
        "uniform noise",
        "real foreign inputs may rank",
        "not tried",
    ):
        assert part in text
    assert json.loads(json.dumps(blind.to_json()))["score"] == "nearest"


def test_of_scores_that_tie_the_energy_wins():
    # logsumexp(|x|) grows away from the origin as the distance to the rows falls.
    model = model_of([[5.0, -5.0], [5.0, -5.0]])
    names = ["max_logit", "energy", "max_softmax"]
    choice = choose_score(model, VALIDATION, train=TRAIN, scores=names)
    difference = choice.scores["max_logit"]["mean"] - choice.scores["energy"]["mean"]
    assert abs(difference) < 0.005
    assert choice.score == "energy"


def test_without_classes_scores_of_classes_are_not_tried():
    model = model_of([[1.0], [1.0]])
    x = VALIDATION[0]
    train = TRAIN[0], np.full(len(TRAIN[0]), -1)
    names = ["entropy", "energy", "energy+knn"]
    choice = choose_score(model, x, train=train, scores=names)
    assert "needs classes" in choice.skipped["entropy"]
    assert set(choice.scores) == {"energy", "energy+knn"}


@pytest.mark.parametrize(
    "rows, message",
    [
        ({"a": VALIDATION[0]}, "must be one array of rows. Received: a dict"),
        (VALIDATION[0].astype(str), "must hold numbers. Received: strings"),
        (VALIDATION[0][:3], "four rows at least.*3 rows"),
        ((VALIDATION[0], VALIDATION[1][:5]), "120 rows and 5 labels"),
    ],
)
def test_what_no_stand_in_can_be_made_of_is_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        choose_score(model_of(np.eye(2)), rows, train=TRAIN)


def test_stand_ins_of_a_table_are_rows_that_it_could_hold():
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(size=50), rng.integers(0, 3, 50).astype(float)], axis=1)
    x[::5, 0] = np.nan
    labels = np.arange(50) % 2
    made = make_stand_ins(x, labels, categories={1: 3}, seed=0)
    assert set(made) == {"blends", "shuffled columns", "uniform noise"}
    for rows in made.values():
        assert rows.shape == x.shape and set(rows[:, 1]) == {0.0, 1.0, 2.0}
    np.testing.assert_array_equal(
        np.sort(made["shuffled columns"], axis=0), np.sort(x, axis=0)
    )
    # All rows with gaps have even and odd labels in turn: no two parents lack a cell
    # as often as one does.
    assert np.isnan(made["blends"][:, 0]).mean() < 0.2
    low, high = np.nanmin(x[:, 0]), np.nanmax(x[:, 0])
    noise = made["uniform noise"][:, 0]
    assert low <= noise.min() and noise.max() <= high


def test_blends_are_halfway_between_classes():
    x = np.repeat([[0.0, 0.0], [2.0, 4.0]], 3, axis=0)
    made = make_stand_ins(x, np.repeat([0, 1], 3))
    np.testing.assert_array_equal(made["blends"], np.tile([1.0, 2.0], (6, 1)))


@pytest.mark.parametrize("shape", [(8, 6, 3), (7, 5, 1), (9, 2)])
def test_stand_ins_of_images_keep_what_they_say(shape):
    x = np.random.default_rng(0).integers(50, 200, (4, *shape)).astype(np.uint8)
    made = make_stand_ins(x, np.arange(4))
    names = {"blends", "shuffled pixels", "scrambled phases", "uniform noise"}
    assert set(made) == names | ({"shuffled quadrants"} if len(shape) == 3 else set())
    for rows in made.values():
        assert rows.dtype == np.uint8 and rows.shape == x.shape
        assert x.min() <= rows.min() and rows.max() <= x.max()
    pixels = [rows.reshape(4, -1, shape[-1]) for rows in (x, made["shuffled pixels"])]
    np.testing.assert_array_equal(*[np.sort(p, axis=1) for p in pixels])
    smooth = 0.1 * x.astype(np.float64) + 100.0
    smooth[0, 0, 0], smooth[0, -1, -1] = -1e3, 1e3  # A range that clips nothing.
    phases = make_stand_ins(smooth, np.arange(4))["scrambled phases"]
    axes = tuple(range(1, x.ndim - 1))
    spectra = [np.abs(np.fft.fftn(rows, axes=axes)) for rows in (smooth, phases)]
    np.testing.assert_allclose(spectra[0][1:], spectra[1][1:], rtol=1e-6)


def test_words_of_a_table_are_told_from_its_numbers():
    schema = TableSchema(
        (Column("n", "numeric"), Column("w", "categorical", ("a", "b")))
    )
    encoder = TableEncoder(schema)
    x = np.stack([TRAIN[0][:, 0], TRAIN[1].astype(np.float32)], axis=1)
    encoder.adapt(x)
    model = model_of(np.eye(4, 2), encoder, num_inputs=4)
    choice = choose_score(model, (x, TRAIN[1]), train=(x, TRAIN[1]), scores=["energy"])
    assert set(choice.scores["energy"]["auroc"]) == {
        "blends",
        "shuffled columns",
        "uniform noise",
    }


@pytest.mark.parametrize("shape", [(4, 6, 2), (5, 7, 1)])
def test_quadrants_change_places_and_no_image_stays_as_it_was(shape):
    x = np.arange(60 * np.prod(shape), dtype=np.float32).reshape(60, *shape)
    made = make_stand_ins(x, np.arange(60))["shuffled quadrants"]
    flat = [np.sort(one.reshape(60, -1), axis=1) for one in (x, made)]
    np.testing.assert_array_equal(*flat)
    assert not np.any(np.all(made == x, axis=(1, 2, 3)))
    half = shape[0] // 2, shape[1] // 2
    corners = [x[:, i * -half[0] :, j * -half[1] :] for i in (0, 1) for j in (0, 1)]
    corners = [corner[:, : half[0], : half[1]] for corner in corners]
    own = made[:, : half[0], : half[1]]
    taken = [np.all(own == corner, axis=(1, 2, 3)) for corner in corners]
    # Each quadrant comes to the first place, and always one of them.
    assert np.all(np.sum(taken, axis=0) == 1) and all(np.any(t) for t in taken)
