"""From data to a model with a threshold, and on to a SavedModel."""

import keras
import tensorflow as tf

import keras_ebm as ebm

# [detector]
data = ebm.data.load("digits")  # or "csv:table.csv", "tfds:mnist", "npz:arrays.npz"
rows = ebm.data.make_splits(data, seed=0)
network = ebm.networks.mlp_energy(data.input_shape, num_outputs=10)
generator = ebm.GaussianGenerator(ebm.networks.mlp_decoder(32, data.input_shape))
pixels = keras.layers.Rescaling(1 / 127.5, offset=-1)  # 0..255 to [-1, 1]
model = ebm.VERA(network, generator, preprocessor=pixels, objective="logistic")
model.compile("adam", "adam")
model.fit(data.x[rows.train], data.y[rows.train], batch_size=64, epochs=30, verbose=2)
detector = ebm.ood.Detector.calibrate(model, data.x[rows.calibration], target_fpr=0.05)
# [export]
path = ebm.serving.export_classifier(detector, "served/digits", data.x[rows.test])
served = tf.saved_model.load(path).signatures["serving_default"]
answers = served(inputs=tf.constant(data.x[rows.test]))  # class_id, energy, accept, ...
# [end]
correct = answers["class_id"].numpy() == data.y[rows.test]
accepted = answers["accept"].numpy()
print(
    f"accuracy {correct.mean():.1%}, accepted {accepted.mean():.1%} of the test digits"
)
