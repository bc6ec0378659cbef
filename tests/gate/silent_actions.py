"""An action that goes through all the motions of a kill and kills nothing. Only tests name it in an experiment."""

import os
from dataclasses import dataclass

from harness.chaos.actions import EXPERIMENT
from harness.faults.inject import inject
from harness.faults.kill import Kill
from harness.stack.stack import Stack


@dataclass(frozen=True)
class SilentKill(Kill):
    def start(self, stack, facts):
        pass


def kill(component: str = "server", again_for_s: float = 0) -> str:
    return inject(SilentKill(component), Stack.current(), os.environ[EXPERIMENT], 60, witness_within_s=1).id
