r"""Times a VERA step against the same step written plainly, in PyTorch, and by chains.

Steps of the same networks, with a gradient penalty, the contrastive objective and
20 importance samples:

- `library`: `keras_ebm.VERA.train_step`, compiled into a graph;
- `two tapes`: the paper's algorithm line by line in TensorFlow, compiled as well: the
  generator is run anew under its own tape, and the energy on what it makes. It keeps
  no metrics, which the library's step does;
- `pytorch`: the same in PyTorch without compilation, in a process of its own. Its
  samples keep their graph from the energy's turn to the generator's, the importance
  samples are drawn under `no_grad`, Adam is the fused one: the fastest plain form,
  in the fastest of both layouts of images and of one and two threads (a trial);
- `chains`: JEM's step with 20 Langevin steps (`LangevinModel`), without penalty;
- `derivatives alone`: of all that only the energy network's derivatives, which any form
  of the step has to take.

Blocks of steps alternate, so that a machine's drift hits all alike. Ratios are medians
over blocks. Processor time (of all threads) is reported beside the wall-clock, as it
depends less on what else the machine does. Run from the top of the checkout:

    python -m benchmarks.step_baselines \
        --output=benchmarks/results/step_baselines.json
"""

import dataclasses
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from benchmarks.machine import machine
from benchmarks.step_time import WEIGHTS, step_function
from keras_ebm import VERA, GaussianGenerator, LangevinModel, networks
from keras_ebm.entropy import ImportanceSampling
from keras_ebm.negatives import LangevinMoves, MarkovChains, ReplayBuffer
from trainers.program import json_files, options, running

