"""A network cut in two: heads on the features of a frozen body, and back together."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import LATENTS

import keras_ebm as ebm
from keras_ebm.generators import GaussianGenerator
from keras_ebm.networks import body_features, from_classifier, mlp_decoder, split

X = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
Y = np.arange(20) % 3
FEATURES = 5
#: Passes of the layer that counts them.
PASSES: list = []


@keras.saving.register_keras_serializable(package="splitting")
class Counting(keras.layers.Layer):
    """Gives what it takes, and notes each pass with numbers."""

    def call(self, x):
        if isinstance(x, keras.KerasTensor):
            return x
        # Of a graph it is asked at every pass.
        size = tf.shape(x)[:1]
        noted = tf.numpy_function(
            lambda n: PASSES.append(int(n[0])) or n, [size], "int32"
        )
        with tf.control_dependencies([noted]):
            return tf.identity(x)


def make_network(seed=0, scale=1.0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6,))
    x = layers.Rescaling(scale)(Counting()(inputs))
    x = layers.Dense(8, "relu", name="one")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(FEATURES, "relu", name="two")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    return from_classifier(keras.Model(inputs, layers.Dense(3, "softmax")(x)))


@pytest.fixture
def network():
    return make_network()


@pytest.mark.parametrize("at, size", [(None, 5), ("one", 8), ("two", 5), ("drop", 5)])
def test_body_and_head_are_the_network(network, at, size):
    body, head = split(network, at)
    assert body.output_shape == (None, size)
    np.testing.assert_array_equal(head(body(X)), network(X))
    assert not body.trainable_variables and head.trainable_variables
    own = {id(weight) for weight in network.weights}
    assert {id(weight) for weight in body.weights + head.weights} == own


def residual():
    inputs = keras.Input((6,), name="row")
    x = layers.Add(name="sum")([layers.Dense(6, name="passed")(inputs), inputs])
    return keras.Model(inputs, layers.Dense(3)(x))


def meeting():
    inputs = keras.Input((6,))
    parts = [layers.Dense(3, name=name)(inputs) for name in ("p", "q")]
    return keras.Model(inputs, layers.Add()(parts))


class Whole(keras.Model):
    """A class whose call is another in training, of layers that are not known."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [layers.Dense(4), layers.Dense(3)]

    def call(self, x, training=False):
        x = self.parts[0](x)
        return self.parts[1](-x if training else x)


def whole():
    model = Whole()
    model(X)
    return from_classifier(model)


@pytest.mark.parametrize(
    "make, at, match",
    [
        (residual, "passed", "`at` .*'passed'.* the way from the input 'row' passes"),
        (residual, "nowhere", "`at` must be the name of a layer.*'passed', 'sum'"),
        (meeting, None, "`at` must name a layer.*ways meet.*'p'"),
        (whole, None, "`at` must name a layer.*itself of several layers"),
        (lambda: keras.Sequential([layers.Dense(3)]), None, "must be functional"),
        (lambda: "a name", None, "`network` must be functional.*Received: 'a name'"),
    ],
)
def test_a_cut_that_leaves_a_way_is_refused_by_name(make, at, match):
    with pytest.raises(ValueError, match=match):
        split(make(), at)
    body, head = split(residual(), "sum")
    assert head(body(X)).shape == (20, 3)


def asked(body, x, cache):
    """Features, and whether the body was called for them."""
    PASSES.clear()
    features = body_features(body, x, cache=cache, batch_size=8)
    assert PASSES in ([], [8, 8, 4], [8, 8, 3])
    return features, bool(PASSES)


def test_features_are_computed_once_for_the_same_body_and_rows(network, tmp_path):
    body, _ = split(network)
    first, was_called = asked(body, X, tmp_path / "new" / "cache")
    assert was_called
    np.testing.assert_array_equal(first, body(X))
    # The same network, as another process makes it: layers have other names.
    for again in (body, split(make_network())[0]):
        found, was_called = asked(again, X, tmp_path / "new" / "cache")
        assert not was_called
        np.testing.assert_array_equal(found, first)


