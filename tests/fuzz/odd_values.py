"""What a fuzzer puts where something sensible was expected, and objects to begin from."""

from __future__ import annotations

import copy
import random
from typing import Any

import orjson
import yaml

from api_samples import sample
from coxswain.api import protobuf, schema
from coxswain.api.kinds import Resource
from coxswain.api.names import GVK

STRINGS = [
    "", " ", "a", "-", ".", "..", "../..", "/", "a/b", "a b", "A", "\x00", "a\x00b", "\n", "\x7f", "\x80", "\u202e",
    "\U0001f6a3", "e\u0301", "\ufeff", "x" * 64, "x" * 254, "x" * 70_000, "$(VAR)", "$((", "%s", "%00", "{{.}}", "null",
    "true", "0", "-1", "1e400", "9" * 40, "1.5.5.5", "::1", "256.1.1.1", "10.0.0.0/33", "0.0.0.0", "fe80::1%eth0",
    "http", "65536", "100m", "1Gi", "-0", "1e1000Ki", "1E9999999999", "0x10", "\u0661\u0662", "*", "*.example.com", "a=b", "a,b",
    "a in (b", "!", "()", "2020-01-02T03:04:05Z", "9999-99-99T99:99:99Z", "0001-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
    "YQ==", "Y", "=", "@every 1s", "*/0 * * * *", "TZ=Nowhere/None * * * * *", "[", "(?P<", "a{99999}", "(a+)+$",
    "kubernetes.io/hostname", "kubernetes.io/", "/x", "system:masters", "default", "kube-system", "Always", "Never",
]  # fmt: skip
NUMBERS: list[Any] = [
    0, -1, 1, 2, 443, 65535, 65536, 2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**30,
    0.5, -0.0, 1e308, 1.0,
]  # fmt: skip


