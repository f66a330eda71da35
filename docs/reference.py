"""Reference of the commands and of the Python interface, from the code itself."""

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms.post_transforms import SphinxPostTransform

import verydeep
from verydeep.arguments import HEADINGS, name_options, read_options
from verydeep.cli import COMMANDS
from verydeep.parameters import REQUIRED, Parameter
from verydeep.results.result import Result
from verydeep.usage import describe_positional

ESCAPED = re.compile(r"([\\*_<>|\[\]])")
HIDDEN = "table, columns, sections, footer, footers, formats"
"""Parts of results that only their display uses."""

KINDS = ("Functions", "Results", "Nets and recipes", "Errors")


ATTRIBUTES: dict[str, list[str]] = {}
"""Docstring of each attribute of a class."""


def command_pages() -> dict[str, str]:
    """Return file name -> text: a page for each command, and one that lists them."""
    rows = [(f"[`verydeep {name}`]({name}.md)", escape(first_line(function))) for name, function in COMMANDS.items()]
    index = [
        "# Commands",
        "Each command is a function of the same name in [Python](../python/functions.md), with the same options.",
        table(("command", "what it does"), rows),
        "```{toctree}\n:hidden:\n:glob:\n\n*\n```",
    ]
    return {"index.md": "\n\n".join(index) + "\n"} | {f"{name}.md": command_page(name) for name in COMMANDS}


def command_page(name: str) -> str:
    """Return the page of a command: its help, with tables in place of the terminal's boxes."""
    text = re.split(r"\n\n(?:Args|Returns|Raises):\n", inspect.getdoc(inspect.unwrap(COMMANDS[name])) or "")[0]
    paragraphs, _, examples = name_options(text, name, COMMANDS).partition("\n\nTry:\n")
    options = read_options(name, COMMANDS)
    words = [usage(option) for option in options if option.is_positional or option.default is REQUIRED]
    parts = [f"# verydeep {name}", escape(paragraphs)]
    parts.append(f"```sh\nverydeep {' '.join([name, *words, '[OPTIONS]'])}\n```")
    if examples:
        parts.append(f"## Examples\n\n```sh\n{inspect.cleandoc(examples)}\n```")
    parts.append("## Options")
    for heading in HEADINGS:
        group = [option for option in options if option.option.heading == heading]
        if group:
            parts += [] if heading == "usual" else [f"### {heading.capitalize()} options"]
            parts.append(table(("option", "meaning", "default"), [option_row(option, name) for option in group]))
    parts.append(f"In Python: {{py:func}}`verydeep.{name}`.")
    return "\n\n".join(parts) + "\n"


def usage(option: Parameter) -> str:
    """Return an argument as a command's first line shows it."""
    if not option.is_positional:
        return f"--{option.name.replace('_', '-')} {option.option.metavar or option.name.upper()}"
    return describe_positional(option)


def option_row(option: Parameter, command: str) -> tuple[str, str, str]:
    """Return the row of an option: as it is typed, what it means, its default."""
    is_negative = option.default is True
    flag = f"--{'no-' * is_negative}{option.name.replace('_', '-')} {option.option.metavar}".rstrip()
    meaning = option.option.negative_help if is_negative else option.option.help
    default = "" if is_negative else option.default_text
    typed = option.option.metavar or option.name.upper() if option.is_positional else flag
    return f"`{typed}`", *(escape(name_options(text, command, COMMANDS)) for text in (meaning, default))


def python_pages() -> dict[str, str]:
    """Return file name -> text: a page for each kind of public name, filled by autodoc."""
    ordered = sorted(verydeep.__all__, key=["load", *COMMANDS].__contains__, reverse=True)
    kinds = {kind: [name for name in ordered if kind_of(getattr(verydeep, name)) == kind] for kind in KINDS}
    pages = {}
    for kind, names in kinds.items():
        directives = "\n\n".join([".. currentmodule:: verydeep", *map(directive, names)])
        pages[f"{page_name(kind)}.md"] = f"# {kind}\n\n```{{eval-rst}}\n{directives}\n```\n"
    rows = [
        (f"[{kind}]({page_name(kind)}.md)", ", ".join(f"{{py:obj}}`~verydeep.{name}`" for name in names))
        for kind, names in kinds.items()
    ]
    tree = "\n".join(map(page_name, KINDS))
    text = f"# Python\n\n`import verydeep` offers these names.\n\n{table(('page', 'names'), rows)}"
    return {"index.md": f"{text}\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n", **pages}


