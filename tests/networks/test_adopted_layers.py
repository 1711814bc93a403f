"""Adopted networks have the state, the names and the modes of what they were."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import keras_ebm as ebm
from keras_ebm.networks import from_classifier, with_features
from keras_ebm.networks.graphs import has_layers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(9, 6)).astype(np.float32)
Y = np.arange(9) % 3
TEXTS = np.array([["a b"], ["b c"], ["c d e"]] * 3)
IMAGES = RNG.integers(0, 256, (9, 6, 6, 3), dtype=np.uint8)
CELLS = X[:, :1]


@keras.saving.register_keras_serializable(package="adopted")
class Drawn(keras.Model):
    """A class of its own, whose call draws a graph of layers."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scale = layers.Normalization()
        self.hidden = layers.Dense(5, "relu")
        self.dropout = layers.Dropout(0.5)
        self.head = layers.Dense(3)

    def call(self, x, training=False):
        x = self.dropout(self.hidden(self.scale(x)), training=training)
        return ops.softmax(self.head(x))


@keras.saving.register_keras_serializable(package="adopted")
class OtherInTraining(keras.Model):
    """A class whose call does something else in training."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden, self.head = layers.Dense(5, "relu"), layers.Dense(3)

    def call(self, x, training=False):
        x = self.hidden(x)
        return self.head(2.0 * x if training else x)


@keras.saving.register_keras_serializable(package="adopted")
class OfTensorFlow(keras.Model):
    """A class whose call takes no symbols."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.head = layers.Dense(3)

    def call(self, x):
        return tf.nn.softmax(self.head(tf.abs(x)))


