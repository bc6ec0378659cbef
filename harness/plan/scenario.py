"""What is wrong with the files of a load that they alone show, before anything runs them."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from harness.document import Unreadable, bytes_of


def scenario_complaint(path: Path) -> tuple[str, int | None]:
    """Why a scenario cannot be run, and the line of it where one shows it; empty where nothing shows."""
    try:
        source = bytes_of(path)
    except Unreadable as error:
        return str(error), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the generator's log has them
            compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"not Python: {error.msg}", error.lineno or 1
    except (ValueError, RecursionError, MemoryError):
        return "not Python: it cannot be compiled", 1
    return "", None


def corpus_complaint(path: Path) -> str:
    """Why a folder of inputs cannot be read; empty where nothing shows."""
    if not os.path.exists(path):
        return "no such file"
    return "" if os.path.isdir(path) else "must be a folder"