def page_name(kind: str) -> str:
    """Return the name of the page of a kind of names."""
    return kind.lower().replace(" ", "-")


def kind_of(value: object) -> str:
    """Return the kind of a public name."""
    if inspect.isfunction(value):
        return "Functions"
    if inspect.isclass(value) and issubclass(value, Exception):
        return "Errors"
    return "Results" if inspect.isclass(value) and issubclass(value, Result) else "Nets and recipes"


def directive(name: str) -> str:
    """Return autodoc's directive for a public name."""
    value = getattr(verydeep, name)
    if inspect.isfunction(value):
        return f".. autofunction:: {name}"
    if not inspect.isclass(value):
        return f".. autodata:: {name}\n   :no-value:"
    if issubclass(value, Exception):
        return f".. autoclass:: {name}\n   :show-inheritance:"
    inherited = "\n   :inherited-members: Result" if issubclass(value, Result) else ""
    return f".. autoclass:: {name}\n   :members:{inherited}\n   :exclude-members: {HIDDEN}"


def prepare_docstring(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Make a docstring reStructuredText: examples of commands stand on the command's page, an asterisk is itself."""
    text = "\n".join(lines) if what != "data" else read_constant_docstring(name.removeprefix("verydeep."))
    text = re.sub(r"\n\nTry:\n.*?(?=\n\n\S|\Z)", "", text, flags=re.DOTALL)
    parts = re.split(r"(`+[^`]+`+)", text)
    text = "".join(part if part.startswith("`") else re.sub(r"([*|])", r"\\\1", part) for part in parts)
    command = name.removeprefix("verydeep.")
    if command in COMMANDS:
        first, _, rest = text.partition("\n\n")
        text = f"{first}\n\nOn the command line: :doc:`verydeep {command} </generated/commands/{command}>`.\n\n{rest}"
    lines[:] = text.splitlines()
    if what == "attribute":
        ATTRIBUTES[name] = list(lines)


def restore_attribute(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Undo what napoleon does to an attribute: it takes what precedes a colon for a type."""
    if what == "attribute":
        lines[:] = [*ATTRIBUTES[name], ""]


def read_constant_docstring(name: str) -> str:
    """Return the text below a constant, in the module that defines it."""
    module = verydeep._MODULES[name]
    return "\n".join(ModuleAnalyzer.for_module(f"verydeep.{module}").find_attr_docs()["", name])


def shorten_signature(
    app: Sphinx, what: str, name: str, value: object, options: object, signature: str, returns: str
) -> tuple[str, str] | None:
    """Leave types out of the signature of a command, which gives them as a terminal has them; results are not made."""
    if name.removeprefix("verydeep.") in COMMANDS and inspect.isfunction(value):
        full = inspect.signature(value)
        plain = full.replace(
            parameters=[each.replace(annotation=inspect.Parameter.empty) for each in full.parameters.values()],
            return_annotation=inspect.Signature.empty,
        )
        return str(plain), str(full.return_annotation)
    if inspect.isclass(value) and issubclass(value, Result):
        return "", ""
    return None


class TextLinks(SphinxPostTransform):
    """Link each command in the text, such as ``verydeep train``, with its page, and write dashes."""

    default_priority = 5

    def run(self, **kwargs: Any) -> None:
        """Wrap the literals of the page; Sphinx writes two hyphens between a parameter and its meaning."""
        for text in [each for each in self.document.findall(nodes.Text) if each == " -- "]:
            text.parent.replace(text, nodes.Text(": "))
        for literal in list(self.document.findall(nodes.literal)):
            command = re.match(r"verydeep (\w+)", literal.astext())
            if command is None or command[1] not in COMMANDS or inside_link(literal):
                continue
            page = f"generated/commands/{command[1]}"
            if self.env.docname == page:
                continue
            link = self.app.builder.get_relative_uri(self.env.docname, page)
            reference = nodes.reference("", "", literal.deepcopy(), internal=True, refuri=link)
            literal.replace_self(reference)


def inside_link(node: nodes.Node) -> bool:
    """Whether a node is part of a link or of a heading."""
    parent = node.parent
    while parent is not None:
        if isinstance(parent, nodes.reference | nodes.title) or "reftarget" in getattr(parent, "attributes", {}):
            return True
        parent = parent.parent
    return False


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines])


def escape(text: str) -> str:
    """Return a text in which no character has a meaning in Markdown, except backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else ESCAPED.sub(r"\\\1", part) for part in parts)


def first_line(function: Callable[..., Any]) -> str:
    """Return the first sentence of a function's docstring."""
    return (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " ")
