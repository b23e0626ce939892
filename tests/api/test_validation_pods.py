"""What the rules of pods refuse, and in which words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from coxswain.api import defaults, strategy, validation
from coxswain.api.names import GVK, Object
from coxswain.api.validation.pods import (
    validate_binding,
    validate_ephemeral_containers_update,
    validate_resize,
)

POD = GVK("", "v1", "Pod")


def pod(**spec: Any) -> Object:
    obj: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "1"},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    }
    return obj


def complaints(obj: Object) -> list[str]:
    defaults.default(obj, POD)
    strategy.prepare_for_create(obj, POD)
    return [str(error) for error in validation.validate_create(obj, POD)]


def container(**fields: Any) -> Object:
    return pod(containers=[{"name": "c", "image": "i", **fields}])


def test_a_plain_pod_is_fine() -> None:
    assert complaints(pod()) == []


WRONG: list[tuple[Object, str]] = [
    (pod(containers=[]), "spec.containers: Required value"),
    (pod(containers=[{"name": "c"}]), "spec.containers[0].image: Required value"),
    (
        pod(containers=[{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]),
        'spec.containers[1].name: Duplicate value: "c"',
    ),
    (
        pod(restartPolicy="Sometimes"),
        'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
    ),
    (
        container(ports=[{"containerPort": 70000}]),
        "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    (
        container(ports=[{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 80}]),
        'spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80"',
    ),
    (
        container(volumeMounts=[{"name": "zz", "mountPath": "/x"}]),
        'spec.containers[0].volumeMounts[0].name: Not found: "zz"',
    ),
    (
        container(resources={"requests": {"cpu": "-1"}}),
        'spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0',
    ),
    (
        container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
    ),
    (
        container(livenessProbe={"httpGet": {"port": 80}, "exec": {"command": ["x"]}}),
        "spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
    ),
    (
        container(livenessProbe={"exec": {"command": ["x"]}, "successThreshold": 2}),
        "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
    ),
    (
        pod(dnsPolicy="None"),
        "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
    ),
    (
        pod(hostAliases=[{"ip": "1.2.3"}]),
        (
            'spec.hostAliases[0].ip: Invalid value: "1.2.3": must be a valid IP address, '
            "(e.g. 10.9.8.7 or 2001:db8::ffff)"
        ),
    ),
    (
        pod(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
        "spec.tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
    ),
    (
        pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
        "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
    ),
    (
        pod(volumes=[{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "../x"}]}}]),
        "spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
    ),
    (
        container(
            env=[{"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
        ),
        'spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
    ),
    (
        container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "bogus"}}}]),
        (
            'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "bogus": '
            "error converting fieldPath: field label not supported: bogus"
        ),
    ),
    (
        pod(
            topologySpreadConstraints=[
                {"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}
            ]
        ),
        "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
    ),
    (
        pod(initContainers=[{"name": "i", "image": "i", "lifecycle": {}}]),
        (
            "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without "
            "restartPolicy=Always"
        ),
    ),
    (
        container(securityContext={"privileged": True}),
        "spec.containers[0].securityContext.privileged: Forbidden: disallowed by cluster policy",
    ),
    (
        pod(nodeName="n", schedulingGates=[{"name": "g"}]),
        "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
    ),
]


@pytest.mark.parametrize(("obj", "message"), WRONG)
def test_a_wrong_pod_is_refused_in_kubernetes_words(obj: Object, message: str) -> None:
    assert complaints(copy.deepcopy(obj)) == [message]


def stored(obj: Object) -> Object:
    assert complaints(obj) == []
    return obj


def update(old: Object, **spec: Any) -> list[str]:
    new = copy.deepcopy(old)
    new["spec"].update(spec)
    strategy.prepare_for_update(new, old, POD)
    return [str(error) for error in validation.validate_update(new, old, POD)]


def test_images_may_change_and_other_fields_may_not() -> None:
    old = stored(pod())
    changed = copy.deepcopy(old["spec"]["containers"])
    changed[0]["image"] = "j"
    assert update(old, containers=changed) == []
    changed[0]["command"] = ["x"]
    (message,) = update(old, containers=changed)
    assert message.startswith("spec: Forbidden: pod updates may not change fields other than")


def test_tolerations_may_only_be_added() -> None:
    first = {"key": "a", "operator": "Exists"}
    old = stored(pod(tolerations=[first]))
    assert update(old, tolerations=[first, {"key": "b", "operator": "Exists"}]) == []
    assert update(old, tolerations=[]) == [
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    ]


def test_gated_pods_may_get_stricter_about_nodes() -> None:
    old = stored(pod(schedulingGates=[{"name": "g"}], nodeSelector={"a": "b"}))
    assert update(old, nodeSelector={"a": "b", "c": "d"}) == []
    assert update(old, schedulingGates=[]) == []
    assert len(update(old, nodeSelector={})) == 1


def test_ended_containers_do_not_run_again_in_status() -> None:
    old = stored(pod(restartPolicy="Never"))
    old["status"]["containerStatuses"] = [{"name": "c", "state": {"terminated": {"exitCode": 0}}}]
    new = copy.deepcopy(old)
    new["status"]["containerStatuses"][0]["state"] = {"running": {}}
    errors = validation.validate_status_update(new, old, POD)
    assert [error.field for error in errors] == ["status.containerStatuses[0].state"]


def test_bindings_name_a_node() -> None:
    assert validate_binding({"target": {"kind": "Node", "name": "n"}}) == []
    assert [str(error) for error in validate_binding({"target": {"kind": "Pod"}})] == [
        'target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"',
        "target.name: Required value",
    ]


def test_ephemeral_containers_are_only_added() -> None:
    old = stored(pod())
    new = copy.deepcopy(old)
    new["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "i"}]
    defaults.default(new, POD)
    assert validate_ephemeral_containers_update(new, old) == []
    assert validate_ephemeral_containers_update(old, new) != []


def test_resize_changes_amounts_but_not_the_class() -> None:
    old = stored(container(resources={"requests": {"cpu": "1"}}))
    new = copy.deepcopy(old)
    new["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "2"
    assert validate_resize(new, old) == []
    new["spec"]["containers"][0]["resources"] = {}
    assert validate_resize(new, old) != []
