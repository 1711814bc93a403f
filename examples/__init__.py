"""Short programs to read and to copy."""

from keras_ebm_cli import import_tensorflow

import_tensorflow()