@keras.saving.register_keras_serializable(package="adopted")
class OfDict(keras.Model):
    """A class that takes a dict."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.lookup = layers.StringLookup(
            vocabulary=["a b", "b c"], output_mode="one_hot"
        )
        self.head = layers.Dense(3, "softmax")

    def call(self, x):
        return self.head(ops.concatenate([x["number"], self.lookup(x["word"])], -1))


BOTH = {"number": CELLS, "word": TEXTS}


def drawn():
    model = Drawn()
    model.scale.adapt(3.0 * X + 1.0)
    model(X)
    return model


def called(cls, x=X):
    model = cls()
    model(as_tensors(x))
    return model


def sequential(shape, *parts, dtype=None):
    return keras.Sequential(
        [keras.Input(shape, dtype=dtype), *parts, layers.Dense(3, "softmax")]
    )


def adapted(layer, rows, shape, dtype=None, *more):
    layer.adapt(rows)
    return sequential(shape, layer, *more, dtype=dtype)


def same_names():
    one = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="d")], name="one")
    two = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="d")], name="two")
    inputs = keras.Input((6,))
    x = layers.Concatenate()([one(inputs), two(inputs)])
    return keras.Model(inputs, layers.Dense(3, "softmax", name="d")(x))


def named_inputs():
    number = keras.Input((1,), name="number")
    word = keras.Input((1,), dtype="string", name="word")
    lookup = layers.StringLookup(vocabulary=["a b"], output_mode="one_hot")
    x = layers.Concatenate()([number, lookup(word)])
    return keras.Model([number, word], layers.Dense(3, "softmax")(x))


def in_precision(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return sequential((6,), layers.Dense(5, "relu"))
    finally:
        keras.config.set_dtype_policy(before)


def vectorised():
    vectorise = layers.TextVectorization(9, output_sequence_length=4)
    more = layers.Embedding(9, 4), layers.GlobalAveragePooling1D()
    return adapted(vectorise, TEXTS, (1,), "string", *more)


#: Models, rows of theirs, and arguments of `from_classifier`.
KINDS = {
    "graph of a call": (drawn, X, {}),
    "other in training": (lambda: called(OtherInTraining), X, {"output": "logits"}),
    "call of TensorFlow": (lambda: called(OfTensorFlow), X, {}),
    "call of a dict": (lambda: called(OfDict, BOTH), BOTH, {"example": BOTH}),
    "names shared": (same_names, X, {}),
    "inputs by name": (named_inputs, BOTH, {}),
    "Normalization": (
        lambda: adapted(layers.Normalization(), 3 * X + 1, (6,)),
        X,
        {},
    ),
    "Discretization": (
        lambda: adapted(
            layers.Discretization(num_bins=4, output_mode="one_hot"), CELLS, (1,)
        ),
        CELLS,
        {},
    ),
    "StringLookup": (
        lambda: adapted(
            layers.StringLookup(output_mode="multi_hot"), TEXTS, (1,), "string"
        ),
        TEXTS,
        {},
    ),
    "TextVectorization": (vectorised, TEXTS, {}),
    "images of uint8": (
        lambda: sequential((6, 6, 3), layers.Rescaling(1 / 255), layers.Flatten()),
        IMAGES,
        {"input_dtype": "uint8"},
    ),
    "mixed_float16": (lambda: in_precision("mixed_float16"), X, {}),
    "mixed_bfloat16": (lambda: in_precision("mixed_bfloat16"), X, {}),
}
#: Of probabilities, which the originals round to half precision.
STEPS = {"mixed_float16": 2.0**-8, "mixed_bfloat16": 2.0**-5}


def as_tensors(x):
    def tensor(part):
        return tf.constant(part.tolist() if part.dtype.kind == "U" else part)

    return keras.tree.map_structure(tensor, x)


def answers(model, x):
    """What a model gives, as float32; inputs of several as it wants them."""
    x = as_tensors(x)
    if isinstance(x, dict) and isinstance(getattr(model, "input", None), list):
        x = list(x.values())
    return np.asarray(ops.cast(model(x, training=False), "float32"))


@pytest.fixture(scope="module", params=KINDS)
def adopted(request):
    """`(name, model, rows, network, what the model gave and its weights)`."""
    make, x, options = KINDS[request.param]
    model = make()
    before = answers(model, x), model.get_weights(), [v.trainable for v in model.layers]
    return request.param, model, x, from_classifier(model, **options), before


def test_the_network_answers_as_the_model_does(adopted):
    name, _, x, network, (given, *_) = adopted
    logits = answers(network, x)
    if name == "other in training":
        np.testing.assert_array_equal(logits, given)
    else:
        found = ebm.EnergyModel(network).probabilities(as_tensors(x))
        np.testing.assert_allclose(found, given, atol=STEPS.get(name, 1e-6))
    own = network.input
    assert list(own) == ["number", "word"] if isinstance(own, dict) else x is not BOTH


def test_training_the_network_leaves_the_model_as_it_was(adopted):
    _, model, x, network, (given, weights, trainable) = adopted
    energy = ebm.EnergyModel(network)
    energy.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    kept = network.get_weights()
    energy.train_step((as_tensors(x), tf.constant(Y)))
    moved = [
        not np.array_equal(old, new)
        for old, new in zip(kept, network.get_weights(), strict=True)
    ]
    network.set_weights(kept)
    assert any(moved)
    np.testing.assert_array_equal(answers(model, x), given)
    assert [layer.trainable for layer in model.layers] == trainable
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_saved_and_reloaded_model_gives_the_same_logits(adopted, tmp_path):
    _, _, x, network, _ = adopted
    ebm.EnergyModel(network).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(answers(loaded, x), answers(network, x))


def test_a_call_that_is_other_in_training_stays_whole_and_does_so():
    model = called(OtherInTraining)
    network = from_classifier(model)
    x = tf.constant(X)
    np.testing.assert_array_equal(network(x, training=True), model(x, training=True))
    assert has_layers(network.layers[-1])
    assert [type(layer) for layer in from_classifier(drawn()).layers[1:]] == [
        layers.Normalization,
        layers.Dense,
        layers.Dropout,
        layers.Dense,
    ]


@pytest.mark.parametrize("example", [None, [CELLS, CELLS], X, {"number": CELLS}])
def test_a_model_of_a_dict_needs_rows_that_it_takes(example):
    with pytest.raises(ValueError, match=r"`example` must be.* a few rows"):
        from_classifier(OfDict(), example=example)


@pytest.mark.parametrize("head", ["softmax", "linear", "separate"])
def test_without_a_copy_the_network_is_the_models_own_layers(head):
    dense = layers.Dense(3, None if head == "separate" else head)
    end = [layers.Softmax()] if head == "separate" else []
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, "relu"), dense, *end])
    network = from_classifier(model, copy=False)
    assert network.layers[1] is model.layers[0]
    assert [id(v) for v in network.weights] == [id(v) for v in model.weights]
    energy = ebm.EnergyModel(network)
    energy.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    before = answers(model, X)
    energy.train_step((tf.constant(X), tf.constant(Y)))
    after = answers(model, X)
    # What is trained is the model, whose activation is as it was.
    expected = ops.softmax(answers(network, X)) if head != "linear" else network(X)
    np.testing.assert_allclose(after, expected, atol=1e-6)
    assert np.abs(after - before).max() > 1e-3
    model.layers[0].trainable = False
    assert len(network.trainable_variables) == 2


@pytest.mark.parametrize("freeze_statistics", [True, False])
def test_a_frozen_body_called_without_training_keeps_its_statistics(freeze_statistics):
    body = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5), layers.BatchNormalization()]
    )
    body.trainable = False
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3)(body(inputs, training=False)))
    network = from_classifier(model, freeze_statistics=freeze_statistics)
    energy = ebm.EnergyModel(network)
    energy.compile("sgd", run_eagerly=True)
    before = network.get_weights()
    energy.train_step((tf.constant(5.0 * X + 3.0), tf.constant(Y)))
    after = network.get_weights()
    same = [np.array_equal(old, new) for old, new in zip(before, after, strict=True)]
    # All of the body, and none of the head.
    assert same == [True] * (len(same) - 2) + [False] * 2


def test_features_of_a_convolution_are_means_over_the_picture():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Conv2D(3, 1),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Softmax(),
        ]
    )
    network = from_classifier(model)
    x = tf.constant(IMAGES, tf.float32)
    found = with_features(network)(x)
    assert found["features"].shape == (9, 4)
    maps = np.asarray(model.layers[0](x))
    np.testing.assert_allclose(found["features"], maps.mean((1, 2)), rtol=1e-5)
    # The mean of a 1 x 1 convolution is that of its input's mean.
    kernel, bias = model.layers[1].get_weights()
    logits = found["features"] @ kernel[0, 0] + bias
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "end",
    [
        lambda x: layers.Activation("tanh")(layers.Dense(3)(x)),
        lambda x: layers.Dropout(0.5)(layers.Dense(3)(x)),
        lambda x: 2.0 * layers.Dense(3, "relu")(x),
    ],
)
def test_features_lie_below_an_activation_or_dropout(end):
    inputs = keras.Input((6,))
    hidden = layers.Dense(5, name="hidden")(inputs)
    network = keras.Model(inputs, end(hidden))
    found = with_features(network)(X)
    np.testing.assert_array_equal(found["features"], network.get_layer("hidden")(X))
    np.testing.assert_array_equal(found["logits"], network(X))


def test_features_of_a_nested_head_are_known_only_once_it_is_opened():
    head = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.Dense(3)])
    inputs = keras.Input((6,))
    network = keras.Model(inputs, head(layers.Dense(5)(inputs)))
    with pytest.raises(ValueError, match="itself of several layers.*from_classifier"):
        with_features(network)
    assert with_features(from_classifier(network))(X)["features"].shape == (9, 4)
    parts = [layers.Dense(3)(inputs), layers.Dense(3)(inputs)]
    with pytest.raises(ValueError, match="ways that meet"):
        with_features(keras.Model(inputs, layers.Add()(parts)))
