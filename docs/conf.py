"""How Sphinx builds the documentation: `python dev.py docs`."""

from __future__ import annotations

import corolla

project = "Corolla"
author = "The Corolla contributors"
project_copyright = "The Corolla contributors, Apache-2.0"
version = release = corolla.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "description"

html_theme = "furo"
html_title = f"Corolla {release}"
