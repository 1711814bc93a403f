"""Programs that train and evaluate; run as `python -m trainers.NAME`."""

from trainers.program.quiet import import_tensorflow

import_tensorflow()
