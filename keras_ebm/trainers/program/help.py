"""`--help`: a program's own flags by subject, with a preset's values."""

import sys
import textwrap
from typing import NamedTuple

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


class Described(NamedTuple):
    """What is said of one flag.

    Args:
        name: of the flag, without dashes.
        switch: whether it is true or false, and `--noNAME` turns it off.
        words: what it does.
        rule: what its value must be, in words; empty where any of its type serves.
        default: as a user would write it.
    """

    name: str
    switch: bool
    words: str
    rule: str
    default: str


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
    for subject, flags_of_subject in described().items():
        lines = [_line(flag, preset, values or {}) for flag in flags_of_subject]
        parts.append("\n".join([f"{subject}:", *lines]))
    parts.append("absl's own flags: --helpfull lists them.")
    return "\n\n".join(parts) + "\n"


def described() -> dict[str, list[Described]]:
    """The running program's own flags by subject, in the order of `--help`."""
    found = options.subjects()
    ordered = sorted(found, key=lambda s: _LATER.index(s) if s in _LATER else -1)
    return {
        subject: [_describe(name) for name in found[subject]] for subject in ordered
    }


def _describe(name: str) -> Described:
    flag = FLAGS[name]
    rule, words = "", " ".join(flag.help.split())
    if isinstance(flag.parser, flags.EnumParser):
        # What absl writes before the text says the same.
        words = words.partition(">: ")[2]
        choices = (word or "''" for word in flag.parser.enum_values)
        rule = f"one of {', '.join(choices)}"
    elif name in options.RULES:
        rule = options.RULES[name].removesuffix(_ANY_SIZE)
    return Described(name, bool(flag.boolean), words, rule, shown(flag.default))


def _line(flag: Described, preset: str, values: dict) -> str:
    negation = "[no]" if flag.switch else ""
    notes = [flag.rule] if flag.rule else []
    notes.append(f"default: {flag.default}")
    if flag.name in values:
        notes.append(f"with --preset={preset}: {shown(values[flag.name])}")
    return textwrap.fill(
        f"--{negation}{flag.name}: {flag.words} ({'; '.join(notes)})",
        WIDTH,
        initial_indent="  ",
        subsequent_indent="      ",
        break_on_hyphens=False,
    )


def shown(value) -> str:
    """A flag's value as words."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
