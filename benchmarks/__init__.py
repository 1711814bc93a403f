"""Where the figures of `docs/results.md` come from; results are saved beside them."""

from keras_ebm_cli import import_tensorflow

import_tensorflow()
