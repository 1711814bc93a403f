"""Shows the examples of docstrings as code: `>>>` begins a quotation in Markdown."""

import re

import griffe

#: Lines of a session, and what is printed below them, up to an empty line.
SESSION = re.compile(r"^>>> .*(?:\n.+)*", re.M)


class Examples(griffe.Extension):
    """Puts sessions of docstrings into blocks of code."""

    def on_instance(self, *, obj, **_):
        if obj.docstring is not None:
            obj.docstring.value = SESSION.sub(
                lambda found: f"```pycon\n{found.group()}\n```", obj.docstring.value
            )
