"""Imports what only some data sources need, or says how to install it."""

import importlib
from types import ModuleType

from keras_ebm.arguments import why_not_imported


def require(module: str, extra: str = "data") -> ModuleType:
    """Imports `module`, a part of the optional dependencies.

    Args:
        module: str, a dotted module name such as `"sklearn.datasets"`.
        extra: str, the extra of this package that has it.

    Returns:
        The module.

    Raises:
        ImportError: if it is not installed, with the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"This data source needs `{package}`, which "
            f"{why_not_imported(package, error)}. "
            f'Run `pip install "keras_ebm[{extra}]"`.'
        ) from error
