"""Short programs to read and to copy."""

from trainers.program.quiet import import_tensorflow

import_tensorflow()
