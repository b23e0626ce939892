"""Admission policies: their status says what their expressions get wrong, once a generation."""

from __future__ import annotations

from typing import Any

import pytest

from controllerbench import running
from coxswain.api.errors import Conflict
from coxswain.api.names import CUSTOM_RESOURCE_DEFINITIONS, Object
from coxswain.base import clock
from coxswain.controllers.policystatus.controller import DESCRIPTOR, POLICIES
from coxswain.controllers.policystatus.decide import matched_kinds, warnings
from fakeapi import FakeApi


def policy(*expressions: str, rules: list[Object] | None = None, **spec: Any) -> Object:
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
    return {
        "metadata": {"name": "p"},
        "spec": {
            "matchConstraints": {"resourceRules": rules or [rule]},
            "validations": [{"expression": expression} for expression in expressions],
            **spec,
        },
    }


DEFINITION: Object = {
    "metadata": {"name": "boats.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"plural": "boats", "kind": "Boat"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"oars": {"type": "integer"}}}
                        },
                    }
                },
            }
        ],
    },
}


@pytest.mark.parametrize(
    "expression",
    [
        "object.spec.replicas > 1",
        "object.metadata.labels['a'] == 'b'",
        "object.spec.template.spec.containers.all(c, has(c.image))",
        "oldObject == null || oldObject.spec.replicas == object.spec.replicas",
        "request.operation == 'CREATE' && authorizer.group('').resource('pods').check('get').allowed()",
        "namespaceObject.metadata.name == 'd'",
        "object.spec.strategy.rollingUpdate.maxSurge == '25%'",
    ],
)
def test_sound_expressions_need_no_word(expression: str) -> None:
    assert warnings(policy(expression), []) == []


def test_what_does_not_fit_is_said_by_kind_and_place() -> None:
    [warning] = warnings(policy("true", "object.spec.maxReplicas > 1"), [])
    assert warning["fieldRef"] == "spec.validations[1].expression"
    assert warning["warning"].startswith(
        "apps/v1, Kind=Deployment: compilation failed: ERROR: <input>:1:12: undefined field 'maxReplicas'"
    )
    wrong = policy(
        "variables.count > 'x'", variables=[{"name": "count", "expression": "object.spec.replicas"}]
    )
    assert (
        "found no matching overload for '_>_' applied to '(int, string)'" in warnings(wrong, [])[0]["warning"]
    )


def test_custom_resources_and_parameters_are_known() -> None:
    rule = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["boats", "boats/status"]}
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    good = policy("object.spec.oars > int(params.data['least'])", rules=[rule], paramKind=kind)
    assert warnings(good, [DEFINITION]) == []
    bad = policy("object.spec.sails > 1", "params.spec == 1", rules=[rule], paramKind=kind)
    places = [one["fieldRef"] for one in warnings(bad, [DEFINITION])]
    assert places == ["spec.validations[0].expression", "spec.validations[1].expression"]
    assert warnings(bad, []) == []  # nobody knows what a boat is


def test_only_plain_names_say_what_an_object_is() -> None:
    def matched(**rule: list[str]) -> list[str]:
        plain = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods", "services"]}
        found = matched_kinds(policy(rules=[{**plain, **rule}])["spec"], [])
        return [gvk.kind for gvk in found]

    assert matched() == ["Pod", "Service"]
    assert matched(resources=["pods/status", "*"]) == []
    assert matched(apiGroups=["*"]) == []


@pytest.mark.virtual
async def test_a_policy_is_checked_once_a_generation() -> None:
    api = FakeApi()
    api.add(CUSTOM_RESOURCE_DEFINITIONS, DEFINITION)
    api.add(POLICIES, policy("object.spec.maxReplicas > 1"))
    api.fail("update", POLICIES, Conflict)
    api.lose_answer("update", POLICIES)
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
        status = api.object(POLICIES, "p")["status"]
        assert status["observedGeneration"] == 1
        assert len(status["typeChecking"]["expressionWarnings"]) == 1
        writes = len(api.writes())
        await clock.sleep(500)
        assert len(api.writes()) == writes
        fixed = {**api.object(POLICIES, "p"), "spec": policy("object.spec.replicas > 1")["spec"]}
        await api.client().update(POLICIES, fixed)
        await clock.sleep(5)
        assert api.object(POLICIES, "p")["status"] == {"observedGeneration": 2, "typeChecking": {}}
