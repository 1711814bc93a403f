"""Trained Keras classifiers of many kinds become energy networks, or are refused."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_ebm as ebm
from keras_ebm.networks import from_classifier, with_features

SHAPE, CLASSES = (6,), 3
X = np.random.default_rng(0).normal(size=(9, *SHAPE)).astype(np.float32)
IMAGES = np.random.default_rng(1).random((9, 8, 8, 1)).astype(np.float32)


def body(x, units=5):
    return layers.Dense(units, "relu", name="body")(x)


def functional(*heads):
    x = inputs = keras.Input(SHAPE)
    x = body(x)
    for head in heads:
        x = head(x)
    return keras.Model(inputs, x)


def nested():
    inner = keras.Sequential([keras.Input(SHAPE), layers.Dense(5, "relu")])
    head = keras.Sequential([keras.Input((5,)), layers.Dense(CLASSES, "softmax")])
    return keras.Sequential([keras.Input(SHAPE), inner, layers.Dropout(0.5), head])


def lazy():
    model = keras.Sequential([layers.Dense(5, "relu"), layers.Dense(CLASSES)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, np.zeros(len(X)), batch_size=9, verbose=0)
    return model


def hidden_softmax():
    # Only the numbers show it.
    return functional(
        layers.Dense(CLASSES), layers.Lambda(lambda x: ops.softmax(x, axis=-1))
    )


def convolutional():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.RandomFlip(),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, name="logits"),
            layers.Activation("softmax"),
        ]
    )


def dense(activation=None):
    return layers.Dense(CLASSES, activation)


SOFTMAX = {
    "Dense(softmax)": lambda: functional(dense("softmax")),
    "Softmax layer": lambda: functional(dense(), layers.Softmax()),
    "Activation": lambda: functional(dense(), layers.Activation("softmax")),
    "ops.softmax": lambda: functional(dense(), ops.softmax),
    "dropout behind": lambda: functional(dense("softmax"), layers.Dropout(0.5)),
    "nested": nested,
    "numbers alone": hidden_softmax,
    "convolutional": convolutional,
}
LOGITS = {
    "functional": lambda: functional(dense()),
    "linear": lambda: functional(dense(), layers.Activation("linear")),
    "built by fit": lazy,
}


def rows_of(model):
    return IMAGES if len(model.inputs[0].shape) == 4 else X


@pytest.mark.parametrize("name", [*SOFTMAX, *LOGITS])
def test_classes_and_probabilities_are_the_models_own(name):
    keras.utils.set_random_seed(0)
    model = {**SOFTMAX, **LOGITS}[name]()
    x, weights = rows_of(model), model.get_weights()
    given = np.asarray(model(x, training=False))
    expected = given if name in SOFTMAX else np.asarray(ops.softmax(given))
    network = from_classifier(model)
    found = np.asarray(ebm.EnergyModel(network).probabilities(x))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))
    if name in LOGITS:
        np.testing.assert_allclose(network(x), given, atol=1e-6)
    # The energy is that of logits, whose scale a softmax has lost but in the numbers.
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    # Nothing of the given model has been called or renamed.
    np.testing.assert_array_equal(np.asarray(model(x, training=False)), given)
    for count in (1, 7):
        assert network(x[:count]).shape == (count, CLASSES)


@pytest.mark.parametrize("name", [*SOFTMAX, *LOGITS])
def test_penultimate_features_are_found(name):
    model = {**SOFTMAX, **LOGITS}[name]()
    network = from_classifier(model)
    outputs = with_features(network)(rows_of(model), training=False)
    assert outputs["features"].shape == (9, 4 if name == "convolutional" else 5)
    np.testing.assert_array_equal(
        outputs["logits"], network(rows_of(model), training=False)
    )


@pytest.mark.parametrize("hidden", [False, True], ids=["seen", "by numbers"])
def test_a_sigmoid_unit_becomes_two_classes(hidden):
    unit = layers.Dense(1, None if hidden else "sigmoid")
    heads = (unit, layers.Lambda(ops.sigmoid)) if hidden else (unit,)
    model = functional(*heads)
    network = from_classifier(model, "sigmoid" if hidden else "auto")
    p = np.asarray(model(X))[:, 0]
    found = np.asarray(ops.softmax(network(X)))
    np.testing.assert_allclose(found, np.stack([1 - p, p], axis=1), atol=1e-6)
    assert with_features(network)(X)["features"].shape == (9, 5)
    # Labels 0 and 1 are classes now, and are learned.
    ebm_model = ebm.EnergyModel(network)
    ebm_model.compile(keras.optimizers.Adam(0.2))
    y = (X[:, 0] > 0).astype(np.int32)
    ebm_model.fit(X, y, epochs=20, verbose=0)
    assert ebm_model.evaluate(X, y, verbose=0, return_dict=True)["accuracy"] == 1.0


def test_batch_normalisation_is_frozen_unless_asked_and_frozen_layers_stay():
    model = convolutional()
    model.layers[1].trainable = False  # The convolution.
    network = from_classifier(model)
    assert len(network.trainable_variables) == 2  # The head's.
    free = from_classifier(model, freeze_statistics=False)
    assert len(free.trainable_variables) == 4
    trained = ebm.EnergyModel(network)
    trained.compile("sgd")
    before = [np.array(v) for v in network.non_trainable_variables]
    trained.fit(IMAGES, np.arange(9) % 3, verbose=0)
    after = network.non_trainable_variables
    for variable, old in zip(after, before, strict=True):
        if "moving" in variable.path:
            np.testing.assert_array_equal(variable, old)


def test_an_adopted_network_is_decided_on_saved_and_exported(tmp_path):
    network = from_classifier(nested())
    model = ebm.EnergyModel(network, class_names=["a", "b", "c"])
    known = np.random.default_rng(2).normal(size=(60, *SHAPE)).astype(np.float32)
    detector = ebm.ood.Detector.calibrate(
        model, known, score="knn", target_fpr=0.1, train=(known, np.arange(60) % 3)
    )
    ebm.serving.export_classifier(detector, tmp_path / "served", X)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.logits(X), model.logits(X))


def two_inputs():
    inputs = [keras.Input(SHAPE), keras.Input((2,))]
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(inputs)))


def two_outputs():
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(2)(inputs)])


def compiled(loss, units):
    model = functional(layers.Dense(units))
    model.compile("sgd", loss)
    return model


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    "make, match",
    [
        (two_outputs, "has 2 outputs"),
        (lambda: functional(layers.Dense(1)), "output='binary_logits'"),
        (lambda: functional(layers.Dense(4, "sigmoid")), "4 outputs are sigmoids"),
        (lambda: functional(layers.Dense(4, "relu")), "which ends in relu"),
        (lambda: functional(layers.Reshape((5, 1))), r"has shape \(None, 5, 1\)"),
        (lambda: compiled("mse", 3), "loss .* of a regression"),
        (lambda: compiled(keras.losses.MeanAbsoluteError(), 3), "mean_absolute_error"),
        (lambda: compiled("binary_crossentropy", 3), "several labels a row"),
        (
            lambda: keras.Sequential([layers.Dense(3)]),
            "a model that does not know its inputs",
        ),
        (Subclassed, "of class Subclassed, and example=None"),
    ],
)
def test_what_is_no_classifier_is_refused_by_name(make, match):
    with pytest.raises(ValueError, match=match):
        from_classifier(make())


@pytest.mark.parametrize("output, units", [("sigmoid", 3), ("softmax", 1)])
def test_an_output_of_other_units_is_refused(output, units):
    with pytest.raises(ValueError, match=f"`output` '{output}' must be of"):
        from_classifier(functional(layers.Dense(units)), output)
