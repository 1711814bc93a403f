"""Texts of the pages that are made from the code."""

import re


def from_readme(text: str) -> str:
    """The README as the front page: paths begin in `docs/`, not above it."""
    text = text.replace('src="docs/', 'src="')
    text = re.sub(r"\]\(docs/([^)]*)\)", r"](\1)", text)
    return text.replace("](CHANGELOG.md)", "](changelog.md)")


def without_links_out(text: str) -> str:
    """Markdown whose links out of `docs/` are left as what they were called."""
    for name, page in (("README", "index"), ("CHANGELOG", "changelog")):
        text = text.replace(f"](../{name}.md", f"]({page}.md")
    return re.sub(r"\[([^\]]+)\]\(\.\./(?!index|[a-z_]+\.md)[^)]*\)", r"\1", text)


def reference_index(parts: dict[str, str]) -> str:
    """A line for each part of the package."""
    lines = [f"| [`keras_ebm.{n}`]({n}.md) | {text} |" for n, text in parts.items()]
    return "\n".join(
        [
            "# Reference",
            "",
            "One page for each part, made from the docstrings. After",
            "`import keras_ebm as ebm` they are `ebm.VERA`, `ebm.ood.Detector`, and so",
            "on. What a Keras object inherits is in the manual of Keras. The programs",
            "have [pages of their own](../programs/index.md).",
            "",
            "| part | what it is |",
            "|---|---|",
            *lines,
            "",
        ]
    )


def reference(name: str) -> str:
    """A page that mkdocstrings fills in."""
    return f"# keras_ebm.{name}\n\n::: keras_ebm.{name}\n"


def program(name: str, described: dict) -> str:
    """A program's page: what it does, its flags by subject, and its presets."""
    intro = dedent_commands((described["text"] or "").strip())
    parts = [f"# keras-ebm {name}", intro]
    parts += flag_tables(described["subjects"], 2)
    if described.get("variant"):
        parts.append(f"## {described['title']}")
        parts.append("The flags are then these:")
        parts += flag_tables(described["variant"], 3)
    if any(described["presets"].values()):
        parts += preset_tables(described["presets"])
    return "\n\n".join(parts) + "\n"


def dedent_commands(text: str) -> str:
    """Indented commands of a docstring as blocks of a shell."""
    block = re.compile(r"(?:^    [^\n]*\n?)+", re.M)

    def fence(match):
        lines = [line[4:] for line in match.group().rstrip("\n").split("\n")]
        return "\n".join(["```bash", *lines, "```", ""])

    return block.sub(fence, text)


def flag_tables(subjects: dict, level: int) -> list[str]:
    """A heading and a table for each subject."""
    parts = []
    for number, (subject, flags) in enumerate(subjects.items()):
        # There are no others to those of a program without subjects.
        title = "Flags" if subject == "Other flags" and not number else subject
        rows = [
            f"| {code('--' + flag['name'])} | {escaped(flag['words'])} | "
            f"{code(flag['default'])} | {escaped(allowed(flag))} |"
            for flag in flags
        ]
        head = ["| flag | what it does | default | allowed |", "|---|---|---|---|"]
        parts += [f"{'#' * level} {title}", "\n".join([*head, *rows])]
    return parts


def allowed(flag: dict) -> str:
    """The values that a flag may have, in words."""
    if flag["rule"]:
        return flag["rule"]
    return f"true or false; `--no{flag['name']}`" if flag["switch"] else ""


def preset_tables(presets: dict) -> list[str]:
    """The values that presets set, a row for each flag and a column for each preset."""
    names = [name for name, values in presets.items() if values]
    flags = dict.fromkeys(flag for name in names for flag in presets[name])
    rows = []
    for flag in flags:
        values = [presets[name].get(flag, "") for name in names]
        rows.append(f"| {' | '.join(map(code, ['--' + flag, *values]))} |")
    head = f"| flag | {' | '.join(code(name) for name in names)} |"
    text = (
        "`--preset=NAME` sets these; a flag that you pass goes before. Flags without a "
        "value keep their default."
    )
    return [
        "## Presets",
        text,
        "\n".join([head, "|---" * (len(names) + 1) + "|", *rows]),
    ]


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def escaped(text: str) -> str:
    """Words of a help as Markdown shows them: names in pointed brackets, pipes."""
    return (
        text.replace("|", "\\|")
        .replace("<", "&lt;")
        .replace("*", "\\*")
        .replace("[", "\\[")
    )
