"""Pod Security: levels, versions, words, warnings."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.dict_lookup import DictLookup
from coxswain.api import errors
from coxswain.api.names import DEPLOYMENTS, NAMESPACES, PODS, Object
from coxswain.apiserver.admission.pod_security import PodSecurity
from coxswain.apiserver.admission.pod_security.checks import evaluate
from coxswain.apiserver.admission.pod_security.levels import LATEST, LevelVersion, policy_of
from coxswain.apiserver.admission.request import Request
from coxswain.client.interface import UserInfo

PREFIX = "pod-security.kubernetes.io/"
GOOD = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def violations(level: str, spec: Object, version: int = LATEST, **metadata: Any) -> str:
    found = evaluate(LevelVersion(level, version), metadata, {"containers": [{"name": "c"}], **spec})
    return ", ".join(map(str, found))


def context(**fields: Any) -> Object:
    return {"containers": [{"name": "c", "securityContext": fields}]}


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, ""),
        ({"hostNetwork": True, "hostIPC": True}, "host namespaces (hostNetwork=true, hostIPC=true)"),
        ({"volumes": [{"name": "v", "hostPath": {}}]}, 'hostPath volumes (volume "v")'),
        (
            {"containers": [{"name": n, "ports": [{"hostPort": p}]} for n, p in (("a", 2), ("b", 10))]},
            'hostPort (containers "a", "b" use hostPorts 10, 2)',
        ),
        (context(privileged=True), 'privileged (container "c" must not set securityContext.privileged=true)'),
        (
            context(capabilities={"add": ["NET_RAW", "CHOWN"]}),
            'non-default capabilities (container "c" must not include "NET_RAW" in securityContext.capabilities.add)',
        ),
        (
            context(procMount="Unmasked"),
            'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
        ),
        ({**context(procMount="Unmasked"), "hostUsers": False}, ""),
        (
            {"securityContext": {"seLinuxOptions": {"type": "x", "user": "u", "role": "r"}}},
            (
                'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "x"; '
                "user may not be set; role may not be set)"
            ),
        ),
        (
            {"securityContext": {"sysctls": [{"name": "a"}, {"name": "net.ipv4.tcp_rmem"}]}},
            "forbidden sysctls (a)",
        ),
        (
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            {"securityContext": {"windowsOptions": {"hostProcess": True}}},
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            {"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "8.8.8.8"}}}]},
            'probe or lifecycle host (container "c" uses probe or lifecycle host "8.8.8.8")',
        ),
        (
            context(appArmorProfile={"type": "Unconfined"}),
            'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")',
        ),
    ],
)
def test_baseline(spec: Object, text: str) -> None:
    assert violations("baseline", spec) == text
    assert violations("privileged", spec) == ""


def test_restricted_names_all_that_is_missing() -> None:
    assert violations("restricted", {}) == (
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to '
        '"RuntimeDefault" or "Localhost")'
    )
    assert violations("restricted", context(**GOOD)) == ""
    assert violations("restricted", {**context(), "os": {"name": "windows"}}).startswith("runAsNonRoot")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (
            {
                "volumes": [
                    {"name": "v", "nfs": {}},
                    {"name": "w", "hostPath": {}},
                    {"name": "e", "emptyDir": {}},
                ]
            },
            'restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")',
        ),
        ({"securityContext": {"runAsUser": 0}}, "runAsUser=0 (pod must not set runAsUser=0)"),
        (
            {"securityContext": {"runAsNonRoot": False}},
            "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
        ),
        (
            context(**{**GOOD, "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "NET_BIND_SERVICE"]}}),
            'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)',
        ),
    ],
)
def test_restricted(spec: Object, text: str) -> None:
    assert violations("restricted", {**context(**GOOD), **spec}) == text


def test_versions_change_the_rules() -> None:
    probe = {"containers": [{"name": "c", "livenessProbe": {"tcpSocket": {"host": "h"}}}]}
    assert violations("baseline", probe, 33) == ""
    assert violations("baseline", probe, 34) != ""
    engine = {"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}}
    assert violations("baseline", engine, 30) != ""
    assert violations("baseline", engine, 31) == ""
    root = {**context(**{**GOOD, "runAsUser": 0}), "hostUsers": False}
    assert violations("restricted", root, 34) != ""
    assert violations("restricted", root, 35) == ""
    annotation = {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}
    assert violations("baseline", {}, 18, annotations=annotation) == (
        'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    )
    assert violations("baseline", {}, 19, annotations=annotation) == ""


def test_labels() -> None:
    policy, problems = policy_of({PREFIX + "enforce": "baseline", PREFIX + "enforce-version": "v1.30"})
    assert not problems
    assert str(policy.enforce) == str(policy.warn) == "baseline:v1.30"
    assert str(policy.audit) == "privileged:latest"
    policy, problems = policy_of(
        {PREFIX + "enforce": "x", PREFIX + "warn": "y", PREFIX + "audit-version": "1"}
    )
    assert str(policy.enforce) == "restricted:latest"  # a mistake never opens a door
    assert policy.warn.level == "privileged"
    assert [problem.detail for problem in problems] == [
        "must be one of privileged, baseline, restricted",
        'must be "latest" or "v1.x"',
        "must be one of privileged, baseline, restricted",
    ]


class TestPlugin:
    """Refusals, warnings, namespaces."""

    @pytest.fixture
    def lookup(self) -> DictLookup:
        found = DictLookup()
        labels = {
            PREFIX + "enforce": "baseline",
            PREFIX + "warn": "restricted",
            PREFIX + "audit": "restricted",
        }
        found.put(NAMESPACES, "ns", metadata={"labels": labels})
        return found

    def send(
        self, lookup: DictLookup, gvr: Any, obj: Object, operation: Any = "CREATE", **more: Any
    ) -> Request:
        plugin = PodSecurity(lookup)
        name = obj["metadata"].get("name", "")
        request = Request(UserInfo("x"), operation, gvr, "", "ns", name, obj, **more)
        assert plugin.handles(operation, gvr, "")
        plugin.validate(request)
        return request

    def test_pod(self, lookup: DictLookup) -> None:
        pod = {"metadata": {"name": "p"}, "spec": {"hostPID": True, "containers": []}}
        with pytest.raises(errors.Forbidden) as refused:
            self.send(lookup, PODS, pod)
        assert refused.value.message == (
            'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)'
        )
        request = self.send(
            lookup, PODS, {"metadata": {"name": "p"}, "spec": context(**{**GOOD, "runAsUser": 0})}
        )
        assert request.warnings == [
            'would violate PodSecurity "restricted:latest": runAsUser=0 (container "c" must not set runAsUser=0)'
        ]
        assert "pod-security.kubernetes.io/audit-violations" in request.annotations

    def test_update_counts_when_an_image_changes(self, lookup: DictLookup) -> None:
        def pod(image: str) -> Object:
            spec = {"hostPID": True, "containers": [{"name": "c", "image": image}]}
            return {"metadata": {"name": "p"}, "spec": spec}

        self.send(lookup, PODS, pod("a"), "UPDATE", old_object=pod("a"))
        with pytest.raises(errors.Forbidden):
            self.send(lookup, PODS, pod("b"), "UPDATE", old_object=pod("a"))

    def test_workloads_are_warned_not_refused(self, lookup: DictLookup) -> None:
        template = {"spec": {**context(**GOOD), "hostPID": True}}
        request = self.send(lookup, DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": {"template": template}})
        assert request.warnings == [
            'would violate PodSecurity "restricted:latest": host namespaces (hostPID=true)'
        ]

    def test_namespace_labels(self, lookup: DictLookup) -> None:
        def namespace(level: str) -> Object:
            return {"metadata": {"name": "ns", "labels": {PREFIX + "enforce": level}}}

        with pytest.raises(errors.Invalid, match=r"metadata.labels\[pod-security.kubernetes.io/enforce\]"):
            self.send(lookup, NAMESPACES, namespace("bogus"))
        self.send(lookup, NAMESPACES, namespace("bogus"), "UPDATE", old_object=namespace("bogus"))
        for name in ("a", "b", "d"):
            owner = {"ownerReferences": [{"controller": True, "uid": "rs"}]}
            lookup.put(PODS, name, "ns", metadata=owner, spec={"hostPID": True, "containers": []})
        lookup.put(PODS, "c", "ns", spec={"hostNetwork": True, "containers": [{"name": "x"}]})
        request = self.send(
            lookup, NAMESPACES, namespace("baseline"), "UPDATE", old_object=namespace("privileged")
        )
        assert request.warnings == [
            'existing pods in namespace "ns" violate the new PodSecurity enforce level "baseline:latest"',
            "a (and 3 other pods): host namespaces",
        ]
        request = self.send(
            lookup, NAMESPACES, namespace("baseline"), "UPDATE", old_object=namespace("restricted")
        )
        assert request.warnings == []
