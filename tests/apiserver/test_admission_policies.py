"""Admission policies in CEL: what they refuse, warn about, note and change."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from apiserver.core_support import ADMIN, CONFIGMAPS, Cluster, cluster, configmap, deployment, pod
from coxswain.api.errors import ApiError
from coxswain.api.names import CUSTOM_RESOURCE_DEFINITIONS as DEFINITIONS
from coxswain.api.names import DEPLOYMENTS, GVR, NAMESPACES, PODS, Object
from coxswain.apiserver.customresources.controller import Controller
from coxswain.base import clock, metrics
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.interface import UserInfo

GROUP = "admissionregistration.k8s.io"
POLICIES = GVR(GROUP, "v1", "validatingadmissionpolicies")
BINDINGS = GVR(GROUP, "v1", "validatingadmissionpolicybindings")
MUTATING = GVR(GROUP, "v1", "mutatingadmissionpolicies")
MUTATING_BINDINGS = GVR(GROUP, "v1", "mutatingadmissionpolicybindings")
ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")

ALL_CONFIGMAPS = {
    "resourceRules": [
        {
            "apiGroups": [""],
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE", "DELETE"],
            "resources": ["configmaps"],
        }
    ]
}


def in_cluster(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Gives the test a running cluster."""

    async def run(**arguments: Any) -> None:
        async with cluster() as running:
            await test(running, **arguments)

    signature = inspect.signature(test)
    left = [one for name, one in signature.parameters.items() if name != "running"]
    run.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def rules(group: str, resource: str, *operations: str, **more: Any) -> Object:
    return {
        "apiGroups": [group],
        "apiVersions": ["*"],
        "operations": list(operations) or ["*"],
        "resources": [resource],
        **more,
    }


async def policy(running: Cluster, name: str = "p", **spec: Any) -> None:
    body = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {"matchConstraints": ALL_CONFIGMAPS, **spec},
    }
    await running.do("create", POLICIES, body=body, namespace="")


async def bind(
    running: Cluster, name: str = "b", to: str = "p", actions: Any = ("Deny",), **spec: Any
) -> None:
    body = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": to, "validationActions": list(actions), **spec},
    }
    await running.do("create", BINDINGS, body=body, namespace="")


