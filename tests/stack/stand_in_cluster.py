"""A stand-in for the API of a cluster: a Deployment, its ReplicaSet and pods, which it makes anew as controllers do.

Every request is held against the models of the official client, and so is every answer: what those do not take is
answered with 400, as the API does it, and kept in `wrong`.
"""

import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import yaml
from kubernetes import client

BASE = "/api/v1/namespaces/shop/pods"
APPS = "/apis/apps/v1/namespaces/shop"
MANIFESTS = list(yaml.safe_load_all((Path(__file__).parents[2] / "docs/kubernetes/gate.yaml").read_text()))
ROLE = client.V1Role.from_dict(next(one for one in MANIFESTS if one["kind"] == "Role"))


class Cluster:
    """Namespace `shop`, with two pods labelled app=shop, made by the Deployment `shop`; `forbid`: verbs refused."""

    def __init__(self, folder):
        self.uid, self.version, self.replicas = str(uuid.uuid4()), 1, 2
        self.pods, self.wrong, self.forbid, self.asked = {}, [], set(), []
        self.owned, self.ready_after_s = True, 0.1
        self._lock = threading.RLock()
        self._reconcile()
        cluster = self

        class Api(BaseHTTPRequestHandler):
            def do_GET(self):
                cluster.answer(self, "get")

            def do_DELETE(self):
                cluster.answer(self, "delete")

            def do_PUT(self):
                cluster.answer(self, "update")

            def log_message(self, *about):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.kubeconfig = folder / "kubeconfig"
        url = f"http://127.0.0.1:{self.server.server_port}"
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": "other",
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "users": [{"name": "me", "user": {"token": "t0ken"}}],
            "contexts": [{"name": "staging", "context": {"cluster": "here", "user": "me"}}],
        }  # fmt: skip
        self.kubeconfig.write_text(yaml.safe_dump(content))

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def _reconcile(self):
        with self._lock:
            while len(self.pods) < self.replicas:
                self.pods[f"shop-7d9-{uuid.uuid4().hex[:5]}"] = (str(uuid.uuid4()), time.monotonic())
            for name in list(self.pods)[self.replicas :]:
                del self.pods[name]

    def answer(self, request, verb):
        at = urlsplit(request.path)
        body = json.loads(request.rfile.read(int(request.headers.get("Content-Length") or 0)) or "null")
        self.asked.append((verb, at.path))
        with self._lock:
            try:
                status, found = self._answer(verb, at.path, parse_qs(at.query), body, request.headers)
            except Exception as wrong:  # of the models: it is told, and the test fails by `wrong`
                self.wrong.append(f"{verb} {at.path}: {wrong}")
                status, found = 400, {"kind": "Status", "reason": "BadRequest"}
        text = json.dumps(found).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)

    def _answer(self, verb, path, query, body, headers):
        if headers["Authorization"] != "Bearer t0ken":
            return 401, {"kind": "Status", "reason": "Unauthorized"}
        if verb in self.forbid or not self._granted(verb, path, query):
            return 403, {"kind": "Status", "reason": "Forbidden"}
        if (verb, path) == ("get", BASE):
            wanted = query.get("labelSelector", [""])[0]
            return 200, _checked("V1PodList", {"items": [self._pod(n) for n in self.pods if wanted == "app=shop"]})
        name = path.removeprefix(f"{BASE}/")
        if path.startswith(f"{BASE}/"):
            if name not in self.pods:
                return 404, {"kind": "Status", "reason": "NotFound"}
            if verb == "delete":
                options = client.V1DeleteOptions.from_dict(body)
                assert client.ApiClient().sanitize_for_serialization(options) == body, f"unknown fields in {body}"
                if options.preconditions.uid != self.pods[name][0]:
                    return 409, {"kind": "Status", "reason": "Conflict"}
                del self.pods[name]
                threading.Timer(self.ready_after_s, self._reconcile).start()
                return 200, {"kind": "Status", "status": "Success"}
            return 200, _checked("V1Pod", self._pod(name))
        if (verb, path) == ("get", f"{APPS}/replicasets/shop-7d9"):
            owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop", "uid": self.uid, "controller": True}
            made = {"metadata": {"name": "shop-7d9", "ownerReferences": [owner]}, "spec": {"selector": {}}}
            return 200, _checked("V1ReplicaSet", made)
        if path == f"{APPS}/deployments/shop/scale":
            if verb == "update":
                wanted = client.V1Scale.from_dict(body)
                if wanted.metadata.resource_version != str(self.version):
                    return 409, {"kind": "Status", "reason": "Conflict"}
                self.replicas, self.version = wanted.spec.replicas, self.version + 1
                self._reconcile()
            about = {"name": "shop", "namespace": "shop", "uid": self.uid, "resourceVersion": str(self.version)}
            return 200, _checked("V1Scale", {"metadata": about, "spec": {"replicas": self.replicas}})
        return 404, {"kind": "Status", "reason": "NotFound"}

    def _granted(self, verb, path, query):
        """Whether the Role of docs/kubernetes/gate.yaml has it."""
        parts = path.split("/")
        group, parts = ("", parts[3:]) if parts[1] == "api" else (parts[2], parts[4:])
        resource = "/".join([parts[2], *parts[4:]])
        verb = "list" if verb == "get" and len(parts) == 3 else verb
        return any(group in r.api_groups and resource in r.resources and verb in r.verbs for r in ROLE.rules)

    def _pod(self, name):
        uid, since = self.pods[name]
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-7d9", "uid": "r", "controller": True}
        ready = "True" if time.monotonic() - since >= self.ready_after_s else "False"
        metadata = {"name": name, "uid": uid, "labels": {"app": "shop"}}
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
        times = {"periodSeconds": 5, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1}
        probe = {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, **times}
        spec = {"containers": [{"name": "sidecar"}, {"name": "shop", "readinessProbe": probe, "startupProbe": probe}]}
        return {
            "metadata": metadata | ({"ownerReferences": [owner]} if self.owned else {}), "spec": spec, "status": status,
        }  # fmt: skip


def _checked(model, content):
    """The content, which the client's model takes."""
    assert getattr(client, model).from_dict(content) is not None
    return content
