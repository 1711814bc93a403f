import keras
import numpy as np
import pytest
import tensorflow as tf
from support import compile_sgd, make_vera, rows

from keras_ebm.negatives import Blend, ColumnShuffle, CutAndBlend, CutJoin, Jitter
from keras_ebm.negatives.batch import partners
from keras_ebm.random import StepRandom

RANDOM = StepRandom(0, 0)
IMAGES = np.random.default_rng(0).normal(size=(32, 6, 8, 2)).astype(np.float32)
VECTORS = np.random.default_rng(1).normal(size=(32, 40)).astype(np.float32)
NEGATIVES = [CutJoin(), Blend(), CutAndBlend(), Jitter()]


def named(value):
    return type(value).__name__


def test_neighbours_are_partners():
    np.testing.assert_array_equal(partners(tf.range(6)), [1, 0, 3, 2, 5, 4])


def test_the_last_of_an_odd_batch_meets_the_first():
    np.testing.assert_array_equal(partners(tf.range(5)), [1, 0, 3, 2, 0])


@pytest.mark.parametrize("x", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_every_part_of_a_join_is_one_of_its_parents(x):
    joined = CutJoin()(tf.constant(x), RANDOM).numpy()
    other = partners(x).numpy()
    own, theirs = joined == x, joined == other
    assert np.all(own ^ theirs)
    axes = tuple(range(1, x.ndim))
    assert np.all(own.any(axes)) and np.all(theirs.any(axes))


def test_a_cut_keeps_the_channels_of_a_pixel_together():
    own = CutJoin()(tf.constant(IMAGES), RANDOM).numpy() == IMAGES
    assert np.all(own[..., 0] == own[..., 1])


def test_cuts_go_straight_and_in_every_direction():
    x = np.random.default_rng(0).normal(size=(400, 9, 9, 1)).astype(np.float32)
    own = (CutJoin()(tf.constant(x), RANDOM).numpy() == x)[..., 0]
    # A row of pixels crosses a straight line at most once.
    assert np.abs(np.diff(own.astype(int), axis=1)).sum(1).max() == 1
    assert np.abs(np.diff(own.astype(int), axis=2)).sum(2).max() == 1
    # Left, right, top and bottom are kept equally often: standard error 0.025.
    for half in (own[:, :, 0], own[:, :, -1], own[:, 0], own[:, -1]):
        assert abs(half.mean() - 0.5) < 0.1


def test_features_of_vectors_come_from_either_parent_half_the_time():
    own = CutJoin()(tf.constant(VECTORS), RANDOM).numpy() == VECTORS
    assert abs(own.mean() - 0.5) < 5 * 0.5 / np.sqrt(own.size)


@pytest.mark.parametrize("x", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_blends_have_one_weight_a_row_within_the_share(x):
    blended = Blend((0.2, 0.6))(tf.constant(x), RANDOM).numpy()
    gap = x - partners(x).numpy()
    # x_neg = partner + w (x - partner), so least squares gives w back.
    flat = gap.reshape(len(x), -1)
    moved = (blended - partners(x).numpy()).reshape(len(x), -1)
    weight = np.sum(moved * flat, -1) / np.sum(flat * flat, -1)
    np.testing.assert_allclose(moved, weight[:, None] * flat, atol=1e-5)
    assert 0.2 - 1e-5 <= weight.min() < 0.3 and 0.5 < weight.max() <= 0.6 + 1e-5


@pytest.mark.parametrize("share", [(-0.1, 0.5), (0.7, 0.3), (0.5, 1.1)])
def test_a_share_outside_0_and_1_is_refused(share):
    with pytest.raises(ValueError, match="`share` must satisfy"):
        Blend(share)


@pytest.mark.parametrize("x", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_pairs_alternate_between_cut_and_blend(x):
    mixed = CutAndBlend()(tf.constant(x), RANDOM).numpy()
    is_cut = np.all(
        (mixed == x) | (mixed == partners(x).numpy()), axis=tuple(range(1, x.ndim))
    )
    np.testing.assert_array_equal(is_cut, np.arange(len(x)) // 2 % 2 == 0)


@pytest.mark.parametrize("negatives", NEGATIVES[:3], ids=named)
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("x", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_small_and_odd_batches_stay_between_their_parents(negatives, size, x):
    x = tf.constant(x[:size])
    made = negatives(x, RANDOM)
    low, high = tf.minimum(x, partners(x)), tf.maximum(x, partners(x))
    assert made.shape == x.shape
    assert np.all(made >= low - 1e-5) and np.all(made <= high + 1e-5)


@pytest.mark.parametrize("negatives", NEGATIVES, ids=named)
def test_another_iteration_mixes_otherwise(negatives):
    x = tf.constant(VECTORS)
    made = negatives(x, RANDOM)
    np.testing.assert_array_equal(made, negatives(x, StepRandom(0, 0)))
    assert not np.array_equal(made, negatives(x, StepRandom(0, 1)))


@pytest.mark.parametrize(
    "negatives", [CutJoin(), Blend((0.1, 0.2)), CutAndBlend()], ids=named
)
def test_the_config_round_trips(negatives):
    config = keras.saving.serialize_keras_object(negatives)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(negatives)
    x = tf.constant(VECTORS)
    np.testing.assert_array_equal(copy(x, RANDOM), negatives(x, RANDOM))


@keras.saving.register_keras_serializable(package="tests")
def shuffled_columns(x, random):
    """A user's own negatives: each column rolled by its position."""
    del random
    return tf.stack([tf.roll(x[:, i], i, 0) for i in range(x.shape[1])], axis=1)


def test_a_users_function_serves_as_negatives_and_is_saved(tmp_path):
    x, y = rows(6)
    model = compile_sgd(make_vera(objective="logistic", negatives=shuffled_columns))
    (made,), _ = model.draw_negatives(tf.constant(x), RANDOM)
    np.testing.assert_array_equal(made[:, 1], np.roll(x[:, 1], 1))
    model.train_step((x, y))
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.negatives is shuffled_columns


def test_jitter_is_as_wide_as_it_says():
    x = np.zeros((4000, 50), np.float32)
    moved = Jitter((0.1, 10.0))(tf.constant(x), RANDOM).numpy()
    widths = np.log(moved.std(axis=1))
    # Log-uniform over log 100 = 4.6: mean 0 to 5 standard errors, and of 50 draws
    # a width is known to about a tenth.
    assert abs(widths.mean()) < 5 * 4.6 / np.sqrt(12 * 4000) + 0.02
    np.testing.assert_allclose(widths.std(), 4.6 / np.sqrt(12), rtol=0.03)
    assert np.log(0.1) - 0.4 < widths.min() and widths.max() < np.log(10.0) + 0.4


@pytest.mark.parametrize("stddev", [(0.0, 1.0), (2.0, 1.0)])
def test_jitter_needs_two_widths(stddev):
    with pytest.raises(ValueError, match="0 < low < high"):
        Jitter(stddev)


def test_a_shuffle_keeps_each_column_and_parts_rows():
    shuffled = ColumnShuffle()(tf.constant(VECTORS), RANDOM).numpy()
    again = ColumnShuffle()(tf.constant(VECTORS), RANDOM).numpy()
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(VECTORS, axis=0))
    np.testing.assert_array_equal(shuffled, again)
    # Two columns that were one are none any more.
    pair = np.repeat(VECTORS[:, :1], 2, axis=1)
    dealt = ColumnShuffle()(tf.constant(pair), RANDOM).numpy()
    assert np.mean(dealt[:, 0] == dealt[:, 1]) < 0.2
    # Of 40 columns of 32 rows one value each stays in its place: standard error 0.16.
    assert 0.2 < np.sum(shuffled == VECTORS) / 40 < 1.8


def test_a_shuffle_takes_codes_but_no_images():
    codes = np.arange(12, dtype=np.int32).reshape(6, 2)
    dealt = ColumnShuffle()(tf.constant(codes), RANDOM).numpy()
    assert dealt.dtype == np.int32
    np.testing.assert_array_equal(np.sort(dealt, axis=0), codes)
    with pytest.raises(ValueError, match="ColumnShuffle takes vectors"):
        ColumnShuffle()(tf.constant(IMAGES), RANDOM)


COLUMNS = {
    "number": VECTORS[:, :1],
    "image": IMAGES,
    "word": np.array([f"word {row}" for row in range(32)], object)[:, None],
    "tokens": np.arange(128, dtype=np.int32).reshape(32, 4),
}


def own_inputs(x, made):
    """Which whole inputs of each row are its own; the others are its partner's."""
    own = []
    for part, joined in zip(tf.nest.flatten(x), tf.nest.flatten(made), strict=True):
        axes = tuple(range(1, part.shape.rank))
        is_own = np.all(joined.numpy() == part.numpy(), axes)
        is_other = np.all(joined.numpy() == partners(part).numpy(), axes)
        assert joined.dtype == part.dtype and np.all(is_own ^ is_other)
        own.append(is_own)
    return np.stack(own, axis=1)


@pytest.mark.parametrize("names", [list(COLUMNS), ["word", "tokens"]])
@pytest.mark.parametrize("as_list", [False, True], ids=["dict", "list"])
def test_of_several_inputs_each_is_whole_and_not_all_of_one_parent(names, as_list):
    x = {name: tf.constant(COLUMNS[name]) for name in names}
    x = list(x.values()) if as_list else x
    made = [CutJoin()(x, StepRandom(0, step)) for step in range(20)]
    own = np.concatenate([own_inputs(x, joined) for joined in made])
    assert np.all(own.any(axis=1) & ~own.all(axis=1))
    # Either parent gives each input half the time: standard error 0.02 of 640 rows.
    assert np.abs(own.mean(axis=0) - 0.5).max() < 0.1


def test_a_join_of_several_inputs_has_their_values_and_not_their_dependence():
    same = {name: tf.constant(VECTORS[:, :1]) for name in ("one", "other")}
    made = CutJoin().draw(None, same, RANDOM).x
    for part in made.values():
        np.testing.assert_array_equal(np.isin(part, VECTORS[:, :1]), True)
    assert np.all(made["one"].numpy() != made["other"].numpy())


def test_a_shuffle_of_several_inputs_is_refused_with_what_takes_them():
    with pytest.raises(ValueError, match="a dict of several inputs; use CutJoin"):
        ColumnShuffle()({"a": VECTORS, "b": VECTORS}, RANDOM)
