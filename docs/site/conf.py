"""How Sphinx builds the documentation site."""

from importlib.metadata import version as version_of

project = "Forge"
version = release = version_of("forge-platform")
project_copyright = "the authors of Forge"

extensions = ["myst_parser"]
root_doc = "index"
nitpicky = True
smartquotes = False  # options begin with two dashes
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"Forge {version}"
html_copy_source = False
html_show_sphinx = False
