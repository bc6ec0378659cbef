"""The command line: one command a file, and the only part of the harness that prints or ends the process.

Exit codes: 0 pass, 1 fail, 2 usage or plan error, 3 inconclusive, 70 the harness itself broke, 130 interrupted.
"""

from harness.cli.main import main

__all__ = ["main"]
