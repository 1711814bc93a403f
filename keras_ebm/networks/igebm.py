"""The energy networks of Du and Mordatch (2019), from MNIST to 128x128 images.

Each returns `f = -E`. All share: convolutions without bias, a learned bias on the
channels that enter one and a gain on those that leave some, spectral normalisation
of every kernel but the last layer's, and no batch or layer normalisation.
Call `keras_ebm.layers.update_spectral_norms(network)` once a training step.

With `num_classes=K` a network takes `[x, y]`, `y` float of shape `(batch, K)`:
one-hot, or any vector of numbers that describes `x`. Biases and gains are then one
for each class.
"""

from collections.abc import Callable

import keras

from keras_ebm.arguments import check_choice
from keras_ebm.networks.energy_blocks import EnergyBlocks, energy_inputs

# Of each stage its channels, in units of `filters`; and the blocks of a stage.
_STAGES = {
    "plain": ((1, 2, 2), 2),
    "large": ((1, 2, 4), 3),
    "larger": ((1, 2, 4), 5),
    "wider": ((1, 2, 4), 3),
}
SIZES = tuple(_STAGES)


def igebm_resnet32(
    input_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 0,
    *,
    size: str = "plain",
    filters: int | None = None,
    activation: str | Callable | None = "leaky_relu",
    spectral_norm: bool = True,
    attention: bool = False,
    dropout: float = 0.0,
) -> keras.Model:
    """Builds a residual energy of images of about 32 pixels a side.

    Three stages of residual blocks, the first block of each halving the image.

    | size | blocks a stage | channels of the stages | weights of the default |
    |---|---|---|---|
    | plain: CIFAR-10 by class | 2 | f, 2f, 2f | 5.3 M |
    | large: CIFAR-10 | 3 | f, 2f, 4f | 18.6 M |
    | larger | 5 | f, 2f, 4f | 31 M |
    | wider: ImageNet 32x32 by class | 3 | f, 2f, 4f | 75 M, and 15 M of tables |

    Args:
        input_shape: `(height, width, channels)`; both sides divisible by 8.
        num_classes: int >= 0, the length of a label vector; 0 for none.
        size: one of the table's.
        filters: int >= 1, `f`. Defaults to 128, and 256 for `"wider"` (192 was
            the published choice for CIFAR-10), whose first layer has at most 128.
        activation: any Keras activation. ReLUs' second derivative is 0.
        spectral_norm: bool, whether kernels are normalised.
        attention: bool, whether `SelfAttention2D` takes the place of a block: the
            second of the second stage, or for `"wider"` of the first.
        dropout: float in [0, 1), after the first convolution of each block. The
            published runs of `"large"` had 0.5 in training and in the chains; the
            other sizes had none.

    Returns:
        A functional model from `x` of shape `(batch, *input_shape)`, or from
        `[x, y]`, to `f = -E` in nats, `(batch, 1)`. Its last layer is `"logits"`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Du and Mordatch (2019), "Implicit generation and modeling with energy
          based models", https://arxiv.org/abs/1903.08689, appendix.
    """
    check_choice("size", size, SIZES)
    x, labels = energy_inputs(input_shape, num_classes, divisor=8)
    filters = filters or (256 if size == "wider" else 128)
    multiples, num_blocks = _STAGES[size]
    attentive = (0 if size == "wider" else 1, 1) if attention else None
    blocks = EnergyBlocks(labels, activation, spectral_norm, dropout)
    stem = min(filters, 128) if size == "wider" else filters
    h = blocks.activate(blocks.convolve(x, stem, "stem"), "stem")
    for stage, multiple in enumerate(multiples):
        for index in range(num_blocks):
            if (stage, index) == attentive:
                h = blocks.attention(h, "attention")
                continue
            name = f"block_{stage}_{index}"
            h = blocks.residual(h, multiple * filters, name, halve=index == 0)
    return blocks.model(x, blocks.pooled_logit(h))


