"""How Sphinx builds these pages."""

project = "django-openworkflow"
author = "django-openworkflow contributors"
copyright = "django-openworkflow contributors"

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
nitpicky = True

html_theme = "furo"
html_title = "django-openworkflow"