async def refused(running: Cluster, *arguments: Any, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await running.do(*arguments, **options)
    return caught.value


@in_cluster
async def test_a_bound_policy_denies_in_kubernetes_words(running: Cluster) -> None:
    await policy(running, validations=[{"expression": "object.data.a == '1'"}])
    await running.do("create", CONFIGMAPS, body=configmap("free", a="2"))  # nobody bound it yet
    await bind(running)
    error = await refused(running, "create", CONFIGMAPS, body=configmap("c", a="2"))
    message = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object.data.a == '1'"
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message == f'configmaps "c" is forbidden: {message}'
    assert error.details == {"name": "c", "kind": "configmaps", "causes": [{"message": message}]}
    await running.do("create", CONFIGMAPS, body=configmap("c", a="1"))
    await running.do("delete", BINDINGS, "b", namespace="")
    await running.do("create", CONFIGMAPS, body=configmap("d", a="2"))


@pytest.mark.parametrize(
    ("validation", "words", "code", "reason"),
    [
        ({"expression": "false", "message": "no"}, "no", 422, "Invalid"),
        ({"expression": "false", "message": "no", "reason": "Forbidden"}, "no", 403, "Forbidden"),
        (
            {"expression": "false", "messageExpression": "'no ' + object.metadata.name"},
            "no c",
            422,
            "Invalid",
        ),
        (
            {"expression": "false", "message": "no", "messageExpression": "string(object.nope)"},
            "no",
            422,
            "Invalid",
        ),
        (
            {"expression": "object.nope == 1"},
            "expression 'object.nope == 1' resulted in error: no such key: nope",
            422,
            "Invalid",
        ),
    ],
)
@in_cluster
async def test_what_a_denial_says(
    running: Cluster, validation: Object, words: str, code: int, reason: str
) -> None:
    await policy(running, validations=[validation])
    await bind(running)
    error = await refused(running, "create", CONFIGMAPS, body=configmap("c"))
    assert error.message.endswith(f"denied request: {words}")
    assert (error.code, error.reason) == (code, reason)


@in_cluster
async def test_failure_policy_ignore_lets_errors_pass_but_not_denials(running: Cluster) -> None:
    await policy(running, validations=[{"expression": "object.nope == 1"}], failurePolicy="Ignore")
    await bind(running)
    await running.do("create", CONFIGMAPS, body=configmap("c"))
    await policy(running, "q", validations=[{"expression": "false"}], failurePolicy="Ignore")
    await bind(running, "b2", "q")
    await refused(running, "create", CONFIGMAPS, body=configmap("d"))


@in_cluster
async def test_warn_and_audit_let_pass(running: Cluster) -> None:
    await policy(running, validations=[{"expression": "false", "message": "no"}])
    await bind(running, actions=("Warn", "Audit"))
    call = await running.call("create", CONFIGMAPS, body=configmap("c"))
    assert call.code == 201


@in_cluster
async def test_what_does_not_hold_is_counted(running: Cluster) -> None:
    await policy(running, "counted", validations=[{"expression": "false"}])
    await bind(running, "b1", "counted", actions=("Warn", "Audit"))
    await policy(running, "lenient", validations=[{"expression": "object.nope == 1"}], failurePolicy="Ignore")
    await bind(running, "b2", "lenient")
    await running.do("create", CONFIGMAPS, body=configmap("c"))

    def counted(name: str, binding: str, error: str, action: str, part: str = "_total") -> float | None:
        labels = {
            "policy": name,
            "policy_binding": binding,
            "error_type": error,
            "enforcement_action": action,
        }
        base = "apiserver_validating_admission_policy_check"
        return metrics.REGISTRY.get_sample_value(base + part, labels)

    assert counted("counted", "b1", "no_error", "warn") == counted("counted", "b1", "no_error", "audit") == 1
    assert counted("counted", "b1", "no_error", "deny") is None
    assert counted("lenient", "b2", "invalid_error", "allow") == 1
    assert counted("lenient", "b2", "invalid_error", "allow", "_duration_seconds_count") == 1


@in_cluster
async def test_conditions_variables_and_the_request(running: Cluster) -> None:
    await policy(
        running,
        matchConditions=[{"name": "not-kube", "expression": "!object.metadata.name.startsWith('kube-')"}],
        variables=[
            {"name": "keys", "expression": "object.data.map(k, k)"},
            {"name": "count", "expression": "size(variables.keys)"},
        ],
        validations=[
            {
                "expression": "variables.count < 2",
                "messageExpression": "'%d keys by %s in %s'.format([variables.count, request.userInfo.username, "
                "namespaceObject.metadata.name])",
            }
        ],
    )
    await bind(running)
    await running.do("create", CONFIGMAPS, body=configmap("kube-x", a="", b=""))
    await running.do("create", CONFIGMAPS, body=configmap("one", a=""))
    error = await refused(running, "create", CONFIGMAPS, body=configmap("two", a="", b=""))
    assert error.message.endswith("denied request: 2 keys by admin in default")


@in_cluster
async def test_updates_and_deletions_see_the_old_object(running: Cluster) -> None:
    await policy(
        running,
        validations=[
            {"expression": "request.operation != 'UPDATE' || object.data.a >= oldObject.data.a"},
            {"expression": "request.operation != 'DELETE' || (object == null && !has(oldObject.data.keep))"},
        ],
    )
    await bind(running)
    await running.do("create", CONFIGMAPS, body=configmap("c", a="5", keep="1"))
    await refused(running, "update", CONFIGMAPS, "c", body=configmap("c", a="4"))
    await refused(running, "delete", CONFIGMAPS, "c")
    await running.do("update", CONFIGMAPS, "c", body=configmap("c", a="6"))
    await running.do("delete", CONFIGMAPS, "c")


@in_cluster
async def test_selectors_exclusions_and_names_narrow(running: Cluster) -> None:
    constraints = {
        **ALL_CONFIGMAPS,
        "objectSelector": {"matchLabels": {"strict": "yes"}},
        "excludeResourceRules": [rules("", "configmaps", "*", resourceNames=["exempt"])],
    }
    await policy(running, matchConstraints=constraints, validations=[{"expression": "false"}])
    await bind(
        running,
        matchResources={"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}},
    )
    await running.do("create", NAMESPACES, body={"metadata": {"name": "other"}})

    def labelled(name: str) -> Object:
        return {"metadata": {"name": name, "labels": {"strict": "yes"}}}

    await running.do("create", CONFIGMAPS, body=configmap("plain"))
    await running.do("create", CONFIGMAPS, body=labelled("exempt"))
    await running.do("create", CONFIGMAPS, body=labelled("c"), namespace="other")
    await refused(running, "create", CONFIGMAPS, body=labelled("c"))


@in_cluster
async def test_equivalent_versions_are_converted_for_the_policy(running: Cluster) -> None:
    v1 = GVR("autoscaling", "v1", "horizontalpodautoscalers")
    constraints = {"resourceRules": [{**rules("autoscaling", v1.resource), "apiVersions": ["v2"]}]}
    await policy(
        running,
        matchConstraints=constraints,
        validations=[
            {"expression": "object.apiVersion == 'autoscaling/v2' && size(object.spec.metrics) == 0"}
        ],
    )
    await bind(running)
    body = {
        "metadata": {"name": "h"},
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            "targetCPUUtilizationPercentage": 50,
        },
    }
    error = await refused(running, "create", v1, body=body)
    assert "failed expression" in error.message


@in_cluster
async def test_parameters_by_name_and_by_labels(running: Cluster) -> None:
    await policy(
        running,
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        matchConstraints={"resourceRules": [rules("apps", "deployments", "CREATE")]},
        validations=[
            {
                "expression": "object.spec.replicas <= int(params.data.most)",
                "messageExpression": "'at most ' + params.data.most",
            }
        ],
    )
    await bind(running, paramRef={"name": "limits", "parameterNotFoundAction": "Deny"})
    error = await refused(running, "create", DEPLOYMENTS, body=deployment("d", 3))
    assert error.message.endswith(
        "denied request: failed to configure binding: no params found for policy binding with `Deny` "
        "parameterNotFoundAction"
    )
    await running.do("create", CONFIGMAPS, body=configmap("limits", most="2"))
    error = await refused(running, "create", DEPLOYMENTS, body=deployment("d", 3))
    assert error.message.endswith("denied request: at most 2")
    await running.do("create", DEPLOYMENTS, body=deployment("d", 2))
    by_labels = {"selector": {"matchLabels": {"limit": "yes"}}, "parameterNotFoundAction": "Allow"}
    await bind(running, "b2", paramRef=by_labels)
    await running.do("create", DEPLOYMENTS, body=deployment("e", 2))
    one = configmap("lower", most="1")
    one["metadata"]["labels"] = {"limit": "yes"}
    await running.do("create", CONFIGMAPS, body=one)
    error = await refused(running, "create", DEPLOYMENTS, body=deployment("f", 2))
    assert "with binding 'b2' denied request: at most 1" in error.message


@in_cluster
async def test_a_kind_of_parameters_that_nobody_serves(running: Cluster) -> None:
    await policy(
        running,
        paramKind={"apiVersion": "example.com/v1", "kind": "Limit"},
        validations=[{"expression": "true"}],
    )
    await bind(running, paramRef={"name": "x", "parameterNotFoundAction": "Deny"})
    error = await refused(running, "create", CONFIGMAPS, body=configmap("c"))
    assert error.message.endswith(
        "ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource "
        "referenced by paramKind: 'example.com/v1, Kind=Limit'"
    )


@in_cluster
async def test_the_authorizer_answers_for_the_user(running: Cluster) -> None:
    await policy(
        running,
        validations=[
            {
                "expression": "authorizer.group('').resource('secrets').namespace('default').check('get').allowed()"
            },
            {
                "expression": "!authorizer.serviceAccount('default', 'x').path('/healthz').check('post').allowed()"
            },
            {"expression": "authorizer.requestResource.check('create').allowed()"},
        ],
    )
    await bind(running)
    await running.do("create", CONFIGMAPS, body=configmap("c"))
    role = {
        "metadata": {"name": "maker"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}],
    }
    await running.do("create", ROLES, body=role, namespace="")
    binding = {
        "metadata": {"name": "maker"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maker"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jo"}],
    }
    await running.do("create", ROLE_BINDINGS, body=binding, namespace="")
    error = await refused(running, "create", CONFIGMAPS, body=configmap("d"), user=UserInfo("jo"))
    assert "resource('secrets')" in error.message


