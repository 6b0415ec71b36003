"""The site (`make site`): these pages, the examples as they run, and the reference from the docstrings."""

import logging
import os
import sys
from importlib.metadata import version as installed

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, os.path.abspath(".."))

project = "dlinear"
author = "The dlinear authors"
version = release = installed("dlinear")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["templates", "records", "_build", "examples", "sg_execution_times.rst"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "dlinear"
autosummary_generate = True
myst_url_schemes = {"http": None, "https": None, "mailto": None}
autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "howto",
    "filename_pattern": r"\.py$",  # every page is run; one that fails ends the build
    "abort_on_example_error": True,
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 1e9,
}
default_role = "literal"  # docstrings are plain text: names stand between single backquotes
suppress_warnings = ["config.cache"]
linkcheck_ignore = [r"http://localhost", r"tcp://"]


def _as_plain_text(app, what, name, obj, options, lines):
    """Norms |x| and factors a*b are no markup."""
    for i, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [part.replace("|", r"\|").replace("*", r"\*") for part in parts[::2]]
        lines[i] = "`".join(parts)


def setup(app):
    """Called by sphinx."""
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # a line for each table of each font
    app.connect("autodoc-process-docstring", _as_plain_text, priority=1)
