"""Tables for TensorFlow Datasets, made of files that are downloaded by hand."""

from keras_ebm.data.builders.factory import SOURCES, builder_class

__all__ = ["SOURCES", "builder_class"]
