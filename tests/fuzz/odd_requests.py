"""Seeded HTTP requests, from slightly to completely wrong, as bytes for the wire.

requests = OddRequests(random.Random(seed), users=...)
wire = requests.next()            # Wire(text for the report, bytes, is it a watch, must the connection close)
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from coxswain.api import kinds
from coxswain.api.kinds import Resource
from fuzz.odd_values import STRINGS, as_protobuf, as_yaml, dump, good, mutate, odd

COMMON = (
    "pods",
    "deployments",
    "services",
    "configmaps",
    "secrets",
    "namespaces",
    "nodes",
    "leases",
    "roles",
)
NAMES = ("a", "b", "web", "widgets.example.com", "v1.apps", "default", "a:b", "10.0.0.1")
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_JSON = "application/json"
_PROTOBUF = "application/vnd.kubernetes.protobuf"
CONTENT_TYPES = (
    _JSON, "application/yaml", _PROTOBUF, "", "text/plain", "application/json; charset=utf-16", "a", ";", "*/*",
    "application/cbor", "multipart/form-data; boundary=x", "application/json;;;=", *PATCHES,
)  # fmt: skip
ACCEPTS = (
    _JSON, "*/*", "", "application/yaml", _PROTOBUF, "text/html", "application/*;q=0", ";;;", "application/json;q=x",
    "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/json;as=Nothing;v=v9;g=x",
    f"{_PROTOBUF};as=Table;v=v1;g=meta.k8s.io,application/json", f"{_PROTOBUF};stream=watch", "a" * 3000,
    f"{_PROTOBUF};as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/cbor", "application/json, " * 40,
)  # fmt: skip
SELECTORS = (
    "app=web", "app in (web,x)", "!app", "app notin (", "a=b=c", "=", ",", "a in ()", "a>1", "a<x", "a in (b),c!=d", "((",
    "metadata.name=a", "metadata.namespace!=default", "spec.nodeName=", "status.phase=Running", "no.such=field", "a\\,b=c",
    "metadata.name=a,metadata.name=b", "\x00", "x" * 5000, "a==b", "a!in(b)", "kubernetes.io/a=b", "/=", "\u202e=1",
)  # fmt: skip
TOKENS = (
    "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0", "YQ", "!!!", "e30", "bnVsbA", "W10",
    "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiLi4vLi4vYSJ9", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6ImEifQ",
    "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6OTk5OTk5OTk5OTk5OTk5OTk5OTksInN0YXJ0IjoiXHUwMDAwIn0", "\x00",
)  # fmt: skip
PARAMETERS: dict[str, tuple[Any, ...]] = {
    "labelSelector": SELECTORS,
    "fieldSelector": SELECTORS,
    "limit": ("0", "1", "2", "500", "-1", "x", "9" * 30, "1.5", " 1", "\u0661"),
    "continue": TOKENS,
    "resourceVersion": ("0", "1", "5", "999999999", "-1", "x", "9" * 30, "00", " ", "1_0", "\u0661"),
    "resourceVersionMatch": ("Exact", "NotOlderThan", "x", ""),
    "timeoutSeconds": ("0", "1", "-1", "x", "9" * 30, "1e3"),
    "allowWatchBookmarks": ("true", "false", "x", ""),
    "sendInitialEvents": ("true", "false", "x"),
    "pretty": ("true", "x", ""),
    "dryRun": ("All", "x", "", "All,All"),
    "fieldManager": ("me", "", "x" * 200, "\x00", "\u202e", "a\nb"),
    "fieldValidation": ("Strict", "Warn", "Ignore", "x", ""),
    "force": ("true", "false", "x", ""),
    "gracePeriodSeconds": ("0", "1", "-1", "-5", "x", "9" * 30),
    "propagationPolicy": ("Orphan", "Foreground", "Background", "x"),
    "orphanDependents": ("true", "false", "x"),
    "includeObject": ("None", "Metadata", "Object", "x"),
    "watch": ("1", "true", "0", "x", ""),
    "container": ("c", "", "x/../y"),
    "tailLines": ("1", "-1", "x"),
    "sinceTime": ("x", "2020-01-01T00:00:00Z"),
    "follow": ("x", "false"),
    "path": ("/../..", "http://x"),
    "": ("", "x"),
    "%00": ("%ff",),
}
PATHS = (
    "/", "//", "/api", "/apis", "/api/v1", "/api/v2", "/apis/apps", "/apis/apps/v1", "/apis/no.such/v1/things", "/version",
    "/openapi/v2", "/openapi/v3", "/openapi/v3/apis/apps/v1", "/openapi/v3/../..", "/healthz", "/livez/ping", "/readyz",
    "/metrics", "/api/v1/../../etc/passwd", "/api/v1/namespaces/..%2f..%2fkube-system/pods/a", "/api/v1/namespaces//pods",
    "/api/v1/pods/%00", "/api/v1/namespaces/default/pods/a%2Fstatus", "/api/v1/watch", "/api/v1/watch/", "/%",
    "/api/v1/watch/namespaces/default/pods", "/api/v1/namespaces/default/pods/a/b/c/d", "/apis/apps/v1/%ff%fe", "/api/v1/%zz",
    "/.well-known/openid-configuration", "/openid/v1/jwks", "/api/v1/namespaces/default/pods/a/log", "/healthz/no-such",
    "/api/v1/namespaces/default/pods/a/exec", "/api/v1/nodes/a/proxy/", "/api/v1/nodes/a/proxy/../..", "/readyz?verbose&exclude=x",
    "/livez?exclude=%00", "/debug/pprof", "*", "http://127.0.0.1/api", "http://[::1/api", "/apis//v1/pods", "/api/v1//pods", "?x",
    "/api/v1/namespaces/default/services/a:b/proxy/x", "/api/v1/namespaces/default/pods/a/portforward", "/%2e%2e/%2e%2e/",
)  # fmt: skip
METHODS = (
    "GET",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "HEAD",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "FOO",
    "get",
    "G\x00T",
)
_POINTERS = (
    "", "/", "/metadata/labels/app", "/spec", "/spec/template/spec/containers/0/image", "/spec/ports/-", "/a~2b", "/~", "no",
    "/spec/ports/99999999999999999999", "/spec/ports/-1", "/spec/ports/01", "/metadata/name", "/metadata", "/data/a", "/data/~1",
    "/spec/template/spec/containers/x", "/metadata/managedFields/0", "/metadata/finalizers/-", "/kind", "/status/conditions/0",
)  # fmt: skip


@dataclass(slots=True)
class Wire:
    """One request. ``streams``: the answer may never end. ``closes``: the server may close after it."""

    label: str
    data: bytes
    head: bool = False
    streams: bool = False
    closes: bool = False


class OddRequests:
    """See the module's text. ``versions`` may be filled with revisions that were seen in answers."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.tokens: list[str] = []
        self._resources = [resource for resource in kinds.resources() if resource.verbs]
        self._common = [
            resource
            for resource in self._resources
            if resource.gvr.resource in COMMON and resource.gvr.version == "v1"
        ]

    def next(self) -> Wire:
        """The next request."""
        roll = self.rng.random()
        if roll < 0.04:
            return self._path_request()
        if roll < 0.06:
            return self._broken_http()
        return self._resource_request()

    # -- requests about objects

    def _resource_request(self) -> Wire:
        rng = self.rng
        resource = rng.choice(self._common if rng.random() < 0.5 else self._resources)
        name = rng.choice(NAMES[:3]) if rng.random() < 0.85 else rng.choice((*NAMES, *STRINGS))
        path, verb = self._path(resource, name)
        method = {
            "create": "POST",
            "update": "PUT",
            "patch": "PATCH",
            "delete": "DELETE",
            "deletecollection": "DELETE",
        }
        used = method.get(verb, "GET") if rng.random() < 0.97 else rng.choice(METHODS)
        headers, body = {}, b""
        if verb in ("create", "update"):
            headers, body = self._object(resource, name, path)
        elif verb == "patch":
            headers, body = self._patch(resource, name)
        elif verb in ("delete", "deletecollection") and rng.random() < 0.3:
            options = {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "gracePeriodSeconds": 0,
                "propagationPolicy": "Orphan",
            }
            options["preconditions"] = {"uid": "x", "resourceVersion": "1"}
            body = self._encoded(mutate(rng, options), headers, resource)
        elif verb in ("get", "list") and rng.random() < 0.02:
            body = dump(odd(rng))
        if rng.random() < 0.25:
            headers["Accept"] = rng.choice(ACCEPTS)
        return self._finish(used, path + self._query(verb), headers, body, verb)

    def _path(self, resource: Resource, name: str) -> tuple[str, str]:
        rng = self.rng
        gvr = resource.gvr
        root = f"/apis/{gvr.group}/{gvr.version}" if gvr.group else f"/api/{gvr.version}"
        if resource.namespaced and rng.random() < 0.95:
            namespace = "default" if rng.random() < 0.95 else rng.choice((*STRINGS, "kube-system", "a"))
            root += f"/namespaces/{quote(namespace, safe='')}"
        path = f"{root}/{gvr.resource}"
        verb = rng.choice(
            ("create",) * 4 + ("update", "patch", "patch", "get", "list", "watch", "delete", "update") + ("deletecollection",)
            * (rng.random() < 0.1)
        )  # fmt: skip
        collective = verb in ("create", "list", "watch", "deletecollection")
        if collective and (verb == "watch" or rng.random() < 0.93):
            return path, verb
        path += "/" + (
            quote(name, safe="") if rng.random() < 0.98 else name.replace(" ", "").replace("\n", "")
        )
        if resource.subresources and rng.random() < 0.25:
            path += "/" + rng.choice(resource.subresources).name
        elif rng.random() < 0.02:
            path += "/" + rng.choice(("status", "scale", "proxy", "log", "nothing", "%00"))
        return path, verb

    def _query(self, verb: str) -> str:
        rng = self.rng
        pairs = []
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 4))):
            key = rng.choice(tuple(PARAMETERS))
            value = rng.choice(PARAMETERS[key]) if rng.random() < 0.9 else rng.choice(STRINGS)
            if key == "continue" and self.tokens and rng.random() < 0.5:
                value = rng.choice(self.tokens)
            pairs.append(
                f"{quote(key, safe='%')}={quote(value, safe='%') if rng.random() < 0.98 else '%zz%ff'}"
            )
        if verb == "watch":
            pairs.append("watch=1&timeoutSeconds=1")
        elif verb == "patch" and rng.random() < 0.6:
            pairs.append("fieldManager=fuzz" + rng.choice(("", "&force=true")))
        return "?" + "&".join(pairs) if pairs else ""

    def _object(self, resource: Resource, name: str, path: str) -> tuple[dict[str, str], bytes]:
        rng = self.rng
        subresource = path.rpartition("/")[2]
        obj: Any = good(resource, name, rng)
        if subresource == "scale":
            obj = {
                "apiVersion": "autoscaling/v1",
                "kind": "Scale",
                "metadata": {"name": name},
                "spec": {"replicas": 3},
            }
        elif subresource == "eviction":
            obj = {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": name},
                "deleteOptions": {},
            }
        elif subresource == "binding":
            obj = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": name},
                "target": {"kind": "Node", "name": "a"},
            }
        elif subresource == "token":
            obj = {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"audiences": ["a"]},
            }
        if rng.random() < 0.1 and isinstance(obj.get("metadata"), dict):
            obj["metadata"].update(self._system_metadata())
        headers: dict[str, str] = {}
        return headers, self._encoded(mutate(rng, obj), headers, resource)

    def _system_metadata(self) -> dict[str, Any]:
        entry = {
            "manager": "m",
            "operation": "Update",
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:a": {}},
        }
        extra = {
            "finalizers": ["a.b/c"],
            "generateName": "a-",
            "resourceVersion": "1",
            "uid": "x",
            "managedFields": [entry],
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u", "controller": True}
            ],
            "deletionTimestamp": "2020-01-02T03:04:05Z",
            "generation": 5,
        }
        keys = self.rng.sample(tuple(extra), self.rng.randint(1, 3))
        return mutate(self.rng, {key: extra[key] for key in keys}, 1) if self.rng.random() < 0.5 else {
            key: extra[key] for key in keys
        }  # fmt: skip

    def _encoded(self, obj: Any, headers: dict[str, str], resource: Resource) -> bytes:
        rng = self.rng
        roll = rng.random()
        if roll < 0.7:
            headers["Content-Type"] = _JSON
            body = dump(obj)
        elif roll < 0.8:
            headers["Content-Type"] = "application/yaml"
            body = as_yaml(obj)
        elif roll < 0.92:
            headers["Content-Type"] = _PROTOBUF
            body = as_protobuf(obj, resource.gvk, rng)
        else:
            headers["Content-Type"] = rng.choice(CONTENT_TYPES)
            body = dump(obj)
        return self._damaged(body)

    def _damaged(self, body: bytes) -> bytes:
        rng = self.rng
        roll = rng.random()
        if roll > 0.06 or not body:
            return body
        if roll < 0.01:
            return rng.randbytes(rng.randint(0, 200))
        if roll < 0.02:
            return rng.choice((b'{"metadata":', b"[", b"- ", b'{"spec":')) * rng.choice((100, 5_000, 50_000))
        if roll < 0.025:
            depth = rng.choice((50, 200, 3_000))
            return (
                b'{"apiVersion":"v1","kind":"ConfigMap","metadata":'
                + b'{"a":' * depth
                + b"1"
                + b"}" * depth
                + b"}"
            )
        if roll < 0.04:
            cut = rng.randrange(len(body))
            return body[:cut] + bytes([rng.randrange(256)]) + body[cut + 1 :]
        if roll < 0.05:
            return body[: rng.randrange(len(body))]
        return rng.choice(
            (
                b"",
                b"null",
                b"[]",
                b"1",
                b'"x"',
                b"{}",
                b"\xef\xbb\xbf" + body,
                body + body,
                b"\x00",
                b"--- \n",
            )
        )

    def _patch(self, resource: Resource, name: str) -> tuple[dict[str, str], bytes]:
        rng = self.rng
        kind = rng.choice(PATCHES)
        headers = {"Content-Type": kind if rng.random() < 0.97 else rng.choice(CONTENT_TYPES)}
        if kind == PATCHES[0]:
            patch: Any = [self._operation() for _ in range(rng.choice((1, 1, 2, 3)))]
            patch = mutate(rng, patch) if rng.random() < 0.3 else patch
        elif kind == PATCHES[3]:
            patch = good(resource, name, rng)
            if rng.random() < 0.2:
                patch["metadata"].update(self._system_metadata())
            patch = mutate(rng, patch)
        else:
            patch = mutate(rng, self._merge(resource, name, kind == PATCHES[2]))
        body = as_yaml(patch) if kind == PATCHES[3] and rng.random() < 0.5 else dump(patch)
        return headers, self._damaged(body)

    def _operation(self) -> dict[str, Any]:
        rng = self.rng
        made = {
            "op": rng.choice(("add", "remove", "replace", "move", "copy", "test")),
            "path": rng.choice(_POINTERS),
        }
        if rng.random() < 0.9:
            made["value"] = odd(rng)
        if rng.random() < 0.5:
            made["from"] = rng.choice(_POINTERS)
        return made

    def _merge(self, resource: Resource, name: str, strategic: bool) -> Any:
        rng = self.rng
        whole = good(resource, name, rng)
        patch: Any = {key: whole[key] for key in whole if rng.random() < 0.5}
        if not strategic:
            return patch
        containers: list[Any] = [
            {"name": "c", "image": "x"},
            {"$patch": rng.choice(("delete", "replace", "x", 1)), "name": "c"},
        ]
        spec = {
            "containers": containers,
            "$setElementOrder/containers": [{"name": "c"}, odd(rng)],
            "$retainKeys": ["name", odd(rng)],
            "$deleteFromPrimitiveList/finalizers": ["a.b/c", odd(rng)],
            "$patch": rng.choice(("replace", "delete", "merge", odd(rng))),
            "volumes": [{"$patch": "replace"}, {"name": "v", "$retainKeys": ["name"]}],
        }
        picked = {key: spec[key] for key in rng.sample(tuple(spec), rng.randint(1, 3))}
        place = rng.choice(("spec", "metadata", "template", "top"))
        if place == "top":
            patch.update(picked)
        elif place == "template":
            patch["spec"] = {"template": {"spec": picked}}
        else:
            patch[place] = picked
        return patch

    # -- requests about anything else

    def _path_request(self) -> Wire:
        rng = self.rng
        path = rng.choice(PATHS)
        if rng.random() < 0.3:
            path += rng.choice(
                ("/", "?", "?a=b&a=c", "?watch=1&timeoutSeconds=1", "#x", "/" + "a/" * 50, "%2f", ";x=y")
            )
        headers = {"Accept": rng.choice(ACCEPTS)}
        method = "GET" if rng.random() < 0.7 else rng.choice(METHODS)
        return self._finish(method, path, headers, b"", "watch" if "watch" in path else "get")

    def _broken_http(self) -> Wire:
        rng = self.rng
        head = b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\n"
        broken = (
            b"GET /api/v1/pods\r\n\r\n",
            b"\r\n\r\n\r\nGET / HTTP/9.9\r\n\r\n",
            b"GET /api HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
            b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            head + b"X-Long: " + b"a" * 70_000 + b"\r\n\r\n",
            head + b"".join(b"X-%d: y\r\n" % number for number in range(3000)) + b"\r\n",
            head + b"Content-Length: x\r\n\r\n",
            head + b"Content-Length: -5\r\n\r\n",
            head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
            head + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
            b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n\r\n",
            b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
            b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc",
            b"\x16\x03\x01\x00\x00" + rng.randbytes(40) + b"\r\n\r\n",
            b"GET /api HTTP/1.1\r\nHost: \xff\xfe\r\nX-A: \xc3\x28\r\nConnection: close\r\n\r\n",
            head
            + b"Authorization: Bearer "
            + rng.randbytes(20).hex().encode()
            + b"\r\nConnection: close\r\n\r\n",
            head + b"Authorization: \xff\r\nConnection: close\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        data = rng.choice(broken)
        return Wire(repr(data[:120]), data, closes=True)

    def _finish(self, method: str, path: str, headers: dict[str, str], body: bytes, verb: str) -> Wire:
        rng = self.rng
        if rng.random() < 0.04:
            name = rng.choice(("User", "Group", "Uid", "Extra-a%2fb", "Extra-", "Extra-%zz", "Nothing", ""))
            headers[f"Impersonate-{name}".rstrip("-")] = _header(rng.choice(STRINGS))
            if rng.random() < 0.6:
                headers["Impersonate-User"] = _header(rng.choice((*STRINGS, "system:serviceaccount:a", "u")))
        if rng.random() < 0.05:
            headers["User-Agent"] = _header(rng.choice((*STRINGS, "kubectl/v1 (linux)", "/", "curl/8")))
        if rng.random() < 0.01:
            body = b'{"a":"' + b"x" * (3 << 20) + b'"}'
        version, closes = "1.1", rng.random() < 0.03
        if rng.random() < 0.02:
            version, closes = "1.0", True
        lines = [
            f"{method} {path or '/'} HTTP/{version}".encode("utf-8", "surrogateescape"),
            b"Host: localhost",
        ]
        lines += [f"{name}: {value}".encode("utf-8", "surrogateescape") for name, value in headers.items()]
        if closes:
            lines.append(b"Connection: close")
        if body and rng.random() < 0.05 and version == "1.1":
            lines.append(b"Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        elif body or method in ("POST", "PUT", "PATCH"):
            lines.append(b"Content-Length: %d" % len(body))
        label = f"{method} {path[:300]} {headers} {body[:1500]!r}"
        # Methods and lengths that the parser itself refuses end the connection.
        refused = not method.isalpha() or len(body) > (3 << 20) or len(path) > 30_000 or method == "CONNECT"
        streams = "watch" in path or "follow" in path
        data = b"\r\n".join(lines) + b"\r\n\r\n" + body
        return Wire(label, data, method == "HEAD", streams, closes or refused)


def _header(text: str) -> str:
    return "".join(char for char in text if char >= " ")[:500]
