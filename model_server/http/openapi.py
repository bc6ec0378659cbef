"""The interface as an OpenAPI 3.1 document: what openapi.yaml says, of this release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from model_server import __version__


def document() -> dict[str, Any]:
    """The whole document."""
    told = yaml.safe_load(Path(__file__).with_name("openapi.yaml").read_text())
    told["info"]["version"] = __version__
    return told