SAMPLES = 20
CHAIN_STEPS = 20
LEARNING_RATE = 1e-4
#: Where the width of the generator's noise and of the proposals starts.
STDDEV, WIDTH = 0.1, 0.1
STDDEV_BOUNDS = (0.01, 0.3)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Networks and batch; `torch_*` name the functions below that mirror them."""

    batch: int
    energy: Callable
    decoder: Callable
    torch_energy: str
    torch_decoder: str

    def build(self):
        """Energy network and decoder, the same at every call."""
        keras.utils.set_random_seed(0)
        return self.energy(), self.decoder()


IMAGE, LATENT = (32, 32, 3), 128


def _wide_resnet():
    return networks.wide_resnet(IMAGE, 10, depth=10, width=2)


SETTINGS = {
    "WRN-10-2, convolutional decoder": Setting(
        40,
        _wide_resnet,
        lambda: networks.resnet_decoder(LATENT, IMAGE, filters=32, normalization=None),
        "wide_resnet",
        "resnet_decoder",
    ),
    "WRN-10-2, MLP decoder": Setting(
        40,
        _wide_resnet,
        lambda: networks.mlp_decoder(
            LATENT, IMAGE, hidden=(128, 256), output_activation="tanh"
        ),
        "wide_resnet",
        "mlp",
    ),
    "MLP 561-500-500-500-6": Setting(
        64,
        lambda: networks.mlp_energy((561,), 6, hidden=(500, 500, 500)),
        lambda: networks.mlp_decoder(64, (561,), hidden=(128,)),
        "mlp",
        "mlp",
    ),
}
KINDS = ("library", "two tapes", "pytorch", "chains", "derivatives alone")
#: PyTorch's, of which the faster number is taken.
THREADS = {1: "1 thread", 2: "2 threads"}
#: What was aimed at: `(numerator, denominator, comparison, bound)` of times.
TARGETS = (
    ("library", "two tapes", "<=", 0.9),
    ("pytorch", "library", ">=", 1.9),
    ("chains", "library", ">=", 3.0),
)


def build_library(setting: Setting, samples: int = SAMPLES):
    """VERA as the library has it, compiled."""
    network, decoder = setting.build()
    generator = GaussianGenerator(
        decoder, initial_stddev=STDDEV, stddev_bounds=STDDEV_BOUNDS
    )
    entropy = ImportanceSampling(samples, initial_width=WIDTH)
    model = VERA(network, generator, entropy=entropy, **WEIGHTS)
    model.compile(*(keras.optimizers.Adam(LEARNING_RATE) for _ in range(2)))
    return model


def build_chains(setting: Setting):
    """JEM by chains as published, but for the optimizer."""
    network, _ = setting.build()
    chains = MarkovChains(
        LangevinMoves(CHAIN_STEPS, step_size=1.0, noise_stddev=0.01),
        ReplayBuffer(network.input_shape[1:], 10_000),
        start="uniform",
    )
    weight = WEIGHTS["energy_weight"]
    model = LangevinModel(network, chains, energy_weight=weight, data_stddev=0.03)
    model.compile(keras.optimizers.Adam(LEARNING_RATE))
    return model


# The plain step in TensorFlow


def normal_log_prob(x, mean, log_stddev, axes):
    """`log N(x; mean, exp(log_stddev)^2)` summed over `axes`, as textbooks have it."""
    scaled = (x - mean) / tf.exp(log_stddev)
    terms = -0.5 * scaled**2 - log_stddev - 0.5 * math.log(2.0 * math.pi)
    return tf.reduce_sum(terms, axis=axes)


class TwoTapes:
    """VERA's step as the paper's algorithm reads.

    The energy that the generator descends is the updated one, as in the paper; the
    library's generator sees the energy as it was before. All else is the same.

    Args:
        network: energy network, inputs to logits.
        decoder: latents to inputs.
        samples: int, importance samples.
        optimizers: of the energy, the generator and the proposals' widths.
    """

    def __init__(self, network, decoder, samples: int = SAMPLES, optimizers=None):
        self.network, self.decoder, self.samples = network, decoder, samples
        self.log_stddev = keras.Variable(math.log(STDDEV))
        latent_dim = decoder.input_shape[-1]
        self.log_width = keras.Variable(np.full(latent_dim, math.log(WIDTH), "float32"))
        self.optimizers = optimizers or [
            keras.optimizers.Adam(rate) for rate in (LEARNING_RATE, LEARNING_RATE, 0.02)
        ]
        self.owned = (
            network.trainable_variables,
            [*decoder.trainable_variables, self.log_stddev],
            [self.log_width],
        )
        for optimizer, variables in zip(self.optimizers, self.owned, strict=True):
            optimizer.build(variables)
        self.axes = list(range(1, len(network.input_shape)))

    def train_step(self, data):
        x, y = data
        return self.update(x, y, *self.draw(x.shape[0]))

    def draw(self, batch: int):
        """All noise of one step: latents, pixels, proposals, their widths' loss."""
        latent_dim = self.decoder.input_shape[-1]
        shape = self.network.input_shape[1:]
        return (
            tf.random.normal([batch, latent_dim]),
            tf.random.normal([batch, *shape]),
            tf.random.normal([batch, self.samples, latent_dim]),
            tf.random.normal([batch, latent_dim]),
        )

    def update(self, x, y, latents, noise, proposal_noise, width_noise):
        """One step from given noise; returns the three losses."""
        fake = self.generate(latents, noise)
        loss = self._update_energy(x, y, fake)
        score = self.score(latents, fake, proposal_noise)
        width_loss = self._update_widths(latents, fake, width_noise)
        generator_loss = self._update_generator(latents, noise, score)
        return {
            "loss": loss,
            "generator_loss": generator_loss,
            "posterior_loss": width_loss,
        }

    def generate(self, latents, noise):
        mean = self.decoder(latents, training=True)
        return mean + tf.exp(self.log_stddev) * noise

    def energy(self, x):
        return -tf.reduce_logsumexp(self.network(x, training=True), axis=-1)

    def energy_loss(self, x, y, fake):
        with tf.GradientTape() as inner:
            inner.watch(x)
            logits = self.network(x, training=True)
            energy = -tf.reduce_logsumexp(logits, axis=-1)
        gradient = inner.gradient(energy, x)
        penalty = tf.reduce_mean(0.5 * tf.reduce_sum(gradient**2, axis=self.axes))
        contrast = tf.reduce_mean(energy) - tf.reduce_mean(self.energy(fake))
        cross_entropy = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
        )
        return cross_entropy + WEIGHTS["energy_weight"] * (
            contrast + WEIGHTS["gradient_penalty"] * penalty
        )

    def _update_energy(self, x, y, fake):
        with tf.GradientTape() as tape:
            loss = self.energy_loss(x, y, fake)
        self._apply(0, tape, loss)
        return loss

    def score(self, latents, x, noise):
        """Importance sampling of `d log q(x) / dx` around the latents of `x`."""
        batch, latent_dim = latents.shape
        proposed = latents[:, None] + tf.exp(self.log_width) * noise
        flat = tf.reshape(proposed, [batch * self.samples, latent_dim])
        means = self.decoder(flat, training=True)
        means = tf.reshape(means, [batch, self.samples, *x.shape[1:]])
        axes = [axis + 1 for axis in self.axes]
        log_weights = (
            normal_log_prob(x[:, None], means, self.log_stddev, axes)
            + normal_log_prob(proposed, 0.0, 0.0, -1)
            - normal_log_prob(proposed, latents[:, None], self.log_width, -1)
        )
        weights = tf.nn.softmax(log_weights, axis=1)
        weights = tf.reshape(weights, [batch, self.samples, *[1] * len(self.axes)])
        scores = (means - x[:, None]) / tf.exp(2.0 * self.log_stddev)
        return tf.reduce_sum(weights * scores, axis=1)

    def _update_widths(self, latents, x, noise):
        with tf.GradientTape() as tape:
            proposed = latents + tf.exp(self.log_width) * noise
            mean = self.decoder(proposed, training=True)
            log_joint = normal_log_prob(x, mean, self.log_stddev, self.axes)
            log_joint += normal_log_prob(proposed, 0.0, 0.0, -1)
            entropy = tf.reduce_sum(
                self.log_width + 0.5 * math.log(2.0 * math.pi * math.e)
            )
            loss = -tf.reduce_mean(log_joint) - entropy
        self._apply(2, tape, loss)
        return loss

    def _update_generator(self, latents, noise, score):
        with tf.GradientTape() as tape:
            fake = self.generate(latents, noise)
            surrogate = tf.reduce_sum(tf.stop_gradient(score) * fake, axis=self.axes)
            loss = tf.reduce_mean(self.energy(fake)) + tf.reduce_mean(surrogate)
        self._apply(1, tape, loss)
        low, high = (math.log(bound) for bound in STDDEV_BOUNDS)
        self.log_stddev.assign(tf.clip_by_value(self.log_stddev.value, low, high))
        return loss

    def _apply(self, index, tape, loss):
        variables = self.owned[index]
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        self.optimizers[index].apply(gradients, variables)


