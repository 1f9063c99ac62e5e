"""The documentation site: `pip install ".[docs]" && sphinx-build -W docs build/site`."""

import os
import re
import warnings
from importlib.util import find_spec
from pathlib import Path

import matplotlib

import skattrib

README = Path(__file__).parents[1] / "README.md"
PLACES = [
    "https://github.com/skattrib/skattrib/blob/main/",
    "https://raw.githubusercontent.com/skattrib/skattrib/main/",
]

matplotlib.use("agg")
os.environ["TQDM_DISABLE"] = "1"
warnings.filterwarnings("ignore", message=".*non-interactive.*")

project = "skattrib"
author = "skattrib developers"
version = release = skattrib.__version__
copyright = f"2026, {author}"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["examples", "site"]
if not find_spec("torch"):
    exclude_patterns += ["api/torch.rst"]
if not find_spec("distributed"):
    exclude_patterns += ["api/distributed.rst"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
# examples of the guide that need names of the reader's are marked `py`
suppress_warnings = ["misc.highlighting_failure", "config.cache", "toc.excluded"]

autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    # what needs torch
    "ignore_pattern": "__init__" if find_spec("torch") else "plot_pixel_maps",
    "abort_on_example_error": True,
    "show_memory": False,
    "write_computation_times": False,
    "min_reported_time": 5,
    "download_all_examples": False,
    "remove_config_comments": True,
}

html_theme = "pydata_sphinx_theme"
html_title = "skattrib"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "github_url": "https://github.com/skattrib/skattrib",
    "navbar_end": ["theme-switcher", "navbar-icon-links"],
    "show_toc_level": 2,
    "header_links_before_dropdown": 5,
    "secondary_sidebar_items": ["page-toc"],
}


def _quote_names(app, what, name, obj, options, lines):
    """Names that end in an underscore are no links: n_samples_fit_ in a shape, say."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[number] = re.sub(r"(?<![\w`*.:\\])([A-Za-z]\w*_)(?![\w`*])", r"``\1``", line)


def _home_of_readme(app, docname, source):
    """The home page is the first part of the README, whose links are those of any place."""
    if docname == "index":
        home, end, _ = README.read_text(encoding="utf-8").partition("<!-- end of home -->")
        assert end, "README.md has no end of its home part"
        home = re.sub(rf"\((?:{'|'.join(map(re.escape, PLACES))})docs/", "(", home)
        source[0] = source[0].replace("HOME", home)


def setup(app):
    """Sphinx calls this; numpydoc has its turn first."""
    app.connect("source-read", _home_of_readme)
    app.connect("autodoc-process-docstring", _quote_names, priority=900)