@in_cluster
async def test_policies_are_not_asked_about_policies(running: Cluster) -> None:
    everything = {"resourceRules": [rules("*", "*")]}
    await policy(running, matchConstraints=everything, validations=[{"expression": "false"}])
    await bind(running)
    await refused(running, "create", CONFIGMAPS, body=configmap("c"))
    await running.do("delete", BINDINGS, "b", namespace="")
    await running.do("create", CONFIGMAPS, body=configmap("c"))


@in_cluster
async def test_what_costs_too_much_is_denied(running: Cluster) -> None:
    loops = "object.data.all(a, object.data.all(b, object.data.all(c, a + b + c != '')))"
    await policy(running, validations=[{"expression": loops}])
    await bind(running)
    big = configmap("c", **{f"k{number}": "" for number in range(200)})
    error = await refused(running, "create", CONFIGMAPS, body=big)
    assert "validation failed due to running out of cost budget" in error.message


@in_cluster
async def test_without_policies_no_plugin_runs(running: Cluster) -> None:
    chain: Any = running.core.admission
    await running.do("create", CONFIGMAPS, body=configmap("c"))
    steps = [step for pair in chain._steps.values() for kind in pair for step in kind]
    assert steps and not any("Policy" in type(step.__self__).__name__ for step in steps)


