"""Settings of energy networks and of what comes before them, and what they build."""

import contextlib
import dataclasses
import functools
import sys

import keras
import numpy as np

from keras_ebm import networks
from keras_ebm.arguments import listed
from keras_ebm.layers import TableEncoder
from keras_ebm.layers.category_codes import CATEGORIES
from keras_ebm.layers.table_encoder import TRANSFORMS
from keras_ebm.models.base import check_float_input
from keras_ebm.rows import as_rows, take
from keras_ebm.trainers.program.options import Checked, integers, setting
from keras_ebm.trainers.settings.starting import PIXELS, initial_model, is_body

#: Networks of images by name; each takes `(shape, num_outputs or num_classes)`.
IGEBM = {
    "igebm_resnet32": (networks.igebm_resnet32, {}),
    "igebm_resnet32_large": (networks.igebm_resnet32, {"size": "large"}),
    "igebm_resnet32_larger": (networks.igebm_resnet32, {"size": "larger"}),
    "igebm_resnet32_wider": (networks.igebm_resnet32, {"size": "wider"}),
    "igebm_resnet128": (networks.igebm_resnet128, {}),
    "igebm_dsprites": (networks.igebm_dsprites, {}),
    "igebm_mnist": (networks.igebm_mnist, {}),
}
NETWORK_CHOICES = {
    "network": (
        "auto",
        "mlp",
        "large_mlp",
        "convolutional",
        "strided",
        "wide_resnet",
        "resnet",
        "dcgan",
        *IGEBM,
    ),
    "normalization": ("none", "batch", "group", "layer", "instance"),
    "pixels": PIXELS,
    "pixel_range": ("symmetric", "unit"),
    "transform": (*TRANSFORMS, "auto"),
    "categories": CATEGORIES,
    "precision": ("float32", "mixed_bfloat16", "mixed_float16"),
}


@dataclasses.dataclass(frozen=True)
class NetworkSettings(Checked):
    """The energy network, and how rows become its inputs."""

    SUBJECTS = {
        "init": "What a run starts from",
        "network": "Network",
        "pixel_range": "Inputs of the network",
    }

    init: str = setting(
        "",
        "model.keras of a run whose network, with what comes before it, is trained on. "
        "On the features of a frozen body that it has, which are computed once.",
    )
    backbone: str = setting(
        "",
        "Pretrained body on whose features to train: PATH.keras, or keras_hub:PRESET. "
        "It is frozen, and its features are computed once, into --workdir.",
    )
    layer: str = setting(
        "",
        "Layer or output of the backbone that gives the features. If it is not given, "
        "the output, or that of the name features; maps are averaged over the picture.",
    )
    pixels: str = setting(
        "as_is",
        "What the backbone takes of pixels: as_is 0 to 255, unit 0 to 1, symmetric -1 "
        "to 1.",
    )
    mirrored_views: bool = setting(
        False,
        "Trains on the features of mirrored training images too, which are computed "
        "once as well.",
    )
    network: str = setting(
        "auto",
        "Energy network. auto is convolutional for images of 28 pixels and up, else an "
        "mlp.",
    )
    hidden: tuple = setting(
        (), "Widths of the mlp's layers. If none are given, they follow from the data."
    )
    activation: str = setting("silu", "Activation of the energy network.")
    base_stddev: float = setting(
        0.0,
        "Standard deviation of a Gaussian factor of an mlp's density. 0 leaves it out.",
        low=0,
    )
    filters: int = setting(
        0,
        "Channels of an image network's first layers. 0 takes the network's own "
        "number.",
        low=0,
    )
    depth: int = setting(28, "Layers of a wide_resnet, 6n + 4.", low=1)
    width: int = setting(10, "How many times 16 channels a wide_resnet has.", low=1)
    normalization: str = setting(
        "none",
        "Normalisation in wide_resnet and dcgan networks. batch mixes the energies of "
        "a batch's rows.",
    )
    spectral_norm: bool = setting(
        True, "Divides the kernels of igebm networks by their largest singular value."
    )
    attention: bool = setting(False, "Gives igebm_resnet networks self-attention.")
    dropout: float = setting(
        0.0,
        "Dropout rate of mlp, wide_resnet and igebm_resnet32 networks.",
        low=0,
        below=1,
    )
    initial_gain: float = setting(
        1.0,
        "First weights of an mlp have the variance initial_gain / fan-in.",
        above=0,
    )
    pixel_range: str = setting(
        "symmetric",
        "Range of pixels inside the model: symmetric is [-1, 1], unit [0, 1].",
    )
    precision: str = setting(
        "float32",
        "What networks compute in; weights, energies and noise stay float32. "
        "mixed_float16 trains on one replica, with loss scaling.",
    )
    standardise: bool = setting(
        True, "Standardises points inside the model. Tables always are."
    )
    transform: str = setting(
        "standardise",
        "What becomes of numeric columns inside the model: standardise, quantile "
        "(normal scores), blend (half of each, in columns of heavy tails), or auto, "
        "which trains standardise and quantile and keeps the better by validation "
        "accuracy.",
    )
    categories: str = setting(
        "one_hot",
        "What a category of a table becomes: an entry of its own (one_hot), or one of "
        "fewer vectors: by what stands beside it in training rows (embedding), or by "
        "its word alone (hashing).",
    )
    drop_constant: bool = setting(
        True, "Leaves out columns of a table that are one value in 99.9 % of its rows."
    )


