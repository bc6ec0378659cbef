"""What the kubelet makes of a probe's results: one counts once it was seen often enough in a row."""

from __future__ import annotations

CONTAINER_ENDED = "the container has ended"  # the reason of a result that no probe asked for
INITIAL = {"liveness": True, "readiness": False, "startup": None}  # before any result


class Streak:
    """The state machine of one probe worker: feed it results, it shows when the decision changes."""

    def __init__(self, failures: int, successes: int, initial: bool | None):
        self.failures, self.successes, self.initial = failures, successes, initial
        self.reset()

    def reset(self) -> None:
        """A new container: counters and decision start again."""
        self.decision = self.initial
        self.last: bool | None = None
        self.run = 0

    def feed(self, ok: bool) -> bool:
        """Count one result; True if the decision changed with it."""
        self.run = self.run + 1 if ok == self.last else 1
        self.last = ok
        if self.run < (self.successes if ok else self.failures):
            return False
        changed = self.decision != ok
        self.decision = ok
        return changed
