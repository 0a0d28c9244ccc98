"""Settings of the documentation: `make docs` builds it, and any warning fails the build."""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow is imported for its layers
sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "kbn"
version = release = version_of("kbn")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "kbn"
html_copy_source = False
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

napoleon_custom_sections = [("Call arguments", "params_style")]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signatures' names and the docstrings say it more briefly
default_role = "code"  # docstrings mark code as Markdown does