# -- mutating


async def mutate(running: Cluster, name: str, *mutations: Object, bound: Any = None, **spec: Any) -> None:
    body = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rules("", "pods", "CREATE")]},
            "reinvocationPolicy": "Never",
            "mutations": list(mutations),
            **spec,
        },
    }
    await running.do("create", MUTATING, body=body, namespace="")
    binding = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": f"{name}-b"},
        "spec": {"policyName": name, **(bound or {})},
    }
    await running.do("create", MUTATING_BINDINGS, body=binding, namespace="")


def applied(expression: str) -> Object:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patched(expression: str) -> Object:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


@in_cluster
async def test_apply_configurations_merge(running: Cluster) -> None:
    await mutate(
        running,
        "sidecar",
        applied(
            "Object{metadata: Object.metadata{labels: {'by': 'policy'}}, spec: Object.spec{initContainers: "
            "[Object.spec.initContainers{name: 'mesh', image: 'mesh:1', restartPolicy: 'Always'}]}}"
        ),
        matchConditions=[
            {"name": "once", "expression": "!has(object.spec.initContainers)"},
        ],
    )
    made = await running.do("create", PODS, body=pod("a"))
    assert made["metadata"]["labels"]["by"] == "policy"
    (mesh,) = made["spec"]["initContainers"]
    assert (mesh["name"], mesh["restartPolicy"], mesh["imagePullPolicy"]) == (
        "mesh",
        "Always",
        "IfNotPresent",
    )
    assert len(made["spec"]["containers"]) == 1


@in_cluster
async def test_json_patches_and_their_keys(running: Cluster) -> None:
    await mutate(
        running,
        "label",
        patched("[JSONPatch{op: 'test', path: '/spec/nodeName', value: ''}]"),
        patched(
            "[JSONPatch{op: 'add', path: '/metadata/annotations', value: {'a/b': 'x'}}, "
            "JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('c/d'), value: 'y'}, "
            "JSONPatch{op: 'add', path: '/spec/tolerations/-', value: Object.spec.tolerations{key: 'k', "
            "operator: 'Exists'}}]"
        ),
    )
    made = await running.do("create", PODS, body=pod("a"))
    assert made["metadata"]["annotations"] == {"a/b": "x", "c/d": "y"}
    assert {"key": "k", "operator": "Exists"} in made["spec"]["tolerations"]


@in_cluster
async def test_policies_that_ask_for_it_see_what_others_changed(running: Cluster) -> None:
    count = "[JSONPatch{op: 'add', path: '/metadata/labels/seen', value: has(object.metadata.labels.z) ? 'z' : 'no'}]"
    await mutate(running, "a", patched(count), reinvocationPolicy="IfNeeded")
    await mutate(running, "z", applied("Object{metadata: Object.metadata{labels: {'z': '1'}}}"))
    body = pod("a")
    body["metadata"]["labels"] = {"app": "x"}
    made = await running.do("create", PODS, body=body)
    assert made["metadata"]["labels"] == {"app": "x", "seen": "z", "z": "1"}