def build_preprocessor(dataset, train_x: np.ndarray, settings: NetworkSettings):
    """What makes raw rows into inputs of a network.

    Returns:
        `(preprocessor, shape, value_range)`: a layer or None, the shape of what
        it makes, and the range that pixels then have, None for other rows.
    """
    started = initial_model(settings)
    if started is not None:
        return _started_preprocessor(started, dataset, train_x)
    if dataset.kind == "inputs":
        raise ValueError(
            "`dataset` must have images, points or a table to train a network from "
            f"nothing. Received: {dataset.name}, whose rows are inputs of a network of "
            "your own; adopt it by `keras-ebm adopt --network=NET.keras "
            f"--dataset={dataset.name} --workdir=DIR`, and pass "
            "--init=DIR/model.keras."
        )
    if dataset.kind == "image":
        if settings.pixel_range == "symmetric":
            scale, value_range = (1.0 / 127.5, -1.0), (-1.0, 1.0)
        else:
            # Centres of 256 levels, which dequantising noise fills up.
            scale, value_range = (1.0 / 256.0, 0.5 / 256.0), (0.0, 1.0)
        layer = keras.layers.Rescaling(scale[0], offset=scale[1])
        return layer, dataset.input_shape, value_range
    if dataset.kind == "vector" and not settings.standardise:
        return None, dataset.input_shape, None
    encoder = TableEncoder(
        dataset.schema,
        transform="standardise" if settings.transform == "auto" else settings.transform,
        drop_constant=settings.drop_constant and dataset.kind == "table",
        categories=settings.categories,
        # A density of points keeps its likelihood far away.
        bounded=dataset.kind == "table" or dataset.num_classes > 1,
    )
    encoder.adapt(train_x)
    if encoder.dropped_columns:
        _notice_once(
            "dropped, as nearly all rows hold one value: "
            f"{listed(encoder.dropped_columns)}; --drop_constant=false keeps them"
        )
    return encoder, (encoder.num_entries,), None


@functools.cache
def _notice_once(text: str) -> None:
    """Writes a notice, once however many transforms of the same rows are tried."""
    sys.stderr.write(f"{text}\n")


def _started_preprocessor(started, dataset, train_x):
    """What comes before the network of `--init`; see `build_preprocessor`."""
    if dataset.kind == "inputs":
        # Told of by name and shape where they are none of the model's.
        as_rows(take(dataset.x, slice(1)), "dataset", started.raw_spec())
        return started.preprocessor, shape_of(started.network), None
    shape = shape_of(started.network)
    if is_body(started.preprocessor):
        # The rows are its features already.
        return None, shape, None
    taken = started.raw_spec()
    if isinstance(taken, dict) or tuple(taken.shape[1:]) != dataset.input_shape:
        raise ValueError(
            "`init` must take rows such as those of `dataset`. Received: a model of "
            f"{taken} for rows of shape {dataset.input_shape} of {dataset.name}."
        )
    value_range = None
    if dataset.kind == "image":
        ends = np.stack([np.zeros_like(train_x[0]), np.full_like(train_x[0], 255)])
        pixels = np.asarray(started.preprocess(ends))
        value_range = float(pixels.min()), float(pixels.max())
    return started.preprocessor, shape, value_range


def shape_of(network: keras.Model) -> tuple[int, ...]:
    """Shape of a network's input; empty where it has several."""
    shape = network.input_shape
    return tuple(shape[1:]) if isinstance(shape, tuple) else ()


def check_negatives(network: keras.Model, dataset, flag: str) -> None:
    """Raises ValueError where there can be no negatives of a network's inputs.

    Args:
        network: the energy network.
        dataset: `keras_ebm.data.Dataset`.
        flag: that asks for them, for the error.
    """
    if dataset.kind != "inputs":
        return
    try:
        check_float_input(network, flag)
    except ValueError as error:
        raise ValueError(
            f"{str(error).rstrip('.')}, or train by keras-ebm train-vera with "
            "negatives=none."
        ) from error
    if None in network.input_shape[1:]:
        raise ValueError(
            f"`{flag}` needs a network of inputs of one shape. Received: "
            f"{network.input_shape[1:]}; use keras-ebm train-vera with negatives=none."
        )


