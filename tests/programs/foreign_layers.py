"""A layer of a user's own, which programs know by `--import`."""

import keras


@keras.saving.register_keras_serializable(package="foreign")
class Twice(keras.layers.Layer):
    """Twice its inputs."""

    def call(self, inputs):
        return 2.0 * inputs
