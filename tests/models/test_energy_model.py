import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from support import CLASSES, FEATURES, assert_same_weights, change, make_network, rows

from keras_ebm import objectives
from keras_ebm.data.batches import training_batches
from keras_ebm.gradients import energy_and_gradient, squared_norm
from keras_ebm.models import Batch, Drawn, EnergyModel
from keras_ebm.negatives import CutAndBlend
from keras_ebm.random import StepRandom

X, Y = rows(12)


def make_model(num_outputs=CLASSES, rate=0.1, **kwargs):
    model = EnergyModel(make_network(num_outputs), **kwargs)
    model.compile(keras.optimizers.SGD(rate))
    return model


def classifier(**kwargs):
    return make_model(energy_weight=0.0, **kwargs)


def test_energies_are_read_out_of_the_logits():
    model = make_model()
    logits = model.logits(X).numpy()
    np.testing.assert_array_equal(logits, model.network(X))
    np.testing.assert_allclose(model.energy(X), -logsumexp(logits, -1), rtol=1e-5)
    labels = np.abs(Y)
    expected = -logits[np.arange(len(X)), labels]
    np.testing.assert_allclose(model.energy(X, labels), expected, rtol=1e-6)


def test_a_density_has_one_logit_and_no_class_metrics():
    model = make_model(1, negatives=CutAndBlend(), objective="logistic")
    assert model.num_classes == 1
    assert list(model.train_step(X)) == ["loss", "data_energy", "negative_energy"]
    np.testing.assert_allclose(model.energy(X), -model.logits(X)[:, 0], rtol=1e-6)


@pytest.mark.parametrize("labelled", [65, 5])
def test_losses_of_an_epoch_do_not_depend_on_how_rows_are_cut(labelled):
    x, y = rows(65)
    y = np.where(np.arange(65) < labelled, np.abs(y), -1)
    model = make_model(
        rate=0.0,
        energy_weight=0.1,
        gradient_penalty=1.0,
        conditional_entropy_weight=0.3,
        ramp_steps=0,
        semi_supervised=objectives.SemiSupervised(
            pseudo_label_weight=1.0, pseudo_label_threshold=0.3, radius=1.0
        ),
    )
    found = []
    for size in (65, 32, 7, 1):
        fitted = model.fit(
            x, y, batch_size=size, validation_data=(x, y), shuffle=False, verbose=0
        )
        logs = {name: values[0] for name, values in fitted.history.items()}
        found.append(logs)
        logs["evaluated"] = model.evaluate(
            x, y, batch_size=size, verbose=0, return_dict=True
        )["loss"]
        assert logs["evaluated"] == pytest.approx(logs["val_loss"], rel=1e-6)
    # Sums of float32 in other orders.
    for logs in found[1:]:
        assert logs == pytest.approx(found[0], rel=1e-5)


def test_inputs_go_through_the_preprocessor_everywhere():
    raw = (X * 50).astype(np.int32)
    scale = keras.layers.Rescaling(0.02)
    model = make_model(preprocessor=scale)
    plain = make_model()
    np.testing.assert_array_equal(model(raw), plain(scale(raw)))
    np.testing.assert_array_equal(model.energy(raw), plain.energy(scale(raw)))
    logs = model.train_step((raw, Y)), plain.train_step((scale(raw), Y))
    assert float(logs[0]["loss"]) == float(logs[1]["loss"])
    assert_same_weights(model, plain)


