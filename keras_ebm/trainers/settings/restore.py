"""What a restoration is of, and the energies that it may train."""

import dataclasses
import math

import keras
import numpy as np

from keras_ebm import models, negatives, networks
from keras_ebm.arguments import listed
from keras_ebm.restore import (
    Corruption,
    Downsampled,
    EnergyWalk,
    GaussianNoise,
    LatentWalk,
    LevelWalk,
    Masked,
    SaltAndPepper,
)
from keras_ebm.trainers.program.options import SEED, Checked, integers, setting

#: Energies as the second paper restored by them. Tags as in `trainers.presets`.
PRESETS = {
    "igebm_mnist": {
        "dataset": "tfds:mnist",
        "corruption": "salt:0.1",  # [C] of the pixels
        "energy": "chains",  # [C]
        "network": "igebm_mnist",  # [C]
        "train_steps": 60_000,  # [C]
        "batch_size": 256,  # [C]
        "learning_rate": 3e-4,  # [C]
        "langevin_steps": 20,  # [C] the flag's default
        "step_size": 10.0,  # [?]
        "noise_stddev": 0.005,  # [C]
        "max_gradient": 0.01,  # [?]
    },
    "igebm_cifar10": {
        "dataset": "tfds:cifar10",
        "corruption": "lower_half",  # [C]
        "energy": "chains",  # [C]
        "network": "igebm_resnet32",  # [C]
        "train_steps": 121_200,  # [C] of a released checkpoint
        "batch_size": 256,  # [C]
        "learning_rate": 3e-4,  # [C]
        "langevin_steps": 60,  # [C]
        "step_size": 10.0,  # [C]
        "noise_stddev": 0.005,  # [C]
        "max_gradient": 0.01,  # [C]
    },
}
FORMS = (
    "salt:SHARE, gaussian:STDDEV, lower_half, box:TOP,LEFT,HEIGHT,WIDTH or "
    "downsample:FACTOR"
)


@dataclasses.dataclass(frozen=True)
class EnergySettings(Checked):
    """Which energy is trained, where none is given."""

    SUBJECTS = {"energy": "The energy that is trained", "langevin_steps": "Its chains"}
    CHOICES = {
        "energy": ("denoising", "chains"),
        "network": ("strided", "igebm_mnist", "igebm_resnet32"),
    }

    energy: str = setting(
        "denoising",
        "What is trained without --model: denoising, an energy of every level of "
        "noise; or chains, as IGEBM is.",
    )
    filters: tuple = setting(
        ("32", "64"), "Channels at each resolution, of denoising and of strided."
    )
    bottleneck: int = setting(128, "Width of the dense layer, of both.", low=1)
    network: str = setting("strided", "Network of --energy=chains.")
    train_steps: int = setting(2_000, "Updates of the energy.", low=1)
    batch_size: int = setting(64, "Rows of an update.", low=1)
    learning_rate: float = setting(
        2e-3, "Of Adam; it falls to 0 along a cosine.", above=0
    )
    langevin_steps: int = setting(20, "Of chains in an update.", low=1)
    step_size: float = setting(
        10.0, "Of Langevin steps, for pixels from 0 to 1, per nat.", above=0
    )
    noise_stddev: float = setting(
        0.005, "Noise of Langevin steps, for pixels from 0 to 1.", low=0
    )
    max_gradient: float = setting(
        0.03, "Bound of an entry of the gradient of chains, for such pixels.", above=0
    )
    seed: int = setting(
        0, "Of the split, of weights, of the corruption and of noise.", **SEED
    )


def numbers(what: str, values) -> tuple[float, ...]:
    """Finite numbers from a flag's list of strings; `what` names them in the error.

    Raises:
        ValueError: if one is none.
    """
    try:
        found = tuple(float(value) for value in values)
    except ValueError:
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise ValueError(
            f"{what} must be numbers with commas between them. Received: "
            f"{listed(values)}."
        )
    return found


