"""Short programs to read and to copy."""

from trainers.quiet import import_tensorflow

import_tensorflow()
