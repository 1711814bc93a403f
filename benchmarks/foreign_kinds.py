"""Trained classifiers of many kinds, as engineers have them, each with its rows."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

ROWS, CLASSES = 200, 4


class Kind(NamedTuple):
    """How a classifier and its rows are made.

    Args:
        build: callable from a random generator to `(model, rows)`; rows are an array
            or a dict of arrays.
        why: of what it is one.
        is_large: bool, whether it takes more than some seconds.
        needs: packages that it is made with.
        options: arguments of `from_classifier`.
        tolerance: of probabilities; above that of float32 where the original rounds
            them to half precision.
    """

    build: Callable[[np.random.Generator], tuple[keras.Model, Any]]
    why: str
    is_large: bool = False
    needs: tuple = ()
    options: dict = {}
    tolerance: float = 1e-6


def _vectors(rng, width: int = 6) -> np.ndarray:
    return rng.normal(size=(ROWS, width)).astype(np.float32)


def _images(rng, size: int = 16, rows: int = ROWS) -> np.ndarray:
    return rng.integers(0, 256, (rows, size, size, 3), dtype=np.uint8)


def _body(x):
    return layers.Dense(16, "relu")(layers.Dense(16, "relu")(x))


def _functional(*heads):
    def build(rng):
        x = inputs = keras.Input((6,))
        x = _body(x)
        for head in heads:
            x = head()(x)
        return keras.Model(inputs, x), _vectors(rng)

    return build


def _sequential(rng):
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(16, "relu"), layers.Dense(CLASSES)]
    )
    return model, _vectors(rng)


def _without_input(rng):
    model = keras.Sequential([layers.Dense(16, "relu"), layers.Dense(CLASSES)])
    model.add(layers.Softmax())
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = _vectors(rng)
    model.fit(x, np.arange(ROWS) % CLASSES, batch_size=50, verbose=0)
    return model, x


@keras.saving.register_keras_serializable(package="foreign")
class Subclassed(keras.Model):
    """A class of its own, whose graph its call draws."""

    def __init__(self, units: int = 16, **kwargs):
        super().__init__(**kwargs)
        self.scale = layers.Normalization()
        self.hidden = layers.Dense(units, "relu")
        self.dropout = layers.Dropout(0.5)
        self.head = layers.Dense(CLASSES)

    def call(self, inputs, training=False):
        x = self.dropout(self.hidden(self.scale(inputs)), training=training)
        return ops.softmax(self.head(x))


def _subclassed(rng):
    model, x = Subclassed(), _vectors(rng)
    model.scale.adapt(3.0 * x + 1.0)
    model(x[:2])
    return model, x


def _nested(rng):
    # Features, without their own head, and a head behind.
    inner = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
        ]
    )
    inner.trainable = False
    head = keras.Sequential(
        [keras.Input((8,)), layers.Dropout(0.2), layers.Dense(CLASSES)]
    )
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, head(inner(inputs, training=False))), _images(rng)


def _several(rng):
    image = keras.Input((16, 16, 3), name="image", dtype="uint8")
    age = keras.Input((1,), name="age")
    job = keras.Input((1,), name="job", dtype="string")
    x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(image))
    words = layers.StringLookup(vocabulary=["clerk", "nurse"], output_mode="one_hot")
    parts = [layers.GlobalAveragePooling2D()(x), age, words(job)]
    outputs = layers.Dense(CLASSES, "softmax")(_body(layers.Concatenate()(parts)))
    rows = {
        "image": _images(rng),
        "age": rng.normal(size=ROWS),
        "job": rng.choice(["clerk", "nurse", "smith"], ROWS),
    }
    return keras.Model([image, age, job], outputs), rows


def _strings(rng):
    words = ["good", "bad", "film", "plot", "fun", "dull"]
    texts = np.array([" ".join(rng.choice(words, 5)) for _ in range(ROWS)])
    vectorise = layers.TextVectorization(20, output_sequence_length=6)
    vectorise.adapt(texts)
    model = keras.Sequential(
        [
            keras.Input((1,), dtype="string"),
            vectorise,
            layers.Embedding(20, 8),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, "sigmoid"),
        ]
    )
    return model, texts


def _tokens(rng):
    inputs = keras.Input((8,), dtype="int32")
    x = layers.Embedding(30, 16, mask_zero=True)(inputs)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 8)(x, x))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    model = keras.Model(inputs, layers.Dense(CLASSES, "softmax")(x))
    return model, rng.integers(0, 30, (ROWS, 8))


def _in_precision(policy: str):
    def build(rng):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            return _functional(lambda: layers.Dense(CLASSES, "softmax"))(rng)
        finally:
            keras.config.set_dtype_policy(before)

    return build


def _from_file(suffix: str):
    def build(rng):
        import tempfile

        model, x = _nested(rng)
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/net{suffix}"
            model.save(path)
            return keras.saving.load_model(path), x

    return build


def _augmenting(rng):
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.RandomFlip(),
            layers.RandomRotation(0.2),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(CLASSES, "softmax"),
        ]
    )
    return model, _images(rng)


def _with_statistics(model, x) -> None:
    """Takes statistics of rows, without which random weights tell none apart."""
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, layers.BatchNormalization)
    ]
    before = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(x, training=True)
    for layer, momentum in zip(norms, before, strict=True):
        layer.momentum = momentum


def _application(name: str, size: int, classes: int, rows: int):
    def build(rng):
        make = getattr(keras.applications, name)
        model = make(input_shape=(size, size, 3), weights=None, classes=classes)
        x = _images(rng, size, rows)
        _with_statistics(model, x.astype(np.float32))
        return model, x

    return build


def _hub_image(rng):
    import keras_hub

    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(16, 16, 3),
    )
    model = keras_hub.models.ResNetImageClassifier(
        backbone=backbone, num_classes=CLASSES, activation="softmax"
    )
    return model, _images(rng)


def _hub_bert(rng):
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=100,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=12,
    )
    model = keras_hub.models.BertTextClassifier(backbone=backbone, num_classes=CLASSES)
    tokens = rng.integers(1, 100, (ROWS, 12))
    rows = {
        "token_ids": tokens,
        "segment_ids": np.zeros_like(tokens),
        "padding_mask": np.ones_like(tokens),
    }
    return model, rows


def _regression(rng):
    model, x = _functional(lambda: layers.Dense(1))(rng)
    model.compile("sgd", "mse")
    return model, x


def _several_labels(rng):
    return _functional(lambda: layers.Dense(CLASSES, "sigmoid"))(rng)


def _several_outputs(rng):
    inputs = keras.Input((6,))
    x = _body(inputs)
    outputs = [layers.Dense(CLASSES)(x), layers.Dense(1)(x)]
    return keras.Model(inputs, outputs), _vectors(rng)


def _segmentation(rng):
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, layers.Conv2D(CLASSES, 1)(inputs)), _images(rng)


HALF = 2.0**-8
KINDS = {
    "softmax": Kind(
        _functional(lambda: layers.Dense(CLASSES, "softmax")), "Dense(softmax)"
    ),
    "logits": Kind(_functional(lambda: layers.Dense(CLASSES)), "Dense of logits"),
    "ops": Kind(_functional(lambda: layers.Dense(CLASSES), lambda: ops.softmax), "ops"),
    "sigmoid": Kind(
        _functional(lambda: layers.Dense(1, "sigmoid")), "one unit, two classes"
    ),
    "sequential": Kind(_sequential, "Sequential with Input"),
    "without_input": Kind(_without_input, "Sequential without Input, fitted"),
    "subclassed": Kind(_subclassed, "class with a call of its own"),
    "mobilenet_v2": Kind(
        _application("MobileNetV2", 96, 10, 60), "keras.applications", is_large=True
    ),
    "efficientnet_b0": Kind(
        _application("EfficientNetB0", 64, 10, 60), "keras.applications", is_large=True
    ),
    "body_and_head": Kind(_nested, "frozen body, called without training, and head"),
    "several_inputs": Kind(_several, "image, number and word"),
    "strings": Kind(_strings, "TextVectorization inside"),
    "tokens": Kind(_tokens, "embedding with attention and masks"),
    "float16": Kind(_in_precision("mixed_float16"), "half precision", tolerance=HALF),
    "bfloat16": Kind(
        _in_precision("mixed_bfloat16"), "half precision", tolerance=8 * HALF
    ),
    "keras_file": Kind(_from_file(".keras"), "loaded"),
    "h5_file": Kind(_from_file(".h5"), "loaded"),
    "augmenting": Kind(_augmenting, "random flips and turns inside"),
    "hub_image": Kind(_hub_image, "keras-hub's ResNet", needs=("keras_hub",)),
    "hub_bert": Kind(_hub_bert, "keras-hub's BERT", needs=("keras_hub",)),
    "thousand_classes": Kind(
        _application("MobileNetV2", 224, 1000, 60), "224 x 224", is_large=True
    ),
}
#: What is no classifier of one label, and what the refusal says.
REFUSED = {
    "regression": (_regression, "a regression"),
    "several_labels": (_several_labels, "several labels a row"),
    "several_outputs": (_several_outputs, "2 outputs"),
    "segmentation": (_segmentation, r"\(batch, K\)"),
}


def probabilities(model: keras.Model, rows) -> np.ndarray:
    """What the original gives for rows, `(n, K)`, as probabilities in float64."""

    def tensor(part):
        return tf.constant(part.tolist() if part.dtype.kind in "UO" else part)

    x = keras.tree.map_structure(tensor, rows)
    if isinstance(x, dict) and not isinstance(model.input, dict):
        x = [x[tensor.name] for tensor in model.inputs]
    # As a graph, which is what is served too: layer by layer other kernels round.
    served = tf.function(lambda rows: model(rows, training=False), autograph=False)
    given = ops.convert_to_numpy(served(x)).astype(np.float64)
    if given.shape[1] == 1:
        return np.concatenate([1.0 - given, given], axis=1)
    sums = given.sum(axis=1)
    if (given >= 0).all() and np.allclose(sums, 1.0, atol=0.01):
        return given
    return tf.nn.softmax(given).numpy()
