"""`--help`: a program's own flags by subject, with a preset's values."""

import sys
import textwrap

from absl import flags

from keras_ebm.trainers.program import options
from keras_ebm.trainers.program.options import FLAGS

WIDTH = 88
#: What is said of a number whose size nothing but its type bounds.
_ANY_SIZE = f" and at most {options.LARGEST}"
#: Subjects that come after those that are not named here.
_LATER = (
    "Loss",
    "Rows without labels",
    "Optimizers",
    "Run",
    "Search",
    "Length and batches",
    "Length and batches of a trial",
    "Devices",
    "Interrupted runs",
    "Validation",
    "What is written",
)


def is_asked_for(argv: list[str]) -> bool:
    """Whether `--help` or `--helpshort` is among a program's arguments."""
    return any(options.peek(argv, switches=("help", "helpshort")).values())


def text(preset: str = "", values: dict | None = None) -> str:
    """The running program's description and its flags.

    Args:
        preset: name of a preset, or empty.
        values: the flags that it sets.
    """
    parts = [(sys.modules["__main__"].__doc__ or "").strip()]
    subjects = options.subjects()
    for subject in sorted(
        subjects, key=lambda s: _LATER.index(s) if s in _LATER else -1
    ):
        names = subjects[subject]
        lines = [_flag(name, preset, values or {}) for name in names]
        parts.append("\n".join([f"{subject}:", *lines]))
    parts.append("absl's own flags: --helpfull lists them.")
    return "\n\n".join(parts) + "\n"


def _flag(name: str, preset: str, values: dict) -> str:
    flag = FLAGS[name]
    negation = "[no]" if flag.boolean else ""
    notes, words = [f"default: {_shown(flag.default)}"], " ".join(flag.help.split())
    if isinstance(flag.parser, flags.EnumParser):
        # What absl writes before the text says the same.
        words = words.partition(">: ")[2]
        choices = (word or "''" for word in flag.parser.enum_values)
        notes.insert(0, f"one of {', '.join(choices)}")
    elif name in options.RULES:
        notes.insert(0, options.RULES[name].removesuffix(_ANY_SIZE))
    if name in values:
        notes.append(f"with --preset={preset}: {_shown(values[name])}")
    return textwrap.fill(
        f"--{negation}{name}: {words} ({'; '.join(notes)})",
        WIDTH,
        initial_indent="  ",
        subsequent_indent="      ",
        break_on_hyphens=False,
    )


def _shown(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
