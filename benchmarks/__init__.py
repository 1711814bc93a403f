"""Where the README's numbers come from; results are saved beside the programs."""

from trainers.quiet import import_tensorflow

import_tensorflow()
