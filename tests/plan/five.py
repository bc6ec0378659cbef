"""The bundled plan with five of its experiments: tests that spoil a plan need no more."""

import re

FIVE = "[sham, server-crash, server-hang, graceful-stop, overload]"


def with_five(gate: str) -> str:
    """The text of a gate.yaml with those experiments alone, and with as many lines on them."""
    gate = re.sub(r"(?s)^experiments: \[.*?\]", f"experiments: {FIVE}", gate, count=1, flags=re.MULTILINE)
    return re.sub(r"^- detection .*\n", "", gate, count=1, flags=re.MULTILINE)
