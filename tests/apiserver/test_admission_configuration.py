"""The AdmissionConfiguration file, and what PodSecurity makes of its part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apiserver.dict_lookup import DictLookup
from coxswain.api import errors
from coxswain.api.names import DEPLOYMENTS, NAMESPACES, PODS, Object
from coxswain.apiserver.admission.configuration import load
from coxswain.apiserver.admission.pod_security import PodSecurity
from coxswain.apiserver.admission.pod_security.plugin import EXEMPT
from coxswain.apiserver.admission.request import Request
from coxswain.base.errors import ConfigurationError
from coxswain.client.interface import UserInfo

POD_SECURITY = """
apiVersion: pod-security.admission.config.k8s.io/v1
kind: PodSecurityConfiguration
defaults:
  enforce: baseline
  audit: restricted
  audit-version: v1.30
exemptions:
  usernames: [trusted]
  runtimeClasses: [kata]
  namespaces: [system]
"""
HEAD = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
PRIVILEGED: Object = {"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": True}}]}


@pytest.fixture
def plugin(tmp_path: Path) -> PodSecurity:
    (tmp_path / "pods.yaml").write_text(POD_SECURITY)
    (tmp_path / "admission.yaml").write_text(HEAD + "- name: PodSecurity\n  path: pods.yaml\n")
    lookup = DictLookup()
    for name in ("ns", "system"):
        lookup.put(NAMESPACES, name)
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    lookup.put(NAMESPACES, "open", metadata={"labels": labels})
    return PodSecurity(lookup, load(tmp_path / "admission.yaml").pod_security)


def send(
    plugin: PodSecurity, spec: Object, namespace: str = "ns", user: str = "jane", **more: Any
) -> Request:
    obj = {"metadata": {"name": "p"}, "spec": spec}
    request = Request(UserInfo(user), "CREATE", PODS, "", namespace, "p", obj, **more)
    plugin.validate(request)
    return request


def test_defaults_hold_where_labels_say_nothing(plugin: PodSecurity) -> None:
    with pytest.raises(errors.Forbidden, match='violates PodSecurity "baseline:latest": privileged'):
        send(plugin, PRIVILEGED)
    request = send(plugin, PRIVILEGED, "open")
    noted = request.annotations["pod-security.kubernetes.io/audit-violations"]
    assert noted.startswith('would violate PodSecurity "restricted:v1.30"')
    assert not request.warnings


@pytest.mark.parametrize(
    ("namespace", "user", "runtime", "why"),
    [
        ("system", "jane", None, "namespace"),
        ("ns", "trusted", None, "user"),
        ("ns", "jane", "kata", "runtimeClass"),
    ],
)
def test_exemptions(plugin: PodSecurity, namespace: str, user: str, runtime: str | None, why: str) -> None:
    spec = PRIVILEGED if runtime is None else {**PRIVILEGED, "runtimeClassName": runtime}
    assert send(plugin, spec, namespace, user).annotations == {EXEMPT: why}
    workload = {"metadata": {"name": "d"}, "spec": {"template": {"spec": spec}}}
    request = Request(UserInfo(user), "CREATE", DEPLOYMENTS, "", namespace, "d", workload)
    plugin.validate(request)
    assert request.annotations == {EXEMPT: why}


def test_who_labels_an_exempt_namespace_is_told(plugin: PodSecurity) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    obj = {"metadata": {"name": "system", "labels": labels}}
    request = Request(UserInfo("jane"), "CREATE", NAMESPACES, "", "", "system", obj)
    plugin.validate(request)
    assert request.warnings == [
        'namespace "system" is exempt from Pod Security, and the policy (enforce=restricted:latest) will be ignored'
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Pod\n", "expected a AdmissionConfiguration"),
        (HEAD + "- name: Priority\n  configuration: {a: b}\n", '"Priority" takes no configuration'),
        (HEAD + "- name: PodSecurity\n- name: PodSecurity\n", "each needs a name of its own"),
        (HEAD + "- name: PodSecurity\n  path: none.yaml\n", "No such file"),
        (HEAD + "- name: PodSecurity\n  configuration: {kind: Pod}\n", "must be a PodSecurityConfiguration"),
        (HEAD + "- {name: PodSecurity, configuration: [1]}\n", "must be an object"),
        ("a: [", "admission.yaml"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "admission.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        load(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("baseline", "lax"), "defaults.enforce: .*must be one of"),
        (("v1.30", "1.30"), "defaults.audit-version: .*must be"),
        (("audit-version", "audit-versions"), 'unknown field "audit-versions"'),
        (("[trusted]", "['']"), "username must not be empty"),
        (("[system]", "[System]"), "exemptions.namespaces"),
        (("[kata]", "[kata, kata]"), "there twice"),
    ],
)
def test_bad_pod_security(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    (tmp_path / "pods.yaml").write_text(POD_SECURITY.replace(*change))
    path = tmp_path / "admission.yaml"
    path.write_text(HEAD + "- name: PodSecurity\n  path: pods.yaml\n")
    with pytest.raises(ConfigurationError, match=words):
        load(path)
