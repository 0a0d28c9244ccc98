"""The page on PyPI: the README with addresses in place of its links into the repository.

Everything else about the package is in pyproject.toml.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HOME = Path(__file__).parent
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text("utf-8"))["project"]
LINK = re.compile(r"(!?)(\[[^]]*\])\((?!https?:|#)([^)]+)\)")


def _address(link: re.Match[str]) -> str:
    kind = "raw" if link[1] else "blob"  # a picture, or a file to read
    return f"{link[1]}{link[2]}({PROJECT['urls']['Repository']}/{kind}/HEAD/{link[3]})"


setup(
    long_description=LINK.sub(_address, (HOME / "README.md").read_text("utf-8")),
    long_description_content_type="text/markdown",
)
