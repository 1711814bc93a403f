"""Pictures of a run in TensorBoard."""

import keras
import tensorflow as tf

from keras_ebm import plots


class SamplePictures(keras.callbacks.Callback):
    """Writes a picture every few epochs: samples, or a 2-D energy map.

    Args:
        log_dir: folder of the TensorBoard event files.
        data: preprocessed data `(rows, ...)`; two features draw an energy
            map with data and samples, images draw a grid of samples, and
            anything else draws nothing.
        every: int, epochs between pictures.
    """

    def __init__(self, log_dir, data, every: int = 5):
        super().__init__()
        self.log_dir = str(log_dir)
        self.data = data
        self.every = every

    def on_train_begin(self, logs=None):
        self.writer = tf.summary.create_file_writer(self.log_dir)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"]:
            figure = plots.model_figure(self.model, self.data)
            if figure is not None:
                image = plots.to_array(figure)
                with self.writer.as_default(step=epoch + 1):
                    tf.summary.image("model", image[None])

    def on_train_end(self, logs=None):
        self.writer.close()