def odd(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value, most often an unpleasant one."""
    choice = rng.random()
    if choice < 0.35:
        return rng.choice(STRINGS)
    if choice < 0.6:
        return rng.choice(NUMBERS)
    if choice < 0.75 or depth > 3:
        return rng.choice([None, True, False, [], {}])
    if choice < 0.87:
        return [odd(rng, depth + 1) for _ in range(rng.randint(1, 3))]
    return {rng.choice(STRINGS): odd(rng, depth + 1) for _ in range(rng.randint(1, 3))}


def dump(value: Any) -> bytes:
    """JSON of anything that ``odd`` makes, integers beyond 64 bits and lone surrogates too."""
    try:
        return orjson.dumps(value)
    except (TypeError, ValueError):
        import json

        return json.dumps(value).encode()


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        found += _paths(inner, (*at, key))
    return found


def mutate(rng: random.Random, obj: Any, times: int | None = None) -> Any:
    """A copy of ``obj`` with some places replaced, removed, doubled or added to."""
    obj = copy.deepcopy(obj)
    for _ in range(rng.choice((0, 1, 1, 2, 5)) if times is None else times):
        path = rng.choice(_paths(obj))
        if not path:
            continue
        holder = obj
        for key in path[:-1]:
            holder = holder[key]
        what, key = rng.random(), path[-1]
        if what < 0.55:
            holder[key] = odd(rng)
        elif what < 0.7:
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(rng.choice(holder)))
        else:
            holder[rng.choice((*STRINGS, *holder))] = rng.choice((odd(rng), copy.deepcopy(holder[key])))
    return obj


_CONTAINER = {
    "name": "c",
    "image": "nginx:1",
    "command": ["sleep", "1"],
    "ports": [{"containerPort": 80, "name": "http"}],
    "env": [
        {"name": "A", "value": "b"},
        {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ],
    "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "1"}},
    "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 2},
    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    "securityContext": {"runAsUser": 1, "capabilities": {"add": ["NET_ADMIN"]}},
}
_POD = {
    "containers": [_CONTAINER],
    "volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"key": "a", "path": "b"}]}}],
    "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}],
    "nodeSelector": {"a": "b"},
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}]
            }
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "podAffinityTerm": {"topologyKey": "z", "labelSelector": {"matchLabels": {"a": "b"}}},
                }
            ]
        },
    },
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    ],
}
_TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": _POD}
_WORKLOAD = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": _TEMPLATE}
_JOB_TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {**_POD, "restartPolicy": "Never"}}
_BODIES: dict[str, dict[str, Any]] = {
    "pods": {"spec": _POD},
    "podtemplates": {"template": _TEMPLATE},
    "replicationcontrollers": {"spec": {"replicas": 1, "selector": {"app": "web"}, "template": _TEMPLATE}},
    "deployments": {
        "spec": {**_WORKLOAD, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}}}
    },
    "replicasets": {"spec": _WORKLOAD},
    "daemonsets": {"spec": {"selector": _WORKLOAD["selector"], "template": _TEMPLATE}},
    "statefulsets": {"spec": {**_WORKLOAD, "serviceName": "web"}},
    "jobs": {"spec": {"completions": 2, "parallelism": 1, "template": _JOB_TEMPLATE}},
    "cronjobs": {"spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": _JOB_TEMPLATE}}}},
    "services": {
        "spec": {
            "selector": {"app": "web"},
            "type": "NodePort",
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "nodePort": 30123}],
        }
    },
    "configmaps": {"data": {"a": "b"}, "binaryData": {"x": "YQ=="}},
    "secrets": {"type": "Opaque", "data": {"a": "YQ=="}, "stringData": {"c": "d"}},
    "namespaces": {},
    "nodes": {"spec": {"podCIDR": "10.1.0.0/24", "taints": [{"key": "a", "effect": "NoSchedule"}]}},
    "serviceaccounts": {"secrets": [{"name": "s"}]},
    "endpoints": {"subsets": [{"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 80, "name": "http"}]}]},
    "endpointslices": {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.1.1.1"]}],
        "ports": [{"port": 80}],
    },
    "leases": {
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 5, "renewTime": "2020-01-02T03:04:05.000001Z"}
    },
    "roles": {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
    "clusterroles": {"rules": [{"nonResourceURLs": ["/x"], "verbs": ["get"]}]},
    "rolebindings": {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"},
        "subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}],
    },
    "resourcequotas": {"spec": {"hard": {"pods": "100000", "count/configmaps": "100000"}}},
    "limitranges": {
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}, "max": {"cpu": "2"}}]}
    },
    "persistentvolumeclaims": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    "persistentvolumes": {
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}
    },
    "storageclasses": {"provisioner": "a.b/c"},
    "priorityclasses": {"value": 5},
    "poddisruptionbudgets": {"spec": {"minAvailable": "50%", "selector": {"matchLabels": {"app": "web"}}}},
    "networkpolicies": {
        "spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}
    },
    "ingresses": {
        "spec": {
            "rules": [
                {
                    "host": "a.b",
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "a", "port": {"number": 80}}},
                            }
                        ]
                    },
                }
            ]
        }
    },
    "horizontalpodautoscalers": {
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "a", "apiVersion": "apps/v1"},
        }
    },
    "customresourcedefinitions": {
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                            },
                        }
                    },
                }
            ],
        }
    },
    "tokenreviews": {"spec": {"token": "abc"}},
    "subjectaccessreviews": {
        "spec": {"user": "a", "resourceAttributes": {"verb": "get", "resource": "pods"}}
    },
    "selfsubjectaccessreviews": {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}},
    "selfsubjectrulesreviews": {"spec": {"namespace": "default"}},
    "events": {
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "a"},
        "reason": "R",
        "type": "Normal",
    },
}


def good(resource: Resource, name: str, rng: random.Random) -> dict[str, Any]:
    """An object of ``resource`` that is right, or at least of the right types."""
    gvk = resource.gvk
    obj: dict[str, Any] = {"apiVersion": gvk.api_version, "kind": gvk.kind}
    body = _BODIES.get(resource.gvr.resource)
    if body is None or rng.random() < 0.15:
        found = schema.type_of(gvk)
        body = sample(found, rng) if found is not None else {}
        body.pop("metadata", None)
    obj.update(copy.deepcopy(body))
    obj["metadata"] = {"name": name, "labels": {"app": "web"}, "annotations": {"a": "b"}}
    if resource.gvr.resource == "customresourcedefinitions":
        obj["metadata"]["name"] = "widgets.example.com"
    return obj


def as_protobuf(obj: Any, gvk: GVK, rng: random.Random) -> bytes:
    """``obj`` as kubectl would send it, sometimes with bytes turned over or cut off."""
    try:
        raw = protobuf.encode(obj)
    except Exception:  # not an object that has a protobuf form
        raw = b"k8s\x00" + rng.randbytes(rng.randint(0, 60))
    damage = rng.random()
    if damage < 0.3 and raw:
        changed = bytearray(raw)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed)
    return raw[: rng.randrange(len(raw))] if damage < 0.4 and raw else raw


def as_yaml(obj: Any) -> bytes:
    """``obj`` as YAML, or as JSON where YAML cannot say it."""
    try:
        return yaml.safe_dump(obj).encode()
    except (yaml.YAMLError, RecursionError, UnicodeEncodeError):
        return dump(obj)
