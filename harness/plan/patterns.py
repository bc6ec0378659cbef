"""The files that a pattern of paths names, beside a file or anywhere; `**` stands for folders of any depth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

MOST = 1000  # files of one pattern; a search of the whole disk is a slip


def matching(beside: Path, pattern: str) -> list[Path]:
    """In order of their names. Raises ValueError with what is wrong with the pattern."""
    path = Path(os.path.expanduser(pattern))
    folder, rest = (Path(path.anchor), path.relative_to(path.anchor)) if path.is_absolute() else (beside, path)
    deep = "**" in rest.parts
    rest = rest / "*" if rest.name == "**" else rest  # else it would name folders alone
    try:
        found = sorted(islice(folder.glob(str(rest)), MOST + 1))
    except (NotImplementedError, ValueError, IndexError, OSError, RuntimeError):
        why = "must be a pattern of paths, beside service.yaml or absolute, like rules/*.yaml or rules/**/*.yaml"
        raise ValueError(why) from None
    if len(found) > MOST:
        raise ValueError(f"more than {MOST:,} files match {pattern}; name fewer")
    found = [path for path in found if not (deep and path.is_dir())]
    if not found:
        raise ValueError(f"no file matches {pattern}")
    return found


def distinct(paths: Sequence[Path]) -> list[Path]:
    """Each file once, however often and by whatever link it is named."""
    return list({os.path.realpath(path): path for path in reversed(paths)}.values())[::-1]