def igebm_resnet128(
    input_shape: tuple[int, int, int] = (128, 128, 3),
    num_classes: int = 0,
    *,
    filters: int = 64,
    activation: str | Callable | None = "silu",
    spectral_norm: bool = True,
    attention: bool = False,
) -> keras.Model:
    """Builds a residual energy of images of about 128 pixels a side.

    Six residual blocks of `f, 2f, 4f, 8f, 8f, 8f` channels for `f = filters`; all
    but the last halve the image. 15.7 million weights by default, and 5.5 more in
    the tables of 1000 classes.

    Args:
        input_shape: `(height, width, channels)`; both sides divisible by 32.
        num_classes: int >= 0, the length of a label vector; 0 for none.
        filters: int >= 1. Defaults to the published 64.
        activation: any Keras activation.
        spectral_norm: bool, whether kernels are normalised.
        attention: bool, whether `SelfAttention2D` follows the first block. Its
            matrix has `(height * width / 4)^2` entries an image: 67 MB at 128.

    Returns:
        A functional model, as that of `igebm_resnet32`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689, appendix.
    """
    x, labels = energy_inputs(input_shape, num_classes, divisor=32)
    blocks = EnergyBlocks(labels, activation, spectral_norm)
    h = blocks.activate(blocks.convolve(x, filters, "stem"), "stem")
    for index, multiple in enumerate((1, 2, 4, 8, 8, 8)):
        name = f"block_{index}"
        h = blocks.residual(h, multiple * filters, name, halve=index < 5)
        if attention and index == 0:
            h = blocks.attention(h, "attention")
    return blocks.model(x, blocks.pooled_logit(h))


def igebm_dsprites(
    input_shape: tuple[int, int, int] = (64, 64, 1),
    num_classes: int = 0,
    *,
    filters: int = 64,
    activation: str | Callable | None = "silu",
    spectral_norm: bool = True,
) -> keras.Model:
    """Builds a plain convolutional energy, for one factor of dSprites.

    A 3x3 convolution to `f / 2` channels, four 4x4 ones of stride 2 to `f, 2f, 2f,
    2f`, and a dense layer of 128. 0.95 million weights by default.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: int >= 0, the length of a label vector; 0 for none. The paper's
            labels: the size (1 number), the shape (3, one-hot), the position
            `(x, y)` in [0, 1] (2), the orientation `(cos, sin)` (2).
        filters: int >= 2, `f`. Defaults to the published 64.
        activation: any Keras activation.
        spectral_norm: bool, whether kernels are normalised.

    Returns:
        A functional model, as that of `igebm_resnet32`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689, appendix.
    """
    widths = (filters, 2 * filters, 2 * filters, 2 * filters)
    x, labels = energy_inputs(input_shape, num_classes, divisor=1)
    blocks = EnergyBlocks(labels, activation, spectral_norm)
    return _strided_energy(blocks, x, filters // 2, widths)


def igebm_mnist(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 0,
    *,
    filters: int = 64,
    activation: str | Callable | None = "leaky_relu",
    spectral_norm: bool = True,
) -> keras.Model:
    """Builds a plain convolutional energy, for MNIST.

    A 3x3 convolution to `f` channels, three 4x4 ones of stride 2 to `f, 2f, 4f`,
    and a dense layer of 128. 1.25 million weights by default.

    The published network took its labels as further channels of an image, which
    its first layer had no room for. Here they enter as in `igebm_dsprites`, by a
    bias and a gain for each class.

    Args:
        input_shape: `(height, width, channels)`.
        num_classes: int >= 0, the length of a label vector; 0 for none.
        filters: int >= 1, `f`. Defaults to the published 64.
        activation: any Keras activation.
        spectral_norm: bool, whether kernels are normalised.

    Returns:
        A functional model, as that of `igebm_resnet32`.

    Raises:
        ValueError: if an argument breaks its rule.

    References:
        - Du and Mordatch (2019), https://arxiv.org/abs/1903.08689, appendix.
    """
    x, labels = energy_inputs(input_shape, num_classes, divisor=1)
    blocks = EnergyBlocks(labels, activation, spectral_norm)
    return _strided_energy(blocks, x, filters, (filters, 2 * filters, 4 * filters))


def _strided_energy(blocks, x, stem, widths):
    h = blocks.activate(blocks.convolve(x, stem, "stem"), "stem")
    for index, width in enumerate(widths):
        name = f"halving_{index}"
        h = blocks.bias(h, name)
        h = blocks.convolve(h, width, name, size=4, strides=2)
        if index == 2:
            h = blocks.gain(h, name)
        h = blocks.activate(h, name)
    h = blocks.dense(keras.layers.Flatten()(h), 128, "features")
    return blocks.model(x, blocks.logit(blocks.activate(h, "features")))
