"""Turn the content of a page into one HTML file that needs no network, by a template and the style of all pages."""

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


def render(template: str, page: object, generator: str, script: str | None = None) -> str:
    """Return a page as text; everything that comes from files is escaped.

    Args:
        template: name of the template in this folder.
        page: its content.
        generator: the mark of the command that writes it.
        script: name of its script in this folder, if it has one.
    """
    from markupsafe import Markup  # noqa: PLC0415 - only pages need it

    folder = files("verydeep.engine.report_page")
    css = (folder / "report.css").read_text(encoding="utf-8")
    js = "" if script is None else (folder / script).read_text(encoding="utf-8")
    scripts = f"script-src {_hash(js)}; " if js else ""
    policy = f"default-src 'none'; img-src data:; style-src {_hash(css)}; {scripts}base-uri 'none'; form-action 'none'"
    return _compile(template).render(page=page, css=Markup(css), js=Markup(js), policy=policy, generator=generator)


@cache
def _compile(template: str) -> "Template":
    """Return a template of this folder; compiling it takes longer than a page."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only pages need it

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    environment.filters["code"] = show_code
    return environment.from_string((files("verydeep.engine.report_page") / template).read_text(encoding="utf-8"))


def show_code(text: str) -> str:
    """Return a sentence as HTML, its names in backticks as code; parameters as the command line names them."""
    from markupsafe import Markup, escape  # noqa: PLC0415 - as above

    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(_name_option(part)) if i % 2 else escape(part) for i, part in enumerate(parts)
    )


def _name_option(code: str) -> str:
    """Return the option of a parameter: "--group-by" of "group_by", "--top 3" of "top=3"; other code stays."""
    found = re.fullmatch(r"([a-z][a-z0-9_]*)(?:=(.+))?", code)
    if found is None:
        return code
    return " ".join(filter(None, [f"--{found[1].replace('_', '-')}", found[2]]))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
