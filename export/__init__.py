"""Programs that turn a `.keras` file into a SavedModel."""

from trainers.program.quiet import import_tensorflow

import_tensorflow()
