"""Two logical devices for the tests of replicas, and one seed for every test.

They are of the first GPU where there is one, else of the CPU.
"""

import keras
import pytest
import tensorflow as tf
from forks import Forks

KIND = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
#: Mebibytes of a logical device; on GPUs it must be said.
MEMORY = {"CPU": None, KIND: 3072 if KIND == "GPU" else None}
# Before any operation runs: logical devices cannot be added afterwards.
for kind, memory in MEMORY.items():
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices(kind)[0],
        [tf.config.LogicalDeviceConfiguration(memory)] * 2,
    )
# The known answers are to float32's precision, where a GPU runs the tests.
tf.config.experimental.enable_tensor_float_32_execution(False)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def forks():
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def start(forks):
    """Starts a program, `(name, *flags)`."""
    return forks.start


@pytest.fixture(scope="session")
def run(forks):
    """Runs a program to its end: `(exit code, stdout, stderr)`."""
    return forks.run


@pytest.fixture(scope="session")
def strategy():
    """Two replicas. On CPUs the default reduction knows one strategy a process.

    Nor does NCCL, the default of GPUs, know two replicas on one.
    """
    return tf.distribute.MirroredStrategy(
        [f"{KIND}:0", f"{KIND}:1"],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )
