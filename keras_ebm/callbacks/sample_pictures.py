"""Pictures of a run in TensorBoard."""

import os

import keras
import numpy as np
import tensorflow as tf

from keras_ebm import plots


class SamplePictures(keras.callbacks.Callback):
    """Writes pictures and energy histograms to TensorBoard every few epochs.

    The histograms are of the energies, in nats, of the data and of the model's own
    samples where it can make them.

    Args:
        log_dir: folder of the TensorBoard event files.
        data: preprocessed data `(rows, ...)`; two entries draw an energy
            map with data and samples, images draw a grid of samples, and
            anything else draws no picture.
        every: int, epochs between pictures.
    """

    def __init__(self, log_dir: str | os.PathLike, data: np.ndarray, every: int = 5):
        super().__init__()
        self.log_dir = str(log_dir)
        self.data = data
        self.every = every

    def on_train_begin(self, logs=None):
        self.writer = tf.summary.create_file_writer(self.log_dir)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"]:
            samples = plots.samples_of(self.model)
            figure = plots.model_figure(self.model, self.data, samples)
            with self.writer.as_default(step=epoch + 1):
                if figure is not None:
                    tf.summary.image("model", plots.to_array(figure)[None])
                for name, x in (("data", self.data), ("samples", samples)):
                    if x is not None:
                        tf.summary.histogram(f"energy_of_{name}", self._energies(x))

    def _energies(self, x):
        return self.model.to_energy(self.model.network(x, training=False))

    def on_train_end(self, logs=None):
        self.writer.close()