@pytest.mark.parametrize(
    ("mutation", "words"),
    [
        (
            applied("Object{spec: Object.wrong{nodeName: 'x'}}"),
            'type mismatch: unexpected type name "Object.wrong", expected "Object.spec", which matches field name path',
        ),
        (
            applied("Object{spec: Object.spec{nope: 1}}"),
            "error applying patch: failed to convert patch object",
        ),
        (
            applied("Object{spec: Object.spec{nodeSelector: {'a': 'b'}}}"),
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.nodeSelector",
        ),
        (patched("[JSONPatch{op: 'remove', path: '/nope'}]"), "JSON Patch: "),
    ],
)
@in_cluster
async def test_mutations_that_cannot_be(running: Cluster, mutation: Object, words: str) -> None:
    await mutate(running, "m", mutation)
    error = await refused(running, "create", PODS, body=pod("a"))
    assert (error.code, error.reason) == (403, "Invalid")
    assert error.message.startswith("policy 'm' with binding 'm-b' denied request: ")
    assert words in error.message
    assert error.details is not None and error.details["causes"] == [{"message": error.message}]


@in_cluster
async def test_a_failing_policy_that_is_ignored_changes_nothing(running: Cluster) -> None:
    await mutate(running, "m", applied("Object{spec: Object.spec{nope: 1}}"), failurePolicy="Ignore")
    assert (await running.do("create", PODS, body=pod("a")))["metadata"]["name"] == "a"


@in_cluster
async def test_mutations_with_parameters_and_variables(running: Cluster) -> None:
    await running.do("create", CONFIGMAPS, body=configmap("settings", team="blue"))
    await mutate(
        running,
        "team",
        applied("Object{metadata: Object.metadata{labels: {'team': variables.team}}}"),
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        variables=[{"name": "team", "expression": "string(params.data.team)"}],
        bound={"paramRef": {"name": "settings", "parameterNotFoundAction": "Deny"}},
    )
    made = await running.do("create", PODS, body=pod("a"))
    assert made["metadata"]["labels"]["team"] == "blue"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"validations": [{"expression": "object.spec.enabled"}]},
            'spec.validations[0].expression: Invalid value: "object.spec.enabled": must evaluate to bool but got dyn',
        ),
        (
            {"validations": [{"expression": "request.nope == ''"}]},
            "compilation failed: ERROR: <input>:1:8: undefined field 'nope'",
        ),
        (
            {"validations": [{"expression": "params.a == 1"}]},
            "undeclared reference to 'params' (in container '')",
        ),
        (
            {"validations": [{"expression": "true", "messageExpression": "1"}]},
            'spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string but got int',
        ),
        (
            {
                "variables": [{"name": "a", "expression": "1"}],
                "validations": [{"expression": "variables.a == 'x'"}],
            },
            "found no matching overload for '_==_' applied to '(int, string)'",
        ),
        (
            {"variables": [{"name": "1a", "expression": "1"}], "validations": [{"expression": "true"}]},
            'spec.variables[0].name: Invalid value: "1a": name is not a valid CEL identifier',
        ),
        (
            {"paramKind": {"apiVersion": "a/b/c", "kind": "X"}, "validations": [{"expression": "true"}]},
            'spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
        ),
        (
            {"matchConditions": [{"name": "a", "expression": "1"}], "validations": [{"expression": "true"}]},
            'spec.matchConditions[0].expression: Invalid value: "1": must evaluate to bool but got int',
        ),
        (
            {"auditAnnotations": [{"key": "k", "valueExpression": "1"}]},
            "must evaluate to one of [string null_type] but got int",
        ),
    ],
)
@in_cluster
async def test_expressions_are_checked_when_a_policy_is_written(
    running: Cluster, spec: Object, message: str
) -> None:
    with pytest.raises(ApiError) as caught:
        await policy(running, **spec)
    assert caught.value.code == 422
    assert message in caught.value.message


@in_cluster
async def test_a_deep_look_at_dry_run_and_options(running: Cluster) -> None:
    await policy(running, validations=[{"expression": "!request.dryRun"}])
    await bind(running)
    await refused(running, "create", CONFIGMAPS, body=configmap("c"), dryRun="All")
    assert orjson.loads((await running.call("create", CONFIGMAPS, body=configmap("c"), user=ADMIN)).body)


