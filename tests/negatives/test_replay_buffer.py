import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ebm.negatives import ReplayBuffer
from keras_ebm.random import StepRandom


def fill(buffer, values, iteration=0, labels=None):
    """Takes slots and puts one-number states into the buffer."""
    random = StepRandom(0, iteration)
    states = tf.reshape(tf.constant(values, tf.float32), [-1, 1])
    slots, *_ = buffer.take(len(values), random)
    buffer.put(slots, states, random, labels)
    return slots


def test_a_ring_drops_the_oldest():
    buffer = ReplayBuffer((1,), 5, replacement="ring")
    for i in range(4):
        fill(buffer, [3 * i, 3 * i + 1, 3 * i + 2], i)
    assert sorted(buffer.states.numpy()[:, 0]) == [7, 8, 9, 10, 11]


def test_a_ring_is_used_as_soon_as_it_holds_a_batch_and_only_where_it_is_filled():
    buffer = ReplayBuffer((1,), 100, replacement="ring")
    random = StepRandom(0, 0)
    assert not np.any(buffer.take(4, random)[3])
    fill(buffer, [5.0, 6.0, 7.0, 8.0])
    _, states, _, known = buffer.take(400, StepRandom(0, 1))
    assert not np.any(known)  # 400 rows are more than it holds
    _, states, _, known = buffer.take(4, StepRandom(0, 1))
    assert np.all(known) and set(states.numpy()[:, 0]) <= {5.0, 6.0, 7.0, 8.0}


def test_states_taken_in_turn_go_back_where_they_came_from():
    buffer = ReplayBuffer((1,), 10, in_turn=True)
    slots = fill(buffer, [1.0, 2.0, 3.0, 4.0], 2)
    np.testing.assert_array_equal(slots, [8, 9, 0, 1])
    expected = [3.0, 4.0, 0, 0, 0, 0, 0, 0, 1.0, 2.0]
    np.testing.assert_array_equal(buffer.states.numpy()[:, 0], expected)
    np.testing.assert_array_equal(buffer.visited.numpy(), np.array(expected) > 0)
    _, states, _, known = buffer.take(4, StepRandom(0, 2))
    assert np.all(known)
    np.testing.assert_array_equal(states[:, 0], [1.0, 2.0, 3.0, 4.0])


def test_in_place_the_last_of_two_chains_from_one_slot_stays():
    buffer = ReplayBuffer((1,), 3)
    random = StepRandom(0, 0)
    slots = tf.constant([1, 1, 0, 1])
    buffer.put(slots, tf.constant([[1.0], [2.0], [3.0], [4.0]]), random)
    np.testing.assert_array_equal(buffer.states.numpy()[:, 0], [3.0, 4.0, 0.0])


def test_a_reservoir_is_a_uniform_sample_of_all_that_was_ever_stored():
    counts = np.zeros(40)
    buffer = ReplayBuffer((1,), 10, replacement="reservoir")

    @tf.function(autograph=False)
    def store(seed, i):
        random = StepRandom(seed, i)
        values = 5.0 * tf.cast(i, tf.float32) + tf.range(5.0)
        buffer.put(buffer.take(5, random)[0], values[:, None], random)

    for seed in range(300):
        buffer.stored.assign(0)
        for i in range(8):
            store(tf.constant(seed, tf.int64), tf.constant(i, tf.int64))
        counts[buffer.states.numpy()[:, 0].astype(int)] += 1
    # Each of 40 is kept with probability about 1/4 (two of a batch that want
    # one slot make it a little less for the earlier): 75 of 300, standard
    # deviation 7.5.
    assert counts.sum() == 3000
    assert np.abs(counts - 75).max() < 5 * 7.5


def test_bytes_keep_the_mean_and_lose_less_than_a_level():
    buffer = ReplayBuffer((1000,), 2, in_turn=True, storage="uint8")
    assert buffer.states.dtype == "uint8"
    x = tf.random.stateless_uniform([2, 1000], [0, 1], -1.0, 1.0)
    buffer.put(tf.constant([0, 1]), x, StepRandom(0, 0))
    _, states, _, _ = buffer.take(2, StepRandom(0, 0))
    error = states.numpy() - x.numpy()
    assert np.abs(error).max() < 2 / 256
    # Difference of two uniforms a level wide: 2 / 256 / sqrt(6) over 2,000 entries.
    assert abs(error.mean()) < 5 * 2 / 256 / np.sqrt(6 * 2000)
    edges = tf.constant([[-1.0] * 1000, [1.0] * 1000])
    buffer.put(tf.constant([0, 1]), edges, StepRandom(0, 0))
    assert buffer.states.numpy()[0].max() == 0 and buffer.states.numpy()[1].min() == 255


def test_labels_come_back_with_their_states():
    buffer = ReplayBuffer((1,), 4, in_turn=True, store_labels=True)
    fill(buffer, [1.0, 2.0, 3.0, 4.0], labels=tf.constant([7, 8, 9, 6]))
    np.testing.assert_array_equal(buffer.take(4, StepRandom(0, 0))[2], [7, 8, 9, 6])


