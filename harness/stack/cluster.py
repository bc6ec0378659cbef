"""A Kubernetes cluster by its API and the official client; every refusal is a sentence with what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from harness.errors import StackError

IN_CLUSTER = "in-cluster"
TIMEOUT_S = 10.0
SCALED = {"Deployment": "deployment", "StatefulSet": "stateful_set"}  # what has a number of pods that may be changed
T = TypeVar("T")


class Pod(NamedTuple):
    """One pod as the cluster describes it."""

    name: str
    uid: str
    restarts: int  # of all its containers
    ready: bool
    owner: tuple[str, str] | None  # kind and name of its controller; None: nobody makes it anew


class Workload(NamedTuple):
    """What makes the pods."""

    kind: str
    name: str
    uid: str
    replicas: int


class Cluster:
    """A namespace of the cluster that a context of the kubeconfig leads to. Every method raises StackError."""

    def __init__(self, context: str, namespace: str, kubeconfig: str | None = None):
        self.context, self.namespace, self._kubeconfig = context, namespace, kubeconfig

    def pods(self, selector: str) -> list[Pod]:
        """The pods with these labels that are not on their way out."""

        def ask(client: Any, api: Any) -> list[Pod]:
            core = client.CoreV1Api(api)
            found = core.list_namespaced_pod(self.namespace, label_selector=selector, _request_timeout=TIMEOUT_S)
            return [_pod(one) for one in found.items if one.metadata.deletion_timestamp is None]

        return self._ask("list pods", ask)

    def probes(self, selector: str) -> dict[str, dict[str, Any]]:
        """The probes of the first container that has a readiness probe, as the pods have them now, by their names and
        with the keys of a pod specification."""

        def ask(client: Any, api: Any) -> dict[str, dict[str, Any]]:
            core = client.CoreV1Api(api)
            found = core.list_namespaced_pod(self.namespace, label_selector=selector, _request_timeout=TIMEOUT_S)
            every = [container for pod in found.items for container in pod.spec.containers]
            for one in (container for container in every if container.readiness_probe is not None):
                of = {"startup": one.startup_probe, "liveness": one.liveness_probe, "readiness": one.readiness_probe}
                return {name: api.sanitize_for_serialization(probe) for name, probe in of.items() if probe is not None}
            return {}

        return self._ask("look at the probes of the pods", ask)

    def exists(self, uid: str, name: str) -> bool:
        """Whether this very pod is still there, also on its way out."""

        def ask(client: Any, api: Any) -> bool:
            try:
                found = client.CoreV1Api(api).read_namespaced_pod(name, self.namespace, _request_timeout=TIMEOUT_S)
            except client.ApiException as error:
                if error.status == 404:
                    return False
                raise
            return found.metadata.uid == uid

        return self._ask(f"get pod {name}", ask)

    def delete(self, name: str, uid: str, grace_s: int) -> bool:
        """Delete this very pod; False where it is gone, or another one has its name."""

        def ask(client: Any, api: Any) -> bool:
            only = client.V1Preconditions(uid=uid)
            body = client.V1DeleteOptions(grace_period_seconds=grace_s, preconditions=only)
            try:
                client.CoreV1Api(api).delete_namespaced_pod(
                    name, self.namespace, body=body, _request_timeout=TIMEOUT_S, _preload_content=False
                )
            except client.ApiException as error:
                if error.status in (404, 409):
                    return False
                raise
            return True

        return self._ask(f"delete pod {name}", ask)

    def workload(self, pod: Pod) -> Workload:
        """The Deployment or StatefulSet that makes a pod."""

        def ask(client: Any, api: Any) -> Workload:
            apps, (kind, name) = client.AppsV1Api(api), pod.owner or ("", "")
            if kind == "ReplicaSet":
                made = apps.read_namespaced_replica_set(name, self.namespace, _request_timeout=TIMEOUT_S)
                kind, name = _owner(made.metadata) or ("", "")
            if kind not in SCALED:
                raise StackError(f"pod {pod.name} is made by no Deployment or StatefulSet, so nothing can be scaled")
            read = getattr(apps, f"read_namespaced_{SCALED[kind]}_scale")
            scale = read(name, self.namespace, _request_timeout=TIMEOUT_S)
            return Workload(kind, name, scale.metadata.uid, scale.spec.replicas or 0)

        return self._ask(f"look at what makes pod {pod.name}", ask)

    def scale(self, kind: str, name: str, uid: str, replicas: int) -> bool:
        """Have a workload make so many pods; False where that very one is gone."""

        def ask(client: Any, api: Any) -> bool:
            apps = client.AppsV1Api(api)
            try:
                scale = getattr(apps, f"read_namespaced_{SCALED[kind]}_scale")(
                    name, self.namespace, _request_timeout=TIMEOUT_S
                )
                if scale.metadata.uid != uid:
                    return False
                scale.spec.replicas = replicas  # with the version that was read: nobody else's change is lost
                put = getattr(apps, f"replace_namespaced_{SCALED[kind]}_scale")
                put(name, self.namespace, scale, _request_timeout=TIMEOUT_S)
            except client.ApiException as error:
                if error.status == 404:
                    return False
                raise
            return True

        return self._ask(f"scale {name}", ask)

    def _ask(self, what: str, ask: Callable[[Any, Any], T]) -> T:
        try:
            from kubernetes import client, config
            from urllib3.exceptions import HTTPError
        except ImportError:
            raise StackError("to control pods takes `pip install 'chaos-harness[kubernetes]'`") from None
        where = f"context {self.context}, namespace {self.namespace}: {what}"
        settings = client.Configuration()
        try:
            if self.context == IN_CLUSTER:
                config.load_incluster_config(client_configuration=settings)
            else:
                config.load_kube_config(self._kubeconfig, self.context, settings, persist_config=False)
        except (config.ConfigException, OSError, ValueError) as error:
            raise StackError(f"{where}: {error}; kubectl config get-contexts shows what there is") from error
        settings.retries = False
        try:
            with client.ApiClient(settings) as api:
                return ask(client, api)
        except client.ApiException as error:
            raise StackError(f"{where}: {_refused(error)}") from error
        except (HTTPError, OSError, ValueError) as error:
            raise StackError(f"{where}: no answer ({type(error).__name__}); does kubectl reach it?") from error


def _refused(error: Any) -> str:
    remedies = {
        401: "who asks is not known there: its credentials have expired, or are another cluster's",
        403: "it may not: give it a Role with pods: get, list, delete and deployments/scale: get, update",
        404: "there is none; is it the right namespace and context?",
    }
    return f"status {error.status}; {remedies.get(error.status, error.reason)}"


def _pod(found: Any) -> Pod:
    status = found.status
    restarts = sum(one.restart_count for one in (status.container_statuses or ()))
    ready = any(one.type == "Ready" and one.status == "True" for one in (status.conditions or ()))
    return Pod(found.metadata.name, found.metadata.uid, restarts, ready, _owner(found.metadata))


def _owner(metadata: Any) -> tuple[str, str] | None:
    owners = [one for one in (metadata.owner_references or ()) if one.controller]
    return (owners[0].kind, owners[0].name) if owners else None