def other_weights(body, x):
    weight = body.weights[0]
    weight.assign(weight + 1e-6)
    return body, x


OTHERS = {
    "weights": other_weights,
    "rows": lambda body, x: (body, np.concatenate([x[:3] + 1e-6, x[3:]])),
    "fewer rows": lambda body, x: (body, x[1:]),
    "order": lambda body, x: (body, x[::-1]),
    "type": lambda body, x: (body, x.astype(np.float64)),
    "configuration": lambda body, x: (split(make_network(scale=2.0))[0], x),
    "layer": lambda body, x: (split(make_network(), "one")[0], x),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_bodies_and_rows_are_never_taken_for_the_same(network, tmp_path, name):
    body, _ = split(network)
    asked(body, X, tmp_path)
    body, x = OTHERS[name](body, X)
    found, was_called = asked(body, x, tmp_path)
    assert was_called and len(os.listdir(tmp_path)) == 2
    np.testing.assert_array_equal(found, body(x.astype(np.float32)))


def texts_of(vocabulary):
    lookup = layers.StringLookup(vocabulary=vocabulary, output_mode="one_hot")
    inputs = keras.Input((1,), dtype="string")
    return keras.Model(inputs, lookup(inputs))


def test_texts_and_vocabularies_are_told_apart(tmp_path):
    body, texts = texts_of(["a", "b"]), np.array(["a", "b", "c"])
    expected = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    for _ in range(2):
        found = body_features(body, texts, cache=tmp_path)
        np.testing.assert_array_equal(found, expected)
    assert len(os.listdir(tmp_path)) == 1
    body_features(texts_of(["b", "a"]), texts, cache=tmp_path)
    body_features(body, np.array(["a", "b", "c "]), cache=tmp_path)
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda path, kept: path.write_bytes(b"junk"),
        lambda path, kept: path.write_bytes(path.read_bytes()[:-30]),
        lambda path, kept: path.write_bytes(b""),
        lambda path, kept: np.savez(path, other=kept),
        lambda path, kept: np.savez(path, features=kept[1:]),
    ],
)
def test_a_damaged_file_is_computed_anew(network, tmp_path, damage):
    body, _ = split(network)
    first, _ = asked(body, X, tmp_path)
    (path,) = tmp_path.iterdir()
    damage(path, first)
    for expected in (True, False):
        found, was_called = asked(body, X, tmp_path)
        assert was_called == expected
        np.testing.assert_array_equal(found, first)


def test_features_of_half_precision_are_kept_in_it(tmp_path):
    body = keras.Sequential([keras.Input((6,)), layers.Dense(4, dtype="bfloat16")])
    first, again = (body_features(body, X, cache=tmp_path) for _ in range(2))
    assert first.dtype == again.dtype == tf.bfloat16.as_numpy_dtype
    np.testing.assert_array_equal(first.astype("f"), again.astype("f"))


def test_features_of_a_function_are_not_kept(tmp_path):
    scale = 2.0
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Lambda(lambda x: scale * x, name="double")]
    )
    inputs = keras.Input((6,))
    body = keras.Model(inputs, inner(inputs), name="body")
    with pytest.warns(UserWarning, match="'body' are not kept.*'double' is a Lambda"):
        features = body_features(body, X, cache=tmp_path)
    np.testing.assert_array_equal(features, 2.0 * X)
    scale = 3.0
    with pytest.warns(UserWarning, match="are not kept"):
        np.testing.assert_array_equal(
            body_features(body, X, cache=tmp_path), body(X, training=False)
        )
    assert not os.listdir(tmp_path)


def test_no_rows_have_no_features(network):
    body, _ = split(network)
    assert body_features(body, X[:0]).shape == (0, FEATURES)