class DerivativesAlone(TwoTapes):
    """What no way of writing the step leaves out: the energy's derivatives.

    Those of the energy's loss by the weights and by the samples, in one backward pass.
    No noise, decoder, update or log.
    """

    def train_step(self, data):
        x, y = data
        samples, weights = x[::-1], [v.value for v in self.owned[0]]
        with tf.GradientTape() as tape:
            tape.watch(samples)
            loss = self.energy_loss(x, y, samples)
        # Returned, as a graph leaves out what nothing takes.
        return {"loss": loss, "gradients": tape.gradient(loss, [*weights, samples])}


PLAIN = {"two tapes": TwoTapes, "derivatives alone": DerivativesAlone}


# The plain step in PyTorch; only these functions import it


class TorchStep:
    """`TwoTapes` in eager PyTorch, from the weights of Keras networks.

    Args:
        setting: `Setting`, whose `torch_*` run the networks.
        network: Keras energy network to copy.
        decoder: Keras decoder to copy.
        samples: int, importance samples.
        channels_last: bool, the layout of images in memory.
        fused: bool, whether Adam is PyTorch's fused one.
    """

    def __init__(
        self,
        setting: Setting,
        network,
        decoder,
        samples: int = SAMPLES,
        channels_last: bool = True,
        fused: bool = True,
    ):
        import torch

        self.samples, self.channels_last = samples, channels_last
        self.shape = tuple(network.input_shape[1:])
        self.latent_dim = decoder.input_shape[-1]
        self.run_energy = FORWARDS[setting.torch_energy]
        self.run_decoder = FORWARDS[setting.torch_decoder]
        self.energy_weights = self._copy(network)
        self.decoder_weights = self._copy(decoder)
        self.log_stddev = torch.tensor(math.log(STDDEV), requires_grad=True)
        log_width = torch.full([self.latent_dim], math.log(WIDTH))
        self.log_width = log_width.requires_grad_()
        self.owned = (
            [w for pair in self.energy_weights.values() for w in pair],
            [w for pair in self.decoder_weights.values() for w in pair]
            + [self.log_stddev],
            [self.log_width],
        )
        rates = (LEARNING_RATE, LEARNING_RATE, 0.02)
        self.optimizers = [
            torch.optim.Adam(weights, rate, eps=1e-7, fused=fused)
            for weights, rate in zip(self.owned, rates, strict=True)
        ]

    def _copy(self, network):
        import torch

        weights = {}
        for layer in network.layers:
            if not layer.weights:
                continue
            kernel, bias = layer.get_weights()
            image = kernel.ndim == 4
            kernel = torch.tensor(kernel.transpose(3, 2, 0, 1) if image else kernel.T)
            kernel = kernel.contiguous()
            if image and self.channels_last:
                kernel = kernel.to(memory_format=torch.channels_last)
            pair = kernel.requires_grad_(), torch.tensor(bias).requires_grad_()
            weights[layer.name] = pair
        return weights

    def inputs(self, x):
        """Rows as Keras has them, `(batch, ...)`, as a tensor in PyTorch's layout."""
        import torch

        tensor = torch.tensor(np.asarray(x))
        if tensor.ndim < 4:
            return tensor
        tensor = tensor.permute(0, 3, 1, 2)
        if self.channels_last:
            return tensor.contiguous(memory_format=torch.channels_last)
        return tensor.contiguous()

    def draw(self, batch: int):
        """All noise of one step, as `TwoTapes.draw`."""
        import torch

        image = len(self.shape) == 3
        shape = (self.shape[2], *self.shape[:2]) if image else self.shape
        noise = torch.randn(batch, *shape)
        if image and self.channels_last:
            noise = noise.contiguous(memory_format=torch.channels_last)
        return (
            torch.randn(batch, self.latent_dim),
            noise,
            torch.randn(batch, self.samples, self.latent_dim),
            torch.randn(batch, self.latent_dim),
        )

    def train_step(self, x, y):
        return self.update(x, y, *self.draw(len(x)))

    def decode(self, latents):
        return self.run_decoder(self.decoder_weights, latents, self)

    def logits(self, x):
        return self.run_energy(self.energy_weights, x, self)

    def energy(self, x):
        return -self.logits(x).logsumexp(-1)

    def update(self, x, y, latents, noise, proposal_noise, width_noise):
        """One step from given noise; returns the three losses."""
        fake = self.decode(latents) + self.log_stddev.exp() * noise
        held = fake.detach()
        loss = self._update_energy(x, y, held)
        score = self.score(latents, held, proposal_noise)
        width_loss = self._update_widths(latents, held, width_noise)
        generator_loss = self._update_generator(fake, score)
        return {
            "loss": loss,
            "generator_loss": generator_loss,
            "posterior_loss": width_loss,
        }

    def _update_energy(self, x, y, fake):
        import torch

        x = x.detach().requires_grad_()
        logits = self.logits(x)
        energy = -logits.logsumexp(-1)
        (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
        penalty = 0.5 * gradient.square().flatten(1).sum(1).mean()
        contrast = energy.mean() - self.energy(fake).mean()
        loss = torch.nn.functional.cross_entropy(logits, y)
        loss = loss + WEIGHTS["energy_weight"] * (
            contrast + WEIGHTS["gradient_penalty"] * penalty
        )
        self._apply(0, loss)
        return loss.detach()

    def score(self, latents, x, noise):
        import torch

        with torch.no_grad():
            batch = len(latents)
            proposed = latents[:, None] + self.log_width.exp() * noise
            means = self.decode(proposed.flatten(0, 1)).flatten(1)
            means = means.view(batch, self.samples, -1)
            rows = x.flatten(1)[:, None]
            log_weights = (
                torch_log_prob(rows, means, self.log_stddev)
                + torch_log_prob(proposed, 0.0, torch.zeros(()))
                - torch_log_prob(proposed, latents[:, None], self.log_width)
            )
            weights = log_weights.softmax(1)[..., None]
            scores = (means - rows) / (2.0 * self.log_stddev).exp()
            return (weights * scores).sum(1).view(x.shape)

    def _update_widths(self, latents, x, noise):
        import torch

        proposed = latents + self.log_width.exp() * noise
        mean = self.decode(proposed).flatten(1)
        log_joint = torch_log_prob(x.flatten(1), mean, self.log_stddev)
        log_joint = log_joint + torch_log_prob(proposed, 0.0, torch.zeros(()))
        entropy = (self.log_width + 0.5 * math.log(2.0 * math.pi * math.e)).sum()
        loss = -log_joint.mean() - entropy
        self._apply(2, loss)
        return loss.detach()

    def _update_generator(self, fake, score):
        import torch

        loss = self.energy(fake).mean() + (score * fake).flatten(1).sum(1).mean()
        self._apply(1, loss)
        with torch.no_grad():
            self.log_stddev.clamp_(*(math.log(bound) for bound in STDDEV_BOUNDS))
        return loss.detach()

    def _apply(self, index, loss):
        # Only its own weights' gradients. `autograd.grad` would leave some in a
        # layout unlike the weight's, which the fused Adam takes for the same.
        self.optimizers[index].zero_grad()
        loss.backward(inputs=self.owned[index])
        self.optimizers[index].step()


def torch_log_prob(x, mean, log_stddev):
    """`normal_log_prob` over the last axis."""
    scaled = (x - mean) / log_stddev.exp()
    terms = -0.5 * scaled**2 - log_stddev - 0.5 * math.log(2.0 * math.pi)
    return terms.sum(-1)


def _torch_mlp(weights, x, step):
    """`networks.mlp_energy` of vectors and `networks.mlp_decoder`."""
    from torch.nn import functional

    *hidden, last = weights
    for name in hidden:
        x = functional.silu(functional.linear(x, *weights[name]))
    x = functional.linear(x, *weights[last])
    if last == "outputs" and len(step.shape) == 3:
        x = _torch_image(x.tanh(), step.shape, step)
    return x


def _torch_image(rows, shape, step):
    """Flat rows of `(height, width, channels)` as images of PyTorch's layout."""
    x = rows.view(-1, *shape).permute(0, 3, 1, 2)
    return x if step.channels_last else x.contiguous()


def _torch_wide_resnet(weights, x, step):
    """`networks.wide_resnet` of one block a stage."""
    from torch.nn import functional

    def activate(x):
        return functional.leaky_relu(x, 0.2)

    x = functional.conv2d(x, *weights["stem"], padding=1)
    for stage in range(3):
        name, stride = f"block_{stage}_0", 2 if stage else 1
        h = functional.conv2d(activate(x), *weights[f"{name}_first"], padding=1)
        pair = weights[f"{name}_second"]
        h = functional.conv2d(activate(h), *pair, stride=stride, padding=1)
        if f"{name}_shortcut" in weights:
            x = functional.conv2d(x, *weights[f"{name}_shortcut"], stride=stride)
        x = x + h
    return functional.linear(activate(x).mean((2, 3)), *weights["logits"])


def _torch_resnet_decoder(weights, latents, step):
    """`networks.resnet_decoder` without normalisation."""
    from torch.nn import functional

    def double(x):
        return functional.interpolate(x, scale_factor=2, mode="nearest")

    x = functional.linear(latents, *weights["map"])
    rows, columns = (side // 8 for side in step.shape[:2])
    channels = x.shape[1] // (rows * columns)
    x = _torch_image(x, (rows, columns, channels), step)
    for index in range(3):
        first, second = (weights[f"block_{index}_{i}"] for i in ("first", "second"))
        h = functional.conv2d(double(x.relu()), *first, padding=1)
        h = functional.conv2d(h.relu(), *second, padding=1)
        x = double(x) + h
    return functional.conv2d(x.relu(), *weights["outputs"], padding=1).tanh()


FORWARDS = {
    "mlp": _torch_mlp,
    "wide_resnet": _torch_wide_resnet,
    "resnet_decoder": _torch_resnet_decoder,
}


# Timing


class Local:
    """A compiled step of this process as `steps -> (seconds, processor seconds)`."""

    def __init__(self, model, batch: int):
        self.function = step_function(model, batch)

    def __call__(self, steps: int):
        start, used = time.perf_counter(), time.process_time()
        for _ in range(steps):
            logs = self.function()
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise RuntimeError(f"The loss is {loss}: the times would mean nothing.")
        return time.perf_counter() - start, time.process_time() - used


class Torch:
    """The same for PyTorch, whose process waits while others are timed.

    Args:
        name: key of `SETTINGS`.
        threads: int.
        channels_last: bool.
        fused: bool, whether Adam is PyTorch's fused one.
    """

    #: Else its idle threads spin, and starve whatever shares the processor.
    ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}

    def __init__(
        self, name: str, threads: int = 2, channels_last: bool = True, fused=True
    ):
        arguments = f"{name!r}, {threads}, {channels_last}, {fused}"
        program = f"""
from benchmarks.step_baselines import serve_torch
serve_torch({arguments})
"""
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **self.ENVIRONMENT, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self._answer()[0]

    def __call__(self, steps: int):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return tuple(float(value) for value in self._answer())

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("The process of PyTorch ended; see its error above.")
        return line.split()

    def close(self) -> None:
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def serve_torch(name: str, threads: int, channels_last: bool, fused: bool) -> None:
    """Answers each number of steps on stdin by `seconds processor_seconds`."""
    import torch

    torch.set_num_threads(threads)
    setting = SETTINGS[name]
    network, decoder = setting.build()
    step = TorchStep(
        setting, network, decoder, channels_last=channels_last, fused=fused
    )
    rng = np.random.default_rng(0)
    shape = (setting.batch, *step.shape)
    x = step.inputs(rng.uniform(-1, 1, shape).astype(np.float32))
    classes = network.output_shape[-1]
    y = torch.tensor(rng.integers(0, classes, setting.batch))
    print(torch.__version__, flush=True)
    for line in sys.stdin:
        start, used = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            losses = step.train_step(x, y)
        if not math.isfinite(float(losses["loss"])):
            raise RuntimeError("PyTorch's loss is not finite.")
        seconds, used = time.perf_counter() - start, time.process_time() - used
        print(seconds, used, flush=True)


def alternate(runners: dict, blocks: int, steps: dict, warm_up: int = 3):
    """Wall-clock and processor milliseconds a step, each `{kind: (blocks,)}`.

    Args:
        runners: `{kind: callable}` from steps to `(seconds, processor seconds)`.
        blocks: int.
        steps: `{kind: steps in a block}`.
        warm_up: int, steps before anything is timed.
    """
    wall, used = ({kind: [] for kind in runners} for _ in range(2))
    for runner in runners.values():
        runner(warm_up)
    order = list(runners)
    for block in range(blocks):
        # There and back: nobody always follows the same neighbour.
        for kind in order if block % 2 == 0 else reversed(order):
            seconds = runners[kind](steps[kind])
            wall[kind].append(1e3 * seconds[0] / steps[kind])
            used[kind].append(1e3 * seconds[1] / steps[kind])
    return tuple(
        {kind: np.array(v) for kind, v in times.items()} for times in (wall, used)
    )


def build(kind: str, setting: Setting):
    """The model of one of `KINDS` that runs in this process."""
    if kind in PLAIN:
        return PLAIN[kind](*setting.build())
    return (build_library if kind == "library" else build_chains)(setting)


def measure(name: str, blocks: int, steps: int, kinds=KINDS, choose: int = 3) -> dict:
    """Times and ratios of one of `SETTINGS`.

    Args:
        name: key of `SETTINGS`.
        blocks: int, alternations.
        steps: int, steps in a block; of `chains` a third.
        kinds: those of `KINDS` to time; `pytorch` needs it installed.
        choose: int, alternations between PyTorch's layouts and numbers of threads
            beforehand, of which the fastest is taken.
    """
    setting, row = SETTINGS[name], {"batch": SETTINGS[name].batch}
    runners = {
        kind: Local(build(kind, setting), setting.batch)
        for kind in kinds
        if kind != "pytorch"
    }
    workers = []
    try:
        if "pytorch" in kinds:
            torch, row["pytorch"] = _fastest_torch(name, choose, steps, workers)
            runners["pytorch"] = torch
        per_block = {kind: steps for kind in runners}
        per_block["chains"] = max(1, steps // 3)
        wall, used = alternate(runners, blocks, per_block)
    finally:
        for worker in workers:
            worker.close()
    row["milliseconds"] = {kind: quartiles(values) for kind, values in wall.items()}
    row["processor_milliseconds"] = {
        kind: quartiles(values) for kind, values in used.items()
    }
    row["load_average"] = os.getloadavg()[0]
    row["ratios"] = compare(wall, used)
    return row


def compare(wall: dict, used: dict) -> dict:
    """Ratios of times of blocks, `{kind: (blocks,)}`, against `TARGETS`."""
    ratios = {}
    for above, below, comparison, bound in TARGETS:
        if above not in wall or below not in wall:
            continue
        ratio = quartiles(wall[above] / wall[below])
        median = ratio["median"]
        ratios[f"{above} / {below}"] = {
            **ratio,
            "processor": quartiles(used[above] / used[below]),
            "target": f"{comparison} {bound:g}",
            "met": median <= bound if comparison == "<=" else median >= bound,
        }
    return ratios


def _fastest_torch(name, blocks, steps, workers):
    """PyTorch in its fastest layout and threads, and the times that chose them."""
    layouts = [False, True] if SETTINGS[name].torch_energy != "mlp" else [False]
    runners = {}
    for channels_last in layouts:
        for threads in THREADS:
            layout = "channels_last" if channels_last else "contiguous"
            worker = Torch(name, threads, channels_last)
            workers.append(worker)
            runners[f"{layout}, {THREADS[threads]}"] = worker
    wall, _ = alternate(runners, blocks, dict.fromkeys(runners, steps))
    trial = {layout: float(np.median(values)) for layout, values in wall.items()}
    chosen = min(trial, key=trial.get)
    return runners[chosen], {
        "version": workers[0].version,
        "chosen": chosen,
        "trial_milliseconds": trial,
    }


def quartiles(values) -> dict:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "quartiles": [float(low), float(high)]}


def table(results: dict) -> str:
    """Markdown: the times, and the ratios with their targets."""
    times = [
        "| networks | step | ms (quartiles) | processor ms | of the library's |",
        "|---|---|---:|---:|---:|",
    ]
    ratios = [
        "| networks | ratio | median (quartiles) | by processor time | target | |",
        "|---|---|---:|---:|---:|---|",
    ]
    for name, row in results["settings"].items():
        wall, used = row["milliseconds"], row["processor_milliseconds"]
        for kind in KINDS:
            if kind not in wall:
                continue
            low, high = wall[kind]["quartiles"]
            share = wall[kind]["median"] / wall["library"]["median"]
            times.append(
                f"| {name} | {kind} | {wall[kind]['median']:.1f} "
                f"({low:.1f} to {high:.1f}) | {used[kind]['median']:.1f} "
                f"| {share:.2f} |"
            )
        for ratio, values in row["ratios"].items():
            low, high = values["quartiles"]
            ratios.append(
                f"| {name} | {ratio} | {values['median']:.2f} ({low:.2f} to "
                f"{high:.2f}) | {values['processor']['median']:.2f} "
                f"| {values['target']} | {'met' if values['met'] else 'missed'} |"
            )
    return "\n".join([*times, "", *ratios]) + "\n"


@dataclasses.dataclass(frozen=True)
class BaselineSettings:
    """Flags of the benchmark."""

    blocks: int = options.setting(15, "Alternations.")
    seconds: float = options.setting(2.0, "Length of a block, about.")
    only: str = options.setting("", "One of the settings; default all.")
    output: str = options.setting("", "JSON file to write, or to add settings to.")


def main(argv: list[str]) -> None:
    del argv
    settings = options.from_flags(BaselineSettings)
    results = {"machine": machine(), "samples": SAMPLES, "settings": {}}
    if settings.output and os.path.exists(settings.output):
        results = {**json_files.read_json(settings.output), "machine": machine()}
    for name, setting in SETTINGS.items():
        if settings.only not in ("", name):
            continue
        trial = Local(build("two tapes", setting), setting.batch)
        trial(3)
        steps = max(1, round(5 * settings.seconds / trial(5)[0]))
        row = measure(name, settings.blocks, steps)
        results["settings"][name] = {"steps": steps, "blocks": settings.blocks, **row}
        if settings.output:
            json_files.write_json(settings.output, results)
    print(table(results))


if __name__ == "__main__":
    options.define_flags(BaselineSettings)
    running.run_program(main)