@pytest.mark.parametrize("objective", ["contrastive", "logistic"])
def test_the_loss_is_the_sum_of_its_terms(objective):
    model = make_model(
        negatives=CutAndBlend(),
        objective=objective,
        energy_weight=0.3,
        classification_weight=2.0,
        conditional_entropy_weight=0.5,
        gradient_penalty=0.7,
    )
    x, network = tf.constant(X), model.network
    (negatives,), _ = model.draw_negatives(x, StepRandom(0, 0))
    loss, _ = model.energy_loss(x, tf.constant(Y), [negatives], training=True)

    def energy(v):
        return -tf.reduce_logsumexp(network(v), axis=-1)

    data, gradient = (v.numpy() for v in energy_and_gradient(energy, x))
    fake, log_p = energy(negatives).numpy(), tf.nn.log_softmax(network(x)).numpy()
    if objective == "contrastive":
        contrast = data.mean() - fake.mean()
    else:
        contrast = np.log1p(np.exp(data)).mean() + np.log1p(np.exp(-fake)).mean()
    labelled = Y >= 0
    assert 0 < labelled.sum() < len(Y)
    cross_entropy = -log_p[labelled, Y[labelled]].mean()
    entropy = -np.sum(np.exp(log_p) * log_p, -1)[~labelled].mean()
    penalty = 0.5 * np.square(gradient).sum(-1).mean()
    expected = 2 * cross_entropy + 0.5 * entropy + 0.3 * (contrast + 0.7 * penalty)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_the_penalty_is_taken_in_training_alone():
    model = make_model(gradient_penalty=0.7)
    x, y = tf.constant(X), tf.constant(Y)
    _, logs = model.energy_loss(x, y, [], training=True)
    np.testing.assert_allclose(
        logs["gradient_penalty"],
        0.5 * np.mean(squared_norm(energy_and_gradient(model.energy, x)[1])),
        rtol=1e-5,
    )
    assert "gradient_penalty" not in model.energy_loss(x, y, [])[1]


def test_an_update_descends_the_loss():
    model = make_model(negatives=CutAndBlend(), gradient_penalty=0.5)
    copy = make_model(negatives=CutAndBlend(), gradient_penalty=0.5)
    x, y = tf.constant(X), tf.constant(Y)
    negatives, _ = model.draw_negatives(x, StepRandom(0, 0))
    with tf.GradientTape() as tape:
        loss, _ = copy.energy_loss(x, y, negatives, training=True)
    variables = copy.network.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        if gradient is not None:
            variable.assign_sub(0.1 * gradient)
    model.train_step((X, Y))
    assert_same_weights(model, copy, atol=1e-6)


def test_unlabelled_rows_add_nothing_to_the_class_gradients():
    labelled = Y >= 0
    model, copy, moved = classifier(), classifier(), classifier()
    model.train_step((X, Y))
    copy.train_step((X[labelled], Y[labelled]))
    assert_same_weights(model, copy, atol=1e-7)
    # Nor does it matter what they are.
    moved.train_step((np.where(labelled[:, None], X, 100.0), Y))
    assert_same_weights(moved, copy, atol=1e-7)


@pytest.mark.parametrize("labels", [None, np.full(len(X), -1, np.int32)])
def test_a_batch_without_labels_moves_no_classifier(labels):
    model = classifier()
    data = X if labels is None else (X, labels)
    assert change(model.network, lambda: model.train_step(data)) == 0
    assert float(model.trackers["cross_entropy"].result()) == 0


def test_the_conditional_entropy_is_descended_on_unlabelled_rows_alone():
    arguments = {"classification_weight": 0.0, "conditional_entropy_weight": 1.0}
    model = classifier(**arguments)
    assert change(model.network, lambda: model.train_step((X, np.abs(Y)))) == 0
    copy = classifier(**arguments)
    model.train_step((X, Y))
    copy.train_step(X[Y < 0])
    assert_same_weights(model, copy, atol=1e-7)
    # Descending it makes the unlabelled rows' classes more certain.
    values = []
    for _ in range(30):
        model.train_step((X, Y))
        logits = model.logits(X[Y < 0])
        values.append(float(tf.reduce_mean(objectives.conditional_entropy(logits))))
    assert values[-1] < 0.9 * values[0]


def test_accuracy_and_cross_entropy_are_of_the_labelled_rows():
    model = classifier()
    logits = model.logits(X).numpy()
    labelled = Y >= 0
    logs = model.test_step((X, Y))
    accuracy = np.mean(logits.argmax(-1)[labelled] == Y[labelled])
    np.testing.assert_allclose(logs["accuracy"], accuracy, rtol=1e-6)
    expected = (logsumexp(logits, -1) - logits[np.arange(len(Y)), Y])[labelled].mean()
    np.testing.assert_allclose(logs["cross_entropy"], expected, rtol=1e-5)


def test_labels_may_be_a_column():
    model, copy = classifier(), classifier()
    model.train_step((X, Y[:, None]))
    copy.train_step((X, Y))
    assert_same_weights(model, copy)