def test_a_saved_buffer_can_be_cut_for_another_number_of_replicas(strategy, tmp_path):
    alone = ReplayBuffer((1,), 8, replacement="ring")
    fill(alone, [1.0, 2.0, 3.0, 4.0])
    store = {}
    alone.save_own_variables(store)
    with strategy.scope():
        parted = ReplayBuffer((1,), 8, replacement="ring")
    parted.load_own_variables(store)
    for name, value in alone.whole().items():
        np.testing.assert_array_equal(parted.whole()[name], value)

    def add():
        random = StepRandom(0, 0)
        slots, _, _, known = parted.take(2, random)
        value = 10.0 + tf.cast(
            tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32
        )
        parted.put(slots, tf.fill([2, 1], value), random)
        return known

    known = strategy.run(tf.function(add, autograph=False))
    assert all(np.all(k) for k in strategy.experimental_local_results(known))
    states = parted.whole()["states"][:, 0]
    np.testing.assert_array_equal(states, [1, 2, 3, 4, 10, 11, 10, 11])


def test_a_reset_empties_the_parts_of_all_replicas(strategy):
    alone = ReplayBuffer((1,), 8, store_labels=True, replacement="ring")
    fill(alone, [1.0, 2.0, 3.0, 4.0], labels=tf.constant([0, 1, 1, 0]))
    store = {}
    alone.save_own_variables(store)
    with strategy.scope():
        parted = ReplayBuffer((1,), 8, store_labels=True, replacement="ring")
    parted.load_own_variables(store)
    parted.reset(1)
    assert held(parted) == [1.0, 4.0] and parted.whole()["stored"] == 2
    parted.reset()
    assert held(parted) == [] and parted.whole()["stored"] == 0


def test_a_buffer_serves_the_replicas_it_was_built_for(strategy):
    buffer = ReplayBuffer((1,), 8)
    with pytest.raises(ValueError, match="built for 1 replicas, running on 2"):
        strategy.run(lambda: buffer.take(2, StepRandom(0, 0))[0])
    with strategy.scope(), pytest.raises(ValueError, match="`capacity` must be a mult"):
        ReplayBuffer((1,), 7)


def test_another_capacity_than_the_saved_one_is_refused():
    store = {}
    ReplayBuffer((1,), 8).save_own_variables(store)
    with pytest.raises(ValueError, match="capacity=4 for 8 saved states"):
        ReplayBuffer((1,), 4).load_own_variables(store)


def test_configuration_makes_the_same_buffer():
    buffer = ReplayBuffer(
        (2, 3), 4, storage="uint8", value_range=(0.0, 1.0), store_labels=True
    )
    copy = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(buffer)
    )
    assert copy.get_config() == buffer.get_config()


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"capacity": 0}, "`capacity` must be an integer"),
        ({"replacement": "stack"}, "`replacement` must be one of"),
        ({"storage": "int4"}, "`storage` must be one of"),
        ({"value_range": (1.0, 1.0)}, "`value_range` must be"),
        ({"in_turn": True, "replacement": "ring"}, "`in_turn` needs"),
    ],
)
def test_arguments_are_checked(arguments, match):
    with pytest.raises(ValueError, match=match):
        ReplayBuffer((2,), **arguments)


def held(buffer):
    whole = buffer.whole()
    return sorted(whole["states"][whole["visited"] > 0][:, 0])


@pytest.mark.parametrize("replacement", ["in_place", "ring", "reservoir"])
def test_a_buffer_that_is_reset_gives_no_state_until_it_is_filled_again(replacement):
    buffer = ReplayBuffer((1,), 4, replacement=replacement)
    fill(buffer, [1.0, 2.0, 3.0])
    buffer.reset()
    assert held(buffer) == [] and not buffer.holds(1)
    assert not np.any(buffer.take(2, StepRandom(0, 1))[3])
    fill(buffer, [5.0, 6.0], 2)
    assert set(held(buffer)) <= {5.0, 6.0} and held(buffer)


@pytest.mark.parametrize("replacement", ["in_place", "ring", "reservoir"])
def test_a_reset_of_some_classes_leaves_the_states_of_the_others(replacement):
    buffer = ReplayBuffer((1,), 6, replacement=replacement, store_labels=True)
    slots = fill(buffer, [1.0, 2.0, 3.0, 4.0], labels=tf.constant([0, 1, 2, 1]))
    slots = slots.numpy() if replacement == "in_place" else np.arange(4)
    # In place, of two states in one slot the last stays.
    stored = zip([1.0, 2.0, 3.0, 4.0], [0, 1, 2, 1], strict=True)
    left = dict(zip(slots, stored, strict=True))
    expected = sorted(value for value, label in left.values() if label != 1)
    buffer.reset([1])
    assert held(buffer) == expected
    assert int(buffer.whole()["stored"]) == len(expected)
    buffer.reset(0)
    assert held(buffer) == [value for value in expected if value != 1.0]


def test_after_a_reset_of_a_class_a_full_ring_still_drops_the_oldest():
    buffer = ReplayBuffer((1,), 4, replacement="ring", store_labels=True)
    labels = [0, 1, 0, 1, 0, 0]
    for i, label in enumerate(labels):
        fill(buffer, [i + 1.0], i, labels=tf.constant([label]))
    assert held(buffer) == [3.0, 4.0, 5.0, 6.0]
    buffer.reset(1)
    fill(buffer, [7.0, 8.0], 9, labels=tf.constant([0, 0]))
    assert held(buffer) == [5.0, 6.0, 7.0, 8.0]


@pytest.mark.parametrize(
    "store_labels, labels, words",
    [(False, 3, "store_labels=True. Received: labels=3"), (True, 0.5, "labels=0.5")],
)
def test_a_reset_by_what_is_no_class_is_refused(store_labels, labels, words):
    buffer = ReplayBuffer((1,), 4, store_labels=store_labels)
    fill(buffer, [1.0])
    with pytest.raises(ValueError, match=words):
        buffer.reset(labels)
    assert held(buffer) == [1.0]
