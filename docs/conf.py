"""Sphinx's settings: Markdown by MyST, executed pages by myst-nb, the furo theme. `make docs` fails on warnings."""

import tomllib
from pathlib import Path

PACKAGE = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "Dodam"
author = "the Dodam authors"
copyright = "the Dodam authors, Apache-2.0"
release = PACKAGE["version"]

extensions = ["myst_nb", "sphinx_copybutton"]
exclude_patterns = ["_build", "jupyter_execute"]
html_theme = "furo"
html_title = f"Dodam {release}"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
copybutton_prompt_text = "$ "
suppress_warnings = ["misc.highlighting_failure"]  # the contracts in architecture.md are sketches in Python's colours