def test_what_gives_no_features_is_refused_by_name(network, tmp_path):
    body, _ = split(network)
    (tmp_path / "file").write_bytes(b"")
    two = keras.Model(body.inputs, [body.outputs[0], body.outputs[0]])
    for arguments, match in (
        ((body, X[:, :3]), r"`x` must be of shape \(None, 6\)"),
        ((two, X), "`body` must be functional, with one output"),
        (("body", X), "`body` must be functional, with one output"),
    ):
        with pytest.raises(ValueError, match=match):
            body_features(*arguments)
    with pytest.raises(ValueError, match="`cache` must be a folder"):
        body_features(body, X, cache=tmp_path / "file")
    with pytest.raises(ValueError, match="`batch_size`"):
        body_features(body, X, batch_size=0)


def test_a_head_trained_on_features_is_served_behind_its_body(network, tmp_path):
    body, head = split(network)
    frozen = body.get_weights()
    features = body_features(body, X)
    keras.utils.set_random_seed(0)
    generator = GaussianGenerator(mlp_decoder(LATENTS, (FEATURES,), hidden=(4,)))
    model = ebm.VERA(head, generator, class_names=["a", "b", "c"], temperature=2.0)
    model.compile(*[keras.optimizers.SGD(0.1) for _ in range(3)], run_eagerly=True)
    model.train_step((tf.constant(features), tf.constant(Y)))
    joined = model.behind(body)
    for old, new in zip(frozen, body.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert type(joined) is ebm.VERA and joined.class_names == ["a", "b", "c"]
    np.testing.assert_array_equal(joined.logits(X), model.logits(features))
    np.testing.assert_array_equal(
        joined.probabilities(X), model.probabilities(features)
    )
    detector = ebm.ood.Detector.calibrate(joined, X, target_fpr=0.1)
    version = ebm.serving.export_classifier(detector, tmp_path / "served", X)
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    _, specs = served.structured_input_signature
    assert specs["inputs"].shape == (None, 6) and specs["inputs"].dtype == tf.float32
    given = served(inputs=tf.constant(X))["energy"]
    np.testing.assert_allclose(given, model.energy(features), rtol=1e-5)
    joined.save(tmp_path / "joined.keras")
    loaded = keras.saving.load_model(tmp_path / "joined.keras")
    np.testing.assert_array_equal(loaded.logits(X), joined.logits(X))


def test_a_preprocessor_of_features_goes_between_body_and_network(network):
    body, _ = split(network)
    features = body_features(body, X)
    scale = layers.Normalization()
    scale.adapt(features)
    head = keras.Sequential([keras.Input((FEATURES,)), layers.Dense(3)])
    model = ebm.EnergyModel(head, preprocessor=scale)
    joined = model.behind(body)
    np.testing.assert_array_equal(joined.logits(X), model.logits(features))
    assert joined.raw_spec() == tf.TensorSpec((None, 6), tf.float32, "inputs")


def test_a_body_of_several_inputs_gives_the_model_these():
    age = keras.Input((2,), name="age")
    word = keras.Input((1,), dtype="string", name="word")
    lookup = layers.StringLookup(vocabulary=["a"], output_mode="one_hot")
    x = layers.Concatenate()([age, lookup(word)])
    body = keras.Model([age, word], layers.Dense(FEATURES)(x))
    head = keras.Sequential([keras.Input((FEATURES,)), layers.Dense(3)])
    rows = {"age": X[:, :2], "word": np.array(["a", "b"] * 10)}
    joined = ebm.EnergyModel(head).behind(body)
    assert list(joined.raw_spec()) == ["age", "word"]
    expected = head.predict(body_features(body, rows), verbose=0)
    np.testing.assert_allclose(joined.predict(rows, verbose=0), expected, atol=1e-6)


@pytest.mark.parametrize("body", ["body", keras.Sequential([layers.Dense(5)])])
def test_a_body_of_other_features_is_refused(network, body):
    _, head = split(network)
    model = ebm.EnergyModel(head)
    narrow = keras.Sequential([keras.Input((6,)), layers.Dense(4)])
    for other in (body, narrow):
        with pytest.raises(ValueError, match=r"`body` .*features of shape \(5,\)"):
            model.behind(other)
