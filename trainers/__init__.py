"""Programs that train and evaluate; run as `python -m trainers.NAME`."""

from trainers.quiet import import_tensorflow

import_tensorflow()
