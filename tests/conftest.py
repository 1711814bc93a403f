"""Two logical devices for the tests of replicas, and one seed for every test."""

import keras
import pytest
import tensorflow as tf

# Before any operation runs: logical devices cannot be added afterwards.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
# The known answers are to float32's precision, where a GPU runs the tests.
tf.config.experimental.enable_tensor_float_32_execution(False)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def strategy():
    """Two replicas. On CPUs the default reduction knows one strategy a process."""
    return tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )
