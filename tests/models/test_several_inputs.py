"""Models of several inputs, of numbers and strings, by Keras's own ways."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import layers
from support import make_generator

import keras_ebm as ebm
from keras_ebm.negatives import Blend, CutJoin, Jitter, LangevinMoves, MarkovChains

RNG = np.random.default_rng(0)
COUNT = 24
#: One row a name: a frame's columns are an input each.
FRAME = pd.DataFrame(
    {
        "age": RNG.normal(size=COUNT),
        "job": RNG.choice(["clerk", "nurse", "smith"], COUNT),
    }
)
X = {"job": FRAME["job"].to_numpy(str), "age": FRAME["age"].to_numpy()}
Y = np.arange(COUNT) % 3


def make_network():
    keras.utils.set_random_seed(0)
    age = keras.Input((1,), name="age")
    job = keras.Input((1,), dtype="string", name="job")
    lookup = layers.StringLookup(vocabulary=["clerk", "nurse"], output_mode="one_hot")
    x = layers.Concatenate()([age, lookup(job)])
    outputs = layers.Dense(3, "softmax")(layers.Dense(4, "relu")(x))
    return ebm.networks.from_classifier(keras.Model([age, job], outputs))


@pytest.fixture(scope="module")
def model():
    model = ebm.EnergyModel(make_network())
    model.compile(keras.optimizers.SGD(0.0))
    return model


def dataset(*parts):
    return tf.data.Dataset.from_tensor_slices(parts).batch(8)


FORMS = {
    "dict": lambda: (X, Y),
    "list": lambda: ([X["age"], X["job"]], Y),
    "frame": lambda: (FRAME, pd.Series(Y)),
    "batches": lambda: (dataset(X, Y),),
    "batches of columns": lambda: (dataset({n: p[:, None] for n, p in X.items()}, Y),),
}


@pytest.mark.parametrize("form", FORMS)
def test_dicts_lists_frames_and_batches_are_the_same_rows(model, form):
    expected = model.evaluate(X, Y, verbose=0, return_dict=True)
    given = FORMS[form]()
    shuffle = {} if len(given) == 2 else {"shuffle": False}
    history = model.fit(*given, batch_size=None, verbose=0, **shuffle).history
    found = model.evaluate(*given, verbose=0, return_dict=True)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5)
        # At a rate of 0 an epoch measures as well.
        assert history[name][0] == pytest.approx(value, rel=1e-5)
    inputs = given[0] if len(given) == 2 else given[0].map(lambda x, y: x)
    logits = model.logits(
        {name: tf.constant(part.tolist()) for name, part in X.items()}
    )
    np.testing.assert_allclose(model.predict(inputs, verbose=0), logits, atol=1e-6)


def test_weights_weigh_rows_of_several_inputs(model):
    weights = RNG.random(COUNT)
    history = model.fit(X, Y, sample_weight=weights, batch_size=COUNT, verbose=0)
    logits = model.predict(X, verbose=0)
    losses = -np.log(keras.ops.softmax(logits).numpy()[np.arange(COUNT), Y])
    expected = np.mean(weights * losses)
    assert history.history["loss"][0] == pytest.approx(expected, rel=1e-5)
    measured = model.evaluate(X, Y, sample_weight=weights, verbose=0, return_dict=True)
    assert measured["loss"] == pytest.approx(expected, rel=1e-5)
    by_class = np.array([0.5, 2.0, 3.0])
    for given in ((X, Y), (dataset(X, Y),)):
        history = model.fit(
            *given, class_weight=dict(enumerate(by_class)), shuffle=False, verbose=0
        )
        expected = np.mean(by_class[Y] * losses)
        assert history.history["loss"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "x, match",
    [
        ({"age": X["age"]}, "`x` must be a dict of the model's inputs.*without 'job'"),
        ({"age": X["age"], "job": X["job"][:3]}, "as many rows for each input"),
        ({"age": X["age"], "job": X["age"]}, r"`x\['job'\]` must hold strings"),
        ({**X, "age": X["age"] * np.nan}, r"`x\['age'\]` must be finite"),
        ({**X, "age": np.ones((COUNT, 2))}, r"`x\['age'\]` must be of shape"),
    ],
)
def test_inputs_of_another_kind_are_refused_before_a_step(model, x, match):
    with pytest.raises(ValueError, match=match):
        model.fit(x, Y, verbose=0)
    if "finite" not in match:
        for way in (model.evaluate, model.predict):
            with pytest.raises(ValueError, match=match):
                way(x, verbose=0)


def test_keras_exports_the_inputs_by_their_names_and_saves_the_model(model, tmp_path):
    expected = model.predict(X, verbose=0)
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served")
    for count in (1, COUNT):
        request = {n: tf.constant(p[:count, None].tolist()) for n, p in X.items()}
        np.testing.assert_allclose(served.serve(request), expected[:count], atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), expected)
    assert loaded.predict({n: p[:0] for n, p in X.items()}, verbose=0).shape == (0, 3)


def test_inputs_that_belong_together_are_told_from_joins_of_others():
    # The job follows from the age: a join of two rows breaks that.
    age = np.where(np.arange(200) % 2, 1.0, -1.0)
    x = {"age": age, "job": np.where(age > 0, "clerk", "nurse")}
    model = ebm.EnergyModel(
        make_network(), negatives=CutJoin(), objective="logistic", seed=1
    )
    model.compile(keras.optimizers.Adam(0.05))
    model.fit(x, np.full(200, -1), epochs=30, batch_size=50, verbose=0)
    paired = {"age": [1.0, -1.0], "job": ["clerk", "nurse"]}
    parted = {"age": [1.0, -1.0], "job": ["nurse", "clerk"]}
    low, high = (
        np.asarray(model.energy({n: tf.constant(p) for n, p in rows.items()}))
        for rows in (paired, parted)
    )
    assert low.max() < high.min()


COMPUTING = {
    "Blend": {"negatives": Blend()},
    "Jitter": {"negatives": Jitter()},
    "MarkovChains": {"negatives": MarkovChains(LangevinMoves(1))},
    "data_stddev": {"data_stddev": 0.1},
    "gradient_penalty": {"gradient_penalty": 0.1},
    "semi_supervised": {
        "semi_supervised": ebm.objectives.SemiSupervised(virtual_adversarial_weight=1.0)
    },
}


@pytest.mark.parametrize("name", COMPUTING)
def test_what_computes_is_refused_for_several_inputs_of_floats(name):
    inputs = [keras.Input((2,)), keras.Input((2,))]
    network = keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(inputs)))
    match = f"`.*{name}.*` needs a network of one input of floats.*CutJoin"
    with pytest.raises(ValueError, match=match):
        ebm.EnergyModel(network, **COMPUTING[name])
    with pytest.raises(ValueError, match="`generator` needs a network of one input"):
        ebm.VERA(network, make_generator())