def parse_corruption(text: str, shape: tuple[int, ...]) -> Corruption:
    """The corruption that a flag names, of images of a shape in [-1, 1].

    Raises:
        ValueError: if it names none, or does not fit the shape.
    """
    name, _, rest = text.partition(":")
    found = numbers(f"`corruption` {text!r}", rest.split(",") if rest else ())
    counts = {"salt": 1, "gaussian": 1, "lower_half": 0, "box": 4, "downsample": 1}
    whole = name in ("box", "downsample")
    good = len(found) == counts.get(name, -1)
    if not good or whole and any(value != int(value) or value < 0 for value in found):
        raise ValueError(
            f"`corruption` must be {FORMS}. Received: corruption={text!r}."
        )
    if name == "salt":
        return SaltAndPepper(found[0])
    if name == "gaussian":
        # Images are twice as wide in [-1, 1] as in [0, 1].
        return GaussianNoise(2.0 * found[0])
    if name == "downsample":
        return _downsampled(text, int(found[0]), shape)
    half = (shape[0] // 2, 0, shape[0] - shape[0] // 2, shape[1])
    top, left, height, width = map(int, found or half)
    known = np.ones((*shape[:2], 1), bool)
    known[top : top + height, left : left + width] = False
    if known.all() or not known.any() or top + height > shape[0]:
        raise ValueError(
            f"`corruption` must hide some of {shape[0]}x{shape[1]} pixels, and not "
            f"all. Received: corruption={text!r}."
        )
    return Masked(known, -1.0)


def _downsampled(text, factor, shape):
    if factor < 2 or shape[0] % factor or shape[1] % factor:
        raise ValueError(
            f"`corruption` must divide sides of {shape[0]}x{shape[1]} pixels by 2 or "
            f"more. Received: corruption={text!r}."
        )
    return Downsampled(factor)


def build_energy(settings: EnergySettings, x: np.ndarray) -> keras.Model:
    """An untrained, compiled model of images in [0, 255] like `x`."""
    keras.utils.set_random_seed(settings.seed)
    pixels = keras.layers.Rescaling(1.0 / 127.5, -1.0, name="pixels")
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate, settings.train_steps
    )
    build = _denoising if settings.energy == "denoising" else _chains
    model = build(settings, x, pixels)
    betas = {} if settings.energy == "denoising" else {"beta_1": 0.0}
    averaged = {"use_ema": True, "ema_momentum": 0.99}
    optimizer = keras.optimizers.Adam(schedule, clipnorm=1.0, **averaged, **betas)
    # XLA takes longer to compile gradients of gradients than it saves here.
    model.compile(optimizer, jit_compile=False)
    return model


def _denoising(settings, x, pixels):
    shape = x.shape[1:]
    denoiser = networks.convolutional_denoiser(
        shape,
        filters=widths(settings),
        bottleneck=settings.bottleneck,
    )
    seen = x[:1_000].astype(np.float32) / 127.5 - 1.0
    network = networks.ReconstructionEnergy(
        denoiser,
        data_mean=float(seen.mean()),
        data_stddev=max(float(seen.std()), 0.05),
    )
    return models.DenoisingModel(network, preprocessor=pixels, seed=settings.seed)


def _chains(settings, x, pixels):
    shape = x.shape[1:]
    if settings.network == "strided":
        network = networks.strided_energy(
            shape, filters=widths(settings), features=settings.bottleneck
        )
    elif settings.network == "igebm_mnist":
        network = networks.igebm_mnist(shape)
    else:
        network = networks.igebm_resnet32(shape, size="large")
    moves = negatives.LangevinMoves(
        settings.langevin_steps, noise_first=True, box=(-1.0, 1.0), **_steps(settings)
    )
    source = negatives.MarkovChains(
        moves,
        negatives.ReplayBuffer(shape, max(10_000, settings.batch_size)),
        start="uniform",
        restart_share=0.05,
    )
    return models.LangevinModel(
        network,
        source,
        preprocessor=pixels,
        energy_l2=1.0,
        data_stddev=0.03,
        seed=settings.seed,
    )


def _steps(settings) -> dict:
    """Numbers of Langevin steps for pixels from -1 to 1."""
    return {
        "step_size": 4.0 * settings.step_size,
        "noise_stddev": 2.0 * settings.noise_stddev,
        "max_gradient": 0.5 * settings.max_gradient,
    }


def widths(settings: EnergySettings) -> tuple[int, ...]:
    """`filters` as integers of at least 1.

    Raises:
        ValueError: if one is not.
    """
    found = integers("`filters`", settings.filters)
    if not found or any(width < 1 for width in found):
        raise ValueError(
            "`filters` must be integers of at least 1. Received: filters="
            f"{','.join(map(str, settings.filters))}."
        )
    return found


def walks(
    model: keras.Model,
    corruption: Corruption,
    settings: EnergySettings,
    steps,
    weights,
    in_latents: bool = False,
) -> list:
    """The walks to choose from on validation rows.

    Args:
        model: energy model.
        corruption: of what is observed; where its likelihood says nothing, weights are
            not tried.
        settings: `EnergySettings`, whose chains an energy without levels walks by.
        steps: numbers of steps.
        weights: of the likelihood: `likelihood_weight`, or `spread` of levels.
        in_latents: bool, walks the latents of the model's generator.
    """
    if isinstance(corruption, Masked):
        weights = weights[:1]
    if in_latents:
        build = lambda n, w: LatentWalk(n, likelihood_weight=w)  # noqa: E731
    elif hasattr(model.network, "level_energy"):
        network = model.network

        # What hides much needs the large structures, which come at high levels.
        high = network.high if isinstance(corruption, Masked) else 1.0

        def build(n, w):
            return LevelWalk(
                n,
                high=high,
                spread=w,
                data_stddev=network.data_stddev,
                guidance=0.5,
            )
    else:

        def build(n, w):
            weight = w * settings.max_gradient / 100.0
            start = 0.3 if isinstance(corruption, Masked) else 0.0
            return EnergyWalk(
                n, likelihood_weight=weight, start_stddev=start, **_steps(settings)
            )

    return [build(n, w) for n in steps for w in weights]