def _started_network(started, dataset, num_outputs: int):
    if started.num_classes != num_outputs:
        raise ValueError(
            f"`init` must have the {num_outputs} outputs that the data asks for. "
            f"Received: a model of {started.num_classes}; train on the same classes."
        )
    names = started.class_names
    if names and dataset.class_names and list(names) != list(dataset.class_names):
        raise ValueError(
            f"`init` must be of the classes {listed(dataset.class_names)}. Received: a "
            f"model of {listed(names)}, whose outputs would get other meanings."
        )
    return started.network


def build_network(dataset, shape, settings: NetworkSettings, kind: str = "joint"):
    """The energy network for inputs of `shape`.

    Args:
        dataset: `keras_ebm.data.Dataset`.
        shape: of an input.
        settings: `NetworkSettings`.
        kind: `"joint"`, an output for each class, `"none"`, one output, or
            `"conditional"`: a network of `[x, y]` where there is one, else joint.

    Raises:
        ValueError: if there is no such network for these inputs.
    """
    with computing_in(settings.precision):
        return _build(dataset, shape, settings, kind)


@contextlib.contextmanager
def computing_in(precision: str):
    """Layers made inside compute in this precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _build(dataset, shape, settings, kind):
    num_outputs = 1 if kind == "none" else max(dataset.num_classes, 1)
    started = initial_model(settings)
    if started is not None:
        return _started_network(started, dataset, num_outputs)
    if settings.network in IGEBM:
        return _igebm(shape, dataset, settings, kind)
    if settings.network in _IMAGE_NETWORKS:
        _check_image(shape, settings)
        return _IMAGE_NETWORKS[settings.network](shape, num_outputs, settings)
    if settings.network == "strided":
        _check_image(shape, settings)
        return _strided(shape, num_outputs, settings, kind)
    if settings.network == "large_mlp":
        return networks.large_mlp_energy(
            shape, num_outputs, activation=settings.activation
        )
    if is_convolutional(dataset, settings):
        return networks.convolutional_energy(
            shape, num_outputs, activation=settings.activation
        )
    default = (128, 128, 128) if dataset.kind == "vector" else (256, 256)
    return networks.mlp_energy(
        shape,
        num_outputs,
        hidden=widths(settings.hidden, default),
        activation=settings.activation,
        dropout=settings.dropout,
        base_stddev=settings.base_stddev or None,
        initial_gain=settings.initial_gain,
    )


def _check_image(shape, settings):
    if len(shape) != 3:
        raise ValueError(
            f"`network` {settings.network} takes images. Received: inputs of shape "
            f"{tuple(shape)}; use network=mlp."
        )


def _strided(shape, num_outputs, settings, kind):
    first = settings.filters or 16
    conditional = kind == "conditional"
    return networks.strided_energy(
        shape,
        1 if conditional else num_outputs,
        num_outputs if conditional else 0,
        filters=(first, 2 * first, 4 * first),
        activation=settings.activation,
    )


def _wide_resnet(shape, num_outputs, settings):
    return networks.wide_resnet(
        shape,
        num_outputs,
        depth=settings.depth,
        width=settings.width,
        normalization=none_or(settings.normalization),
        dropout=settings.dropout,
        activation=settings.activation,
    )


def _resnet(shape, num_outputs, settings):
    options = {"filters": settings.filters} if settings.filters else {}
    return networks.resnet_energy(
        shape, num_outputs, activation=settings.activation, **options
    )


def _dcgan(shape, num_outputs, settings):
    options = {"filters": settings.filters} if settings.filters else {}
    return networks.dcgan_energy(
        shape,
        num_outputs,
        normalization=none_or(settings.normalization),
        activation=settings.activation,
        **options,
    )


_IMAGE_NETWORKS = {"wide_resnet": _wide_resnet, "resnet": _resnet, "dcgan": _dcgan}


def none_or(name: str) -> str | None:
    """A choice in which `none` stands for None."""
    return None if name == "none" else name


def _igebm(shape, dataset, settings, kind):
    _check_image(shape, settings)
    if kind == "joint" and dataset.num_classes > 1:
        raise ValueError(
            f"`network` {settings.network} has one output, the energy. Received: "
            "classes=joint; use classes=conditional or classes=none."
        )
    make, options = IGEBM[settings.network]
    options = {
        "activation": settings.activation,
        "spectral_norm": settings.spectral_norm,
        **options,
    }
    if settings.filters:
        options["filters"] = settings.filters
    if "resnet" in settings.network:
        options["attention"] = settings.attention
    if "resnet32" in settings.network:
        options["dropout"] = settings.dropout
    num_classes = dataset.num_classes if kind == "conditional" else 0
    return make(shape, num_classes, **options)


def is_convolutional(dataset, settings) -> bool:
    """Whether the small convolutional network is wanted."""
    large = dataset.kind == "image" and min(dataset.input_shape[:2]) >= 28
    return settings.network == "convolutional" or (settings.network == "auto" and large)


def widths(values, default):
    """Layer widths of a flag, or the default."""
    return integers("Layer widths", values) or default
