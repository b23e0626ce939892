"""What the controllers' informer keeps of a pod."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from coxswain.api.names import Object
from coxswain.api.partial import reader, take
from coxswain.controllers import pods


def slim_pod(pod: Object) -> Object:
    return pods.KEPT(pods.KEPT.read(orjson.dumps(pod)))


def _pod(number: int, *, owner: str = "u", image: str = "a", second: int = 0, **labels: str) -> Object:
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": f"2026-01-01T00:00:0{second}Z"}
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": owner, "controller": True}
    return {
        "metadata": {
            "name": f"p{number}",
            "namespace": "d",
            "uid": f"u{number}",
            "resourceVersion": str(number),
            "labels": {"app": "web", **labels},
            "ownerReferences": [reference],
            "managedFields": [{"manager": "x"}],
        },
        "spec": {
            "nodeName": f"n{number}",
            "containers": [{"name": "c", "image": image, "ports": [{"containerPort": 80}]}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
        "status": {"phase": "Running", "conditions": [{**condition, "lastProbeTime": None}]},
    }


def test_pods_of_one_owner_share_what_they_have_in_common() -> None:
    one, two = slim_pod(_pod(1)), slim_pod(_pod(2))
    for name in ("labels", "ownerReferences"):
        assert one["metadata"][name] is two["metadata"][name]
    assert one["spec"]["containers"] is two["spec"]["containers"]
    assert one["status"]["conditions"][0] is two["status"]["conditions"][0]
    assert (one["metadata"]["name"], two["metadata"]["name"]) == ("p1", "p2")


def test_what_no_controller_reads_is_not_kept() -> None:
    kept = slim_pod(_pod(1))
    assert "managedFields" not in kept["metadata"]
    assert "volumes" not in kept["spec"]
    assert kept["spec"]["containers"] == [{"name": "c", "ports": [{"containerPort": 80}]}]
    assert set(kept["status"]["conditions"][0]) == {"type", "status", "lastTransitionTime"}


def test_claims_of_both_kinds_are_kept() -> None:
    pod = _pod(1)
    named = {"name": "a", "persistentVolumeClaim": {"claimName": "c"}}
    brought = {"name": "b", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}
    pod["spec"]["volumes"] += [named, brought]
    assert slim_pod(pod)["spec"]["volumes"] == [named, brought]


_PODS = st.lists(
    st.builds(
        lambda number, owner, second, label: _pod(number, owner=owner, second=second, label=label),
        st.integers(0, 9),
        st.sampled_from("uvw"),
        st.integers(0, 2),
        st.sampled_from("xyz"),
    ),
    max_size=12,
)


@given(_PODS)
def test_sharing_changes_no_pod(found: list[Object]) -> None:
    forgetful = reader(pods._READ, remembered=2)
    raws = [orjson.dumps(pod) for pod in found]
    alone = [take(pod, pods._READ) for pod in found]
    assert [forgetful(raw) for raw in raws] == [pods.KEPT.read(raw) for raw in raws] == alone


@given(_PODS)
def test_what_is_read_of_a_pod_is_enough(found: list[Object]) -> None:
    for pod in found:
        status = pod["status"]
        ended = {"name": "c", "restartCount": 2, "state": {"terminated": {"exitCode": 1, "message": "x"}}}
        status["containerStatuses"] = [ended]
        status["initContainerStatuses"] = [{"name": "i", "restartCount": 1, "state": {"running": {}}}]
        pod["spec"]["volumes"].append({"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}})
        kept = slim_pod(pod)
        assert kept["status"]["containerStatuses"] == [
            {"name": "c", "state": {"terminated": {"exitCode": 1}}}
        ]
        assert (kept["status"]["restarts"], kept["status"]["initRestarts"]) == (2, 1)
        assert kept["spec"]["volumes"] == pod["spec"]["volumes"][1:]
        assert kept["metadata"].keys() == pod["metadata"].keys() - {"managedFields"}
