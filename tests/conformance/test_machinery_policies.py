"""Admission policies do what conformance asks of them."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.api_operations import check_api_operations, check_status_operations
from conformance.api_server import api_server
from conformance.whole_cluster import WORK, Whole
from conformance.workload_objects import workload
from coxswain.api import meta
from coxswain.api.errors import Invalid
from coxswain.api.names import DEPLOYMENTS, GVR, NAMESPACES, REPLICA_SETS, Object

GROUP = "admissionregistration.k8s.io"
VALIDATING = GVR(GROUP, "v1", "validatingadmissionpolicies")
VALIDATING_BINDINGS = GVR(GROUP, "v1", "validatingadmissionpolicybindings")
MUTATING = GVR(GROUP, "v1", "mutatingadmissionpolicies")
MUTATING_BINDINGS = GVR(GROUP, "v1", "mutatingadmissionpolicybindings")
VAP = "[sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should "
MAP = "[sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should "

DEPLOYMENT_RULES = {
    "resourceRules": [
        {
            "apiGroups": ["apps"],
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["deployments"],
        }
    ],
    "namespaceSelector": {"matchLabels": {"chosen": "true"}},
}


def policy(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"matchConstraints": DEPLOYMENT_RULES, **spec}}


def validating(name: str = "policy") -> Object:
    validation = {
        "expression": "object.spec.replicas > 1",
        "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)",
    }
    return policy(name, validations=[validation])


def mutating(name: str = "policy", expression: str = "Object{}") -> Object:
    change = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}
    return policy(name, mutations=[change], reinvocationPolicy="Never")


def binding(name: str = "binding", **spec: Any) -> Object:
    matching = {"namespaceSelector": DEPLOYMENT_RULES["namespaceSelector"]}
    return {"metadata": {"name": name}, "spec": {"policyName": "policy", "matchResources": matching, **spec}}


def denying(name: str = "binding") -> Object:
    return binding(name, validationActions=["Deny"])


async def choose(it: Whole) -> None:
    """Label the namespace that policies are about."""
    await it.patch(NAMESPACES, WORK, {"metadata": {"labels": {"chosen": "true"}}})


@pytest.mark.virtual
@pytest.mark.conformance(f"{VAP}validate against a Deployment [Conformance]")
async def test_a_bound_policy_refuses_what_its_expression_does_not_hold_for() -> None:
    async with api_server() as it:
        await choose(it)
        await it.create(VALIDATING, validating())
        await it.create(DEPLOYMENTS, workload("Deployment", "before", 1))
        await it.create(VALIDATING_BINDINGS, denying())
        with pytest.raises(Invalid, match="wants replicas > 1, got 1"):
            await it.create(DEPLOYMENTS, workload("Deployment", "marker", 1))
        await it.create(DEPLOYMENTS, workload("Deployment", "replicated", 2))
        await it.create(REPLICA_SETS, workload("ReplicaSet", "not-replicated", 1))
        await it.create(DEPLOYMENTS, workload("Deployment", "elsewhere", 1), "default")


@pytest.mark.virtual
@pytest.mark.conformance(f"{VAP}allow expressions to refer variables. [Conformance]")
async def test_expressions_use_variables() -> None:
    spec = {
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
        ],
        "validations": [
            {"expression": "variables.replicas > 1"},
            {"expression": "variables.oddReplicas"},
        ],
    }
    async with api_server() as it:
        await choose(it)
        await it.create(VALIDATING, policy("policy", **spec))
        await it.create(VALIDATING_BINDINGS, denying())
        for name, replicas, words in (
            ("one", 1, "variables.replicas > 1"),
            ("even", 4, "variables.oddReplicas"),
        ):
            with pytest.raises(Invalid) as refused:
                await it.create(DEPLOYMENTS, workload("Deployment", name, replicas))
            assert f"failed expression: {words}" in str(refused.value)
        await it.create(DEPLOYMENTS, workload("Deployment", "odd", 3))


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{MAP}mutate a Deployment [Conformance]", f"{MAP}mutate a Deployment with annotations [Conformance]"
)
async def test_a_bound_policy_changes_what_is_created() -> None:
    expression = "Object{metadata: Object.metadata{annotations: {'mutated-by': 'admission-policy'}}}"
    async with api_server() as it:
        await choose(it)
        await it.create(MUTATING, mutating(expression=expression))
        await it.create(MUTATING_BINDINGS, binding())
        plain = await it.create(DEPLOYMENTS, workload("Deployment", "plain", 2))
        assert meta.annotations(plain) == {"mutated-by": "admission-policy"}
        annotated = workload("Deployment", "annotated", 2)
        annotated["metadata"]["annotations"] = {"my-annotation": "my-val"}
        made = await it.create(DEPLOYMENTS, annotated)
        assert meta.annotations(made) == {"mutated-by": "admission-policy", "my-annotation": "my-val"}
        elsewhere = await it.create(DEPLOYMENTS, workload("Deployment", "elsewhere", 2), "default")
        assert not meta.annotations(elsewhere)


@pytest.mark.virtual
@pytest.mark.conformance(f"{VAP}support ValidatingAdmissionPolicy API operations [Conformance]")
async def test_validating_policies_are_handled_by_their_endpoints() -> None:
    condition = {
        "type": "Update",
        "status": "True",
        "reason": "E2E",
        "message": "Set from a test",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    async with api_server() as it:
        await check_api_operations(it, VALIDATING, validating, "ValidatingAdmissionPolicy")
        await it.create(VALIDATING, validating("one"))
        patched, updated = await check_status_operations(
            it,
            VALIDATING,
            "one",
            {"status": {"conditions": [{**condition, "type": "Patch"}]}},
            lambda obj: obj["status"]["conditions"].append(condition),
        )
        assert [each["type"] for each in patched["status"]["conditions"]] == ["Patch"]
        assert [each["type"] for each in updated["status"]["conditions"]] == ["Patch", "Update"]


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("resource", "make", "kind"),
    [
        (VALIDATING_BINDINGS, denying, "ValidatingAdmissionPolicyBinding"),
        (MUTATING, mutating, "MutatingAdmissionPolicy"),
        (MUTATING_BINDINGS, binding, "MutatingAdmissionPolicyBinding"),
    ],
    ids=["validating bindings", "mutating", "mutating bindings"],
)
@pytest.mark.conformance(
    f"{VAP}support ValidatingAdmissionPolicyBinding API operations [Conformance]",
    f"{MAP}support MutatingAdmissionPolicy API operations [Conformance]",
    f"{MAP}support MutatingAdmissionPolicyBinding API operations [Conformance]",
)
async def test_policies_and_bindings_are_handled_by_their_endpoints(
    resource: GVR, make: Any, kind: str
) -> None:
    async with api_server() as it:
        await check_api_operations(it, resource, make, kind)