@pytest.mark.parametrize(
    ("mutation", "message"),
    [
        (applied("object"), "must evaluate to Object but got dyn"),
        (patched("[1]"), "must evaluate to list(JSONPatch) but got list(int)"),
        ({"patchType": "Nope"}, 'spec.mutations[0].patchType: Unsupported value: "Nope"'),
        ({"patchType": "JSONPatch"}, "spec.mutations[0].jsonPatch: Required value"),
        (
            patched("[JSONPatch{op: 1, path: '/a'}]"),
            "expected type of field 'op' is 'string' but provided type is 'int'",
        ),
    ],
)
@in_cluster
async def test_mutations_are_checked_when_a_policy_is_written(
    running: Cluster, mutation: Object, message: str
) -> None:
    with pytest.raises(ApiError) as caught:
        await mutate(running, "m", mutation)
    assert message in caught.value.message


@in_cluster
async def test_audit_annotations_reach_the_audit_event(running: Cluster) -> None:
    from coxswain.apiserver.admission.policies.plugins import ValidatingAdmissionPolicy
    from coxswain.apiserver.admission.request import Request

    await policy(
        running,
        auditAnnotations=[{"key": "size", "valueExpression": "'size %d'.format([size(object.data)])"}],
        validations=[{"expression": "false", "message": "no"}],
    )
    await bind(running, actions=("Audit", "Warn"))
    chain: Any = running.core.admission
    (plugin,) = [each for each in chain.plugins if isinstance(each, ValidatingAdmissionPolicy)]
    request = Request(
        ADMIN, "CREATE", CONFIGMAPS, namespace="default", name="c", object=configmap("c", a="", b="")
    )
    plugin.validate(request)
    assert request.annotations["p/size"] == "size 2"
    assert orjson.loads(request.annotations["validation.policy.admission.k8s.io/validation_failure"]) == [
        {
            "message": "no",
            "policy": "p",
            "binding": "b",
            "expressionIndex": 0,
            "validationActions": ["Audit", "Warn"],
        }
    ]
    assert request.warnings == ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no"]


@pytest.mark.virtual
@in_cluster
async def test_custom_resources_are_judged_and_may_be_parameters(running: Cluster) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

    def definition(plural: str, kind: str) -> Object:
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.h.example.com"},
            "spec": {
                "group": "h.example.com",
                "scope": "Namespaced",
                "names": {"plural": plural, "kind": kind},
                "versions": [version],
            },
        }

    def made(kind: str, name: str, **spec: Any) -> Object:
        return {"apiVersion": "h.example.com/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}

    boats, limits = GVR("h.example.com", "v1", "boats"), GVR("h.example.com", "v1", "limits")
    controller = Controller(running.pipeline, ADMIN)
    task = asyncio.get_running_loop().create_task(controller.run())
    try:
        await running.do("create", DEFINITIONS, body=definition("boats", "Boat"), namespace="")
        await running.do("create", DEFINITIONS, body=definition("limits", "Limit"), namespace="")
        await clock.sleep(1)
        await policy(
            running,
            matchConstraints={"resourceRules": [rules("h.example.com", "boats", "CREATE")]},
            paramKind={"apiVersion": "h.example.com/v1", "kind": "Limit"},
            validations=[{"expression": "object.spec.oars <= params.spec.oars"}],
        )
        await bind(running, paramRef={"name": "l", "parameterNotFoundAction": "Deny"})
        await mutate(
            running,
            "flag",
            applied("Object{spec: Object.spec{flag: 'red'}}"),
            matchConstraints={"resourceRules": [rules("h.example.com", "boats", "CREATE")]},
        )
        await running.do("create", limits, body=made("Limit", "l", oars=4))
        boat = await running.do("create", boats, body=made("Boat", "a", oars=4))
        assert boat["spec"] == {"oars": 4, "flag": "red"}
        error = await refused(running, "create", boats, body=made("Boat", "b", oars=5))
        assert error.message.startswith('boats.h.example.com "b" is forbidden: ValidatingAdmissionPolicy')
    finally:
        await cancel_and_wait(task)
