"""The documentation as a site: ``sphinx-build -W --keep-going -b html docs build/site``, with the extra ``docs``.

Pages are Markdown and read well on GitHub, too. Links that leave docs/ lead to pages that ``generated_pages`` writes
from the files themselves; the navigation is that of index.md.
"""

import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent / "src")]

import generated_pages  # noqa: E402
import reference  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

project = "verydeep"
author = "the verydeep authors"
copyright = ""  # noqa: A001 - Sphinx's name
root_doc = "index"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
smartquotes = False  # two hyphens begin an option
default_role = "code"  # of docstrings, which name parameters in single backticks
python_display_short_literal_types = True
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "verydeep"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_use_index = False
html_theme_options = {"navigation_with_keys": True}
highlight_language = "text"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def prepare_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Let links lead to pages of the site, and add the navigation."""
    page = DOCS / f"{docname}.md"
    if not page.is_relative_to(generated_pages.GENERATED):
        source[0] = generated_pages.move_links(source[0], page, page)
    source[0] += generated_pages.build_navigation(docname, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the generated pages, and register what changes pages while they are read."""
    generated_pages.write_pages()
    app.connect("source-read", prepare_source)
    app.connect("autodoc-process-docstring", reference.prepare_docstring, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", reference.restore_attribute, priority=900)  # behind napoleon
    app.connect("autodoc-process-signature", reference.shorten_signature)
    app.add_post_transform(reference.TextLinks)
    return {"parallel_read_safe": True}
