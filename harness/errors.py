"""What can go wrong, as a tree.

HarnessError            anything the command line turns into one message instead of a traceback
├── PlanError           a file the user wrote is wrong: every problem at once, each with file and place
├── UsageError          the command cannot be carried out as given
├── ToolMissing         a program the harness needs is not to be had
├── StackError          the processes of a run could not be started or kept
│   ├── ProcessDied     a child ended by itself; carries its last lines
│   └── LoadEnded       the load had sent its whole schedule before the run was over
├── FaultError          a fault could not be started or undone
├── HistoryError        the file of earlier runs cannot be read or written
├── EvidenceError       a stored run is damaged, cut short, or not as it was sealed
└── PushError           nobody takes the metrics of a delivery
Interrupted             the user or CI asked us to stop; not an error, but the run ends here
"""

from collections.abc import Sequence

LONGEST = 900  # characters of a problem; a key or a value in it may be of any length


class HarnessError(Exception):
    """Anything the command line turns into one message; `exit_code` is what the process ends with."""

    exit_code = 70


class PlanError(HarnessError):
    """Files the user wrote are wrong. Holds every problem found, each one line with file and place."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]):
        self.problems = tuple(map(_on_a_line, problems))
        super().__init__("\n".join(self.problems))


def _on_a_line(problem: str) -> str:
    """A problem as one line that a terminal shows as it is, whatever the file holds."""
    shown = problem if len(problem) <= LONGEST else f"{problem[: LONGEST // 2]} ... {problem[-LONGEST // 2 :]}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)


class UsageError(HarnessError):
    """The command cannot be carried out as given."""

    exit_code = 2


class ToolMissing(HarnessError):
    """A program the harness needs is not to be had; the message says how to get it."""


class StackError(HarnessError):
    """The processes of a run could not be started or kept."""


class ProcessDied(StackError):
    """A child ended by itself; the message quotes the last lines of its log."""


class LoadEnded(StackError):
    """The load had sent its whole schedule before the run was over. `at`: Unix seconds at which that was seen."""

    def __init__(self, at: float):
        self.at = at
        super().__init__("the load had sent its whole schedule before the run was over")


class FaultError(HarnessError):
    """A fault could not be started or undone."""


class HistoryError(HarnessError):
    """The file of earlier runs cannot be read or written as it is; nothing in it was changed."""

    exit_code = 2


class EvidenceError(HarnessError):
    """A stored run is damaged, cut short, or not as it was sealed: it says nothing, so the verdict is INCONCLUSIVE."""

    exit_code = 3


class PushError(HarnessError):
    """Nobody takes the metrics of a delivery."""


class Interrupted(BaseException):
    """The user or CI asked us to stop. A BaseException, so that no `except Exception` keeps the run going."""

    exit_code = 130