def test_noise_of_the_asked_size_is_added_in_training_alone():
    model = make_model(data_stddev=0.5)
    x = tf.zeros([5000, FEATURES])
    noise = model.add_data_noise(x, StepRandom(0, 0)).numpy()
    # 20,000 numbers: standard error 0.0025 of the spread.
    assert abs(noise.std() - 0.5) < 0.0125
    plain = make_model()
    assert plain.add_data_noise(x, StepRandom(0, 0)) is x
    logs = model.test_step((X, Y)), plain.test_step((X, Y))
    assert float(logs[0]["loss"]) == float(logs[1]["loss"])


def test_a_loss_scale_changes_no_update():
    model, scaled = make_model(), make_model()
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    scaled.compile(optimizer)
    samples = tf.constant(X[:5] + 1.0)
    batch = Batch(tf.constant(X), tf.constant(Y), StepRandom(0, 0))
    steps = [
        which.descend_energy(batch, Drawn(samples=samples)) for which in (model, scaled)
    ]
    assert change(scaled.network, lambda: model.train_step((X, Y))) == 0
    model = make_model()
    model.descend_energy(batch, Drawn(samples=samples))
    assert_same_weights(model.network, scaled.network, atol=1e-6)
    np.testing.assert_allclose(
        steps[0].sample_gradient, steps[1].sample_gradient, atol=1e-6
    )


def test_one_hot_labels_are_refused():
    one_hot = np.eye(CLASSES, dtype=np.float32)[np.abs(Y)]
    with pytest.raises(ValueError, match=r"number of a class.*\(None, 3\).*argmax"):
        classifier().fit(X, one_hot, verbose=0)
    # A column of numbers is another way to write them.
    first, second = classifier(), classifier()
    first.train_step((X, np.abs(Y)))
    second.train_step((X, np.abs(Y)[:, None].astype(np.float32)))
    assert_same_weights(first, second)


@pytest.mark.parametrize(
    "name", ["loss", "metrics", "weighted_metrics", "loss_weights"]
)
def test_losses_and_metrics_cannot_be_passed(name):
    with pytest.raises(ValueError, match=f"`{name}` cannot be set"):
        make_model().compile("sgd", **{name: ["mse"]})


@pytest.mark.parametrize(
    "name",
    [
        "energy_weight",
        "classification_weight",
        "conditional_entropy_weight",
        "gradient_penalty",
        "data_stddev",
    ],
)
@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_negative_weights_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a finite number"):
        make_model(**{name: value})


def test_an_unknown_objective_is_refused():
    with pytest.raises(ValueError, match="'contrastive', 'logistic'"):
        make_model(objective="hinge")


def test_class_names_must_name_each_class():
    assert list(make_model(class_names=("a", "b", 3)).class_names) == ["a", "b", "3"]
    with pytest.raises(ValueError, match="2 names for 3 logits"):
        make_model(class_names=["a", "b"])


def test_the_classifier_may_see_another_view_of_the_rows_than_the_density():
    model = make_model()
    view = X + 1.0
    _, logs = model.energy_loss(X, Y, [], class_x=view)
    np.testing.assert_allclose(logs["data_energy"], model.energy(X), rtol=1e-5)
    log_p = tf.nn.log_softmax(model.logits(view)).numpy()
    values, labelled = (np.asarray(v) for v in logs["cross_entropy"])
    expected = -log_p[labelled, Y[labelled]]
    np.testing.assert_allclose(values[labelled], expected, rtol=1e-4)


def test_batches_of_two_views_train_on_both(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1), dtype=np.uint8)
    labels = np.arange(24) % 3
    data, steps = training_batches(
        images, labels, batch_size=8, seed=0, augment="crop_flip", keep_plain=True
    )
    (changed, plain), _ = next(iter(data))
    assert np.any(changed != plain)
    rows = {image.tobytes() for image in images}
    assert all(image.numpy().tobytes() in rows for image in plain)
    network = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    model = EnergyModel(network, preprocessor=keras.layers.Rescaling(1 / 255))
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0).history
    energy = np.mean(model.energy(plain))
    np.testing.assert_allclose(history["data_energy"], [energy], rtol=1e-5)
