"""PyTorch's step computes the losses of TensorFlow's."""

import numpy as np
import pytest
import tensorflow as tf
from step_support import SAMPLES, SMALL, data_of

from benchmarks.step_baselines import SETTINGS
from benchmarks.step_torch import TorchStep
from benchmarks.step_two_tapes import TwoTapes


@pytest.fixture
def torch():
    module = pytest.importorskip("torch")
    # Two threads spin while they wait, which costs many times the work itself
    # where anything else runs.
    before = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(before)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_pytorch_computes_the_same_losses(torch, name, channels_last):
    setting = SMALL[name]
    plain = TwoTapes(*setting.build(), SAMPLES)
    other = TorchStep(setting, *setting.build(), SAMPLES, channels_last=channels_last)
    x, y = data_of(setting)
    noise = plain.draw(setting.batch)
    labels = torch.tensor(y.numpy().astype(np.int64))
    inputs = other.inputs(x), labels, *(other.inputs(part) for part in noise)
    # The second step is from the weights that all three optimizers left.
    for tolerance in (1e-4, 1e-3):
        ours, theirs = plain.update(x, y, *noise), other.update(*inputs)
        for key, value in ours.items():
            value = float(value)
            assert float(theirs[key]) == pytest.approx(value, rel=tolerance), key


def test_pytorch_computes_the_loss_of_the_benchmarks_network(torch):
    setting = SETTINGS["MLP 561-500-500-500-6"]
    plain = TwoTapes(*setting.build())
    other = TorchStep(setting, *setting.build())
    x = tf.random.uniform([setting.batch, 561], -1, 1, seed=0)
    y = np.arange(setting.batch) % 6
    noise = plain.draw(setting.batch)
    ours = plain.update(x, tf.constant(y, tf.int32), *noise)["loss"]
    inputs = (other.inputs(part) for part in noise)
    theirs = other.update(other.inputs(x), torch.tensor(y), *inputs)["loss"]
    assert float(theirs) == pytest.approx(float(ours), abs=1e-4)
