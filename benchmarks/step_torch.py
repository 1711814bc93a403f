"""The plain step in PyTorch, for `benchmarks.step_baselines`.

Only functions import PyTorch, as it need not be installed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.step_time import WEIGHTS
from benchmarks.step_two_tapes import (
    LEARNING_RATE,
    SAMPLES,
    STDDEV,
    STDDEV_BOUNDS,
    WIDTH,
)

if TYPE_CHECKING:
    from benchmarks.step_baselines import Setting


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
