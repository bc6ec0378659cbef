"""Control by the API of a Kubernetes cluster: a component is all pods with some labels, which others make anew."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from harness.errors import StackError
from harness.stack.cluster import Cluster, Pod
from harness.stack.control import PODS, Found, Seen
from harness.stack.undo import Undo

POLL_S = 0.2


@dataclass(frozen=True)
class Pods:
    """The pods that have some labels now."""

    namespace: str
    selector: str
    context: str
    kubeconfig: str | None = None
    restarted_by: str = ""

    @property
    def where(self) -> str:
        """What it is called, for a message."""
        return f"pods {self.selector} of namespace {self.namespace} (context {self.context})"

    def seen(self, before: tuple[Any, ...]) -> Seen:
        """They are others once none of those that were there is left: a rollout replaces one after the other."""
        ready = tuple(sorted((pod.uid, pod.restarts) for pod in self._cluster.pods(self.selector) if pod.ready))
        return Seen(bool(ready), before if {*before} & {*ready} else ready)

    def found(self) -> Found:
        pods = self._pods()
        return {PODS: sorted([pod.name, pod.uid] for pod in pods)}

    def kill(self, found: Found) -> bool:
        return self._delete(found, 0)

    def stop(self, found: Found, grace_s: float) -> bool | None:
        """Also a pod's own grace is over then, so what is there still was killed by its kubelet."""
        began = time.monotonic()
        if not self._delete(found, math.ceil(grace_s)):
            return None
        while any(self._cluster.exists(uid, name) for name, uid in found[PODS]):
            if time.monotonic() - began > grace_s:
                return True
            time.sleep(POLL_S)
        return False

    def pause(self, found: Found) -> Found:
        raise StackError(f"{self.where} cannot be paused")

    def probes(self) -> dict[str, dict[str, Any]]:
        """Those that the pods have now, as in a pod specification."""
        return self._cluster.probes(self.selector)

    def scaled(self) -> Found:
        """What makes them, and how many."""
        made = self._cluster.workload(self._pods()[0])
        about = {"context": self.context, "namespace": self.namespace, "kubeconfig": self.kubeconfig}
        return {**self.found(), "workload": {**about, **made._asdict()}}

    def scale(self, found: Found, replicas: int) -> bool:
        """Have so many of them made."""
        made = found["workload"]
        return self._cluster.scale(made["kind"], made["name"], made["uid"], replicas)

    @staticmethod
    def resumes(component: str, found: Found) -> list[Undo]:
        return []

    @staticmethod
    def revives(component: str, found: Found) -> list[Undo]:
        """Their controller does it."""
        return []

    @staticmethod
    def unscales(found: Found) -> list[Undo]:
        return [Undo("scale_workload", found["workload"])]

    def _delete(self, found: Found, grace_s: int) -> bool:
        return any([self._cluster.delete(name, uid, grace_s) for name, uid in found[PODS]])

    def _pods(self) -> list[Pod]:
        pods = self._cluster.pods(self.selector)
        if not pods:
            raise StackError(f"there are no {self.where}")
        if alone := [pod.name for pod in pods if pod.owner is None]:
            raise StackError(f"nobody makes pod {alone[0]} anew; have a Deployment or StatefulSet make it")
        return pods

    @property
    def _cluster(self) -> Cluster:
        return Cluster(self.context, self.namespace, self.kubeconfig)
