"""Breaks a Python process from inside, as a file says; the process itself knows nothing of it.

Python imports this first of all, where this folder is on PYTHONPATH. The file that $HARNESS_INSIDE names is looked at
20 times a second. It is JSON, and another one takes its place in one step:

    {"id": "3f2a", "fault": "loop_stalled", "arguments": {}}

As long as it is there the fault (inside_faults.py) is on; it is undone when the file goes, or holds another. A process
that finds the file there when it starts leaves it alone: what was broken went with the process before it.

Beside it, in $HARNESS_INSIDE.report, each process says what it did: JSON lines [Unix seconds, pid, "follows" | "on" |
"off" | "failed", id, text].
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import sys
import threading
from contextlib import ExitStack
from time import sleep, time

from inside_faults import FAULTS

HERE = os.path.dirname(os.path.abspath(__file__))
POLL_S = 0.05


def follow(control: str) -> None:
    """Do what the control file says, for ever."""
    known, on, undo = version(control), "", ExitStack()
    # Opened now, because a process that has run out of descriptors must be able to say so.
    with open(f"{control}.report", "ab", buffering=0) as out:

        def report(state: str, id: str = "", said: str = "") -> None:
            out.write((json.dumps([time(), os.getpid(), state, id, said]) + "\n").encode())

        report("follows")
        while True:
            sleep(POLL_S)
            if (now := version(control)) == known:
                continue
            try:
                undo.close()
                if on:
                    report("off", on)
                on = ""
                if now is not None:
                    with open(control) as file:
                        asked = json.load(file)
                    on = asked["id"]
                    report("on", on, undo.enter_context(found(asked["fault"])(**asked["arguments"])))
            except Exception as error:  # whatever it is, the process goes on, and whoever asked is told
                report("failed", on, f"{type(error).__name__}: {error}")
                on = ""
            known = now


def version(control: str) -> tuple[int, int] | None:
    """By what one control file is told from the next; None where there is none. It takes no descriptor."""
    try:
        about = os.stat(control)
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_mtime_ns


def found(name: str):
    """The fault of a name. Raises LookupError."""
    if name not in FAULTS:
        raise LookupError(f"there is no fault {name!r} (known: {', '.join(sorted(FAULTS))})")
    return FAULTS[name]


def begin() -> None:
    """Follow the file in a thread of this process."""
    threading.Thread(target=follow, args=(os.environ["HARNESS_INSIDE"],), name="inside", daemon=True).start()


def run_hidden() -> None:
    """Run the sitecustomize that this one hides: of a distribution, or of a tool that measures coverage."""
    others = [entry for entry in sys.path if os.path.abspath(entry) != HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if os.environ.get("HARNESS_INSIDE"):
    begin()
    os.register_at_fork(after_in_child=begin)  # no thread lives on in a child
run_hidden()
