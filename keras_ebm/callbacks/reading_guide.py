"""How to read the curves of a run, beside them."""

import os

import keras
import tensorflow as tf

from keras_ebm.models.log_meanings import guide


class ReadingGuide(keras.callbacks.Callback):
    """Writes a page to TensorBoard's tab Text on how to read the logs that a run has.

    Args:
        log_dir: folder of the TensorBoard event files.
    """

    def __init__(self, log_dir: str | os.PathLike):
        super().__init__()
        self.log_dir = str(log_dir)
        self._written = False

    def on_epoch_end(self, epoch, logs=None):
        # Which logs there are is known once an epoch has ended.
        if not self._written:
            with tf.summary.create_file_writer(self.log_dir).as_default(step=0):
                tf.summary.text("how to read these curves", guide(list(logs or {})))
            self._written = True
