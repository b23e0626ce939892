"""What the rules of the other kinds refuse, one telling case each, and rules of metadata."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain.api import defaults, strategy, validation
from coxswain.api.names import GVK, Object
from coxswain.api.validation import formats
from coxswain.api.validation.batch import cron_problem

TEMPLATE: Object = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}


def make(api_version: str, kind: str, name: str = "x", namespace: str = "n", **fields: Any) -> Object:
    metadata = {"name": name, "namespace": namespace, "uid": "u", "resourceVersion": "1"}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **copy.deepcopy(fields)}


def complaints(obj: Object) -> list[str]:
    gvk = GVK.of(obj)
    defaults.default(obj, gvk)
    strategy.prepare_for_create(obj, gvk)
    return [str(error) for error in validation.validate_create(obj, gvk)]


def deployment(**spec: Any) -> Object:
    selector = {"matchLabels": {"a": "b"}}
    return make("apps/v1", "Deployment", spec={"selector": selector, "template": TEMPLATE, **spec})


def service(**spec: Any) -> Object:
    return make("v1", "Service", spec={"ports": [{"port": 80}], **spec})


RBAC = "rbac.authorization.k8s.io/v1"
GOOD = [
    deployment(),
    service(),
    make("v1", "ConfigMap", data={"k": "v"}),
    make("v1", "Secret", stringData={"k": "v"}),
    make("v1", "Namespace"),
    make("v1", "Node"),
    make(RBAC, "ClusterRole", name="system:x", rules=[{"verbs": ["get"], "nonResourceURLs": ["/"]}]),
    make("batch/v1", "Job", spec={"template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}),
    make("example.com/v1", "Widget", name="Any_Thing"),
]


@pytest.mark.parametrize("obj", GOOD, ids=lambda obj: str(obj["kind"]))
def test_good_objects_pass(obj: Object) -> None:
    assert complaints(obj) == []


WRONG: list[tuple[Object, list[str]]] = [
    (deployment(replicas=-1), ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
    (
        deployment(selector={"matchLabels": {"a": "c"}}),
        [
            (
                'spec.template.metadata.labels: Invalid value: {"a":"b"}: '
                "`selector` does not match template `labels`"
            )
        ],
    ),
    (
        deployment(strategy={"type": "Recreate", "rollingUpdate": {}}),
        ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
    ),
    (service(ports=[]), ["spec.ports: Required value"]),
    (
        service(ports=[{"port": 80, "protocol": "XYZ"}]),
        ['spec.ports[0].protocol: Unsupported value: "XYZ": supported values: "SCTP", "TCP", "UDP"'],
    ),
    (service(type="ExternalName"), ["spec.externalName: Required value"]),
    (
        make("v1", "Secret", type="kubernetes.io/tls"),
        ["data[tls.crt]: Required value", "data[tls.key]: Required value"],
    ),
    (
        make("v1", "Secret", type="kubernetes.io/dockerconfigjson", stringData={".dockerconfigjson": "bad"}),
        [
            (
                'data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": '
                "invalid character 'b' looking for beginning of value"
            )
        ],
    ),
    (
        make(RBAC, "Role", rules=[{"resources": ["pods"]}]),
        [
            "rules[0].verbs: Required value: verbs must contain at least one value",
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
        ],
    ),
    (
        make(
            "batch/v1",
            "CronJob",
            spec={
                "schedule": "nope",
                "jobTemplate": {
                    "spec": {"template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}
                },
            },
        ),
        ['spec.schedule: Invalid value: "nope": expected exactly 5 fields, found 1: [nope]'],
    ),
    (
        make("policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1, "maxUnavailable": 1}),
        [
            (
                'spec: Invalid value: {"MinAvailable":1,"Selector":null,"MaxUnavailable":1,'
                '"UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set'
            )
        ],
    ),
    (
        make(
            "v1",
            "LimitRange",
            spec={"limits": [{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "2"}}]},
        ),
        [
            (
                'spec.limits[0].defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than '
                "max value 1"
            ),
            'spec.limits[0].default[cpu]: Invalid value: "1": default value 2 is greater than max value 1',
        ],
    ),
    (
        make("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv9"),
        ['addressType: Unsupported value: "IPv9": supported values: "FQDN", "IPv4", "IPv6"'],
    ),
    (
        make("scheduling.k8s.io/v1", "PriorityClass", name="system-x", value=1),
        [
            (
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use "
                "only. error: system-x is not a known system priority class"
            )
        ],
    ),
]


@pytest.mark.parametrize(("obj", "messages"), WRONG)
def test_wrong_objects_are_refused_in_kubernetes_words(obj: Object, messages: list[str]) -> None:
    assert complaints(copy.deepcopy(obj)) == messages


@pytest.mark.parametrize(
    ("metadata", "fields"),
    [
        ({}, ["metadata.name"]),
        ({"name": "Bad_Name"}, ["metadata.name"]),
        ({"name": "a", "labels": {"k": "x" * 64}}, ["metadata.labels"]),
        ({"name": "a", "labels": {"a/b/c": "x"}}, ["metadata.labels"]),
        ({"name": "a", "annotations": {"k": "x" * 300_000}}, ["metadata.annotations"]),
        ({"name": "a", "finalizers": ["mine"]}, ["metadata.finalizers[0]"]),
        ({"name": "a", "finalizers": ["example.com/mine"]}, []),
        (
            {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]},
            ["metadata.ownerReferences.uid"],
        ),
        ({"name": "a-", "generateName": "a-"}, ["metadata.name"]),
    ],
)
def test_metadata_is_checked(metadata: Object, fields: list[str]) -> None:
    obj = make("v1", "ConfigMap")
    obj["metadata"] = {"namespace": "n", **metadata}
    assert [error.field for error in validation.validate_create(obj, GVK("", "v1", "ConfigMap"))] == fields


def update(old: Object, **changes: Any) -> list[str]:
    gvk = GVK.of(old)
    new = {**copy.deepcopy(old), **changes}
    defaults.default(new, gvk)
    strategy.prepare_for_update(new, old, gvk)
    return [str(error) for error in validation.validate_update(new, old, gvk)]


def test_selectors_of_deployments_stay() -> None:
    old = deployment()
    assert complaints(old) == []
    template = {**copy.deepcopy(TEMPLATE), "metadata": {"labels": {"a": "z"}}}
    spec = {**old["spec"], "selector": {"matchLabels": {"a": "z"}}, "template": template}
    assert update(old, spec=spec) == [
        'spec.selector: Invalid value: {"matchLabels":{"a":"z"}}: field is immutable'
    ]


def test_immutable_config_stays() -> None:
    old = make("v1", "ConfigMap", data={"a": "b"}, immutable=True)
    assert update(old, data={"a": "c"}) == ["data: Forbidden: field is immutable when `immutable` is set"]
    assert update(old, immutable=False) == [
        "immutable: Forbidden: field is immutable when `immutable` is set"
    ]


def test_finalizers_are_not_added_while_deleting() -> None:
    old = make("v1", "ConfigMap")
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    metadata = {**old["metadata"], "finalizers": ["d.e/f"]}
    assert update(old, metadata=metadata) == [
        (
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
            'found new finalizers []string{"d.e/f"}'
        )
    ]


def test_cluster_addresses_stay() -> None:
    old = service()
    assert complaints(old) == []
    old["spec"].update(clusterIP="10.0.0.1", clusterIPs=["10.0.0.1"])
    changed = {**old["spec"], "clusterIP": "10.0.0.2"}
    assert update(old, spec=changed) == [
        'spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set'
    ]
    forgotten = {key: value for key, value in old["spec"].items() if not key.startswith("clusterIP")}
    assert update(old, spec=forgotten) == []


@pytest.mark.parametrize(
    ("schedule", "fine"),
    [
        ("*/5 * * * *", True),
        ("0 0 1 jan sun-fri", True),
        ("@hourly", True),
        ("@every 1h30m", True),
        ("60 * * * *", False),
        ("* * * *", False),
        ("5-1 * * * *", False),
        ("@sometimes", False),
    ],
)
def test_cron_schedules(schedule: str, fine: bool) -> None:
    assert (cron_problem(schedule) == "") is fine


@given(st.text(max_size=80))
def test_checks_of_text_never_raise(text: str) -> None:
    for check in (
        formats.dns_label,
        formats.dns_subdomain,
        formats.qualified_name,
        formats.label_value,
        formats.config_key,
        formats.port_name,
        formats.env_name,
    ):
        assert isinstance(check(text), tuple)
    formats.parse_ip(text)
    formats.parse_cidr(text)
    cron_problem(text)


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True))
def test_labels_are_subdomains_and_label_values(text: str) -> None:
    assert formats.dns_label(text) == formats.dns_subdomain(text) == formats.label_value(text) == ()
