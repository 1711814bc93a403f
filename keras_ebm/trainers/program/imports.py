"""Modules of the user's that are imported before a `.keras` file is loaded."""

import dataclasses

from keras_ebm.data import import_module
from keras_ebm.trainers.program.options import FLAGS, Checked, setting


@dataclasses.dataclass(frozen=True)
class ImportSettings(Checked):
    """What a program imports, whose flag `run_program` looks at before all work."""

    SUBJECTS = {"import_": "Files that are loaded"}

    import_: tuple = setting(
        (),
        "Modules that register layers of your own by "
        "keras.saving.register_keras_serializable, for .keras files that hold some; "
        "looked up as by python -m, and run.",
    )


def import_modules() -> None:
    """Imports the modules of `--import`, where a program has that flag.

    Raises:
        ValueError: if there is no such module, or it cannot be imported.
    """
    if "import" not in FLAGS:
        return
    for name in FLAGS["import"].value:
        import_module(name.strip(), f"--import: the module {name.strip()}")
