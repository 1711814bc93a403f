"""Where the figures of `docs/results.md` come from; results are saved beside them."""

from trainers.program.quiet import import_tensorflow

import_tensorflow()
