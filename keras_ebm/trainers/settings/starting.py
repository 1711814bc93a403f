"""What a run starts from: weights of another run, or a pretrained body."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import keras
from keras import layers, ops

from keras_ebm.models import BaseEnergyModel
from keras_ebm.networks.graphs import Graph, flatten, graph_of, is_functional
from keras_ebm.trainers.program import keras_files

HUB = "keras_hub:"
PIXELS = ("as_is", "unit", "symmetric")
#: `(scale, offset)` from pixels of 0 to 255 to those that a network takes.
SCALES = {
    "as_is": (1.0, 0.0),
    "unit": (1.0 / 255.0, 0.0),
    "symmetric": (1.0 / 127.5, -1.0),
}


def initial_model(settings) -> BaseEnergyModel | None:
    """The model of `--init`; None where there is none.

    Raises:
        ValueError: if the file holds no energy model.
    """
    if not settings.init:
        return None
    path = Path(settings.init)
    stamp = os.stat(path).st_mtime_ns if path.is_file() else 0
    return _load(str(path), stamp)


@functools.lru_cache(maxsize=1)
def _load(path: str, stamp: int) -> BaseEnergyModel:
    del stamp
    return keras_files.load_model(path, name="init")


def is_body(preprocessor) -> bool:
    """Whether what comes before a network is a body, whose features are kept."""
    return isinstance(preprocessor, keras.Model) and is_functional(preprocessor)


def build_body(settings, dataset) -> keras.Model | None:
    """The frozen body of a run, from raw rows to features; None where there is none.

    Args:
        settings: `NetworkSettings`.
        dataset: `keras_ebm.data.Dataset`.

    Raises:
        ValueError: if `--backbone` cannot be loaded, or does not take such rows.
    """
    if settings.init:
        if settings.backbone:
            raise ValueError(
                "`backbone` is part of the model that `init` gives. Received: both; "
                "leave one of them out."
            )
        started = initial_model(settings)
        return started.preprocessor if is_body(started.preprocessor) else None
    if not settings.backbone:
        return None
    if dataset.kind != "image":
        raise ValueError(
            "`backbone` takes images. Received: "
            f"{dataset.kind} rows of {dataset.name}; leave --backbone out."
        )
    front, backbone = _load_backbone(settings.backbone)
    inputs = keras.Input(dataset.input_shape, dtype="uint8", name="inputs")
    x = ops.cast(inputs, "float32")
    if front is None:
        x = as_pictures(x, backbone, settings.pixels)
    else:
        x = front(_with_channels(x, backbone))
    features = _features(backbone, x, settings.layer)
    body = keras.Model(inputs, features, name="body")
    body.trainable = False
    return body


def _load_backbone(spec: str):
    """`(what prepares pictures or None, the backbone)`."""
    if not spec.startswith(HUB):
        return None, keras_files.load_keras("backbone", spec)
    try:
        import keras_hub
    except ImportError as error:
        raise ValueError(
            f"`backbone` {spec} needs keras-hub, which cannot be imported ({error}). "
            'Run `pip install "keras_ebm[hub]"`.'
        ) from error
    preset = spec.removeprefix(HUB)
    try:
        backbone = keras_hub.models.Backbone.from_preset(preset)
    except Exception as error:  # of many kinds, the network's among them
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise ValueError(
            f"`backbone` must be a preset of keras-hub. Received: {spec}, which cannot "
            f"be loaded ({reason})."
        ) from error
    try:
        return keras_hub.layers.ImageConverter.from_preset(preset), backbone
    except Exception:  # a preset without one takes pictures as they are
        return None, backbone


def as_pictures(x, network: keras.Model, pixels: str):
    """Images of 0 to 255 as a network takes them: its size, channels and range."""
    x = _with_channels(x, network)
    height, width, _ = network.inputs[0].shape[1:]
    if height is not None and tuple(x.shape[1:3]) != (height, width):
        x = layers.Resizing(height, width, interpolation="bilinear")(x)
    scale, offset = SCALES[pixels]
    return x if pixels == "as_is" else layers.Rescaling(scale, offset)(x)


def _with_channels(x, network: keras.Model):
    """Grey images in three channels for a network of three."""
    channels = network.inputs[0].shape[-1]
    if x.shape[-1] == 1 and channels == 3:
        x = ops.repeat(x, 3, axis=-1)
    if channels is not None and x.shape[-1] != channels:
        raise ValueError(
            f"`dataset` must have images of {channels} channels for {network.name!r}. "
            f"Received: {x.shape[-1]} channels."
        )
    return x


def _features(backbone, x, layer: str):
    """Features `(batch, d)`: of a layer, or of the output, pooled over the picture."""
    if len(backbone.inputs) != 1:
        raise ValueError(
            "`backbone` must have one input, of images. Received: "
            f"{backbone.name!r}, which has {len(backbone.inputs)}."
        )
    if layer and not isinstance(backbone.output, dict):
        names = [own.name for own in backbone.layers]
        if layer not in names:
            raise ValueError(
                "`layer` must name a layer of the backbone. Received: "
                f"layer={layer!r}; it has {names[-5:]} at its end."
            )
        source = backbone.inputs[0]
        backbone = keras.Model(source, backbone.get_layer(layer).output)
    # Of a network of several outputs the way to the others is left out.
    graph = graph_of(backbone)
    graph = flatten(Graph(graph.inputs, [_chosen(backbone, graph.outputs, layer)]))
    tensor = keras.Model(graph.struct, graph.outputs[0], name=backbone.name)(x)
    if len(tensor.shape) == 4:
        tensor = layers.GlobalAveragePooling2D()(tensor)
    if len(tensor.shape) != 2:
        raise ValueError(
            "`layer` must give features (batch, d) or maps (batch, height, width, d). "
            f"Received: {tuple(tensor.shape)}; name another layer of {backbone.name!r}."
        )
    return tensor


def _chosen(backbone, tensors, layer: str):
    """The output that is taken for the features."""
    names = list(backbone.output) if isinstance(backbone.output, dict) else []
    if len(tensors) == 1:
        return tensors[0]
    name = layer or "features"
    if name not in names:
        raise ValueError(
            "`layer` must name one of a backbone's outputs. Received: "
            f"layer={layer!r} for {backbone.name!r}, which gives "
            f"{names or len(tensors)}."
        )
    return tensors[sorted(names).index(name)]
