"""The small questions about objects."""

from __future__ import annotations

from coxswain.api import meta


def test_keys_split_into_namespace_and_name() -> None:
    obj = {"metadata": {"namespace": "a", "name": "b"}}
    assert meta.key(obj) == "a/b"
    assert meta.split_key("a/b") == ("a", "b")
    assert meta.split_key("b") == ("", "b")


def test_controller_is_found_among_owners() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r", "uid": "u1"}}
    pod = {"metadata": {"ownerReferences": [{"uid": "x"}, meta.owner_reference(owner)]}}
    assert meta.is_controlled_by(pod, owner)
    found = meta.controller_of(pod)
    assert found is not None
    assert found["blockOwnerDeletion"] is True


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    obj: dict[str, object] = {}
    assert meta.set_condition(obj, {"type": "Ready", "status": "False"}, now="t1")
    assert not meta.set_condition(obj, {"type": "Ready", "status": "False"}, now="t2")
    assert meta.set_condition(obj, {"type": "Ready", "status": "True"}, now="t3")
    found = meta.condition(obj, "Ready")
    assert found is not None
    assert found["lastTransitionTime"] == "t3"
    assert meta.remove_condition(obj, "Ready")
    assert meta.condition(obj, "Ready") is None


def test_template_hash_ignores_key_order_and_counts_collisions() -> None:
    first = meta.pod_template_hash({"a": 1, "b": {"c": 2, "d": 3}})
    assert first == meta.pod_template_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert first != meta.pod_template_hash({"a": 1, "b": {"c": 2, "d": 3}}, collision_count=0)
    assert set(first) <= set(meta.SAFE_ALPHABET)


def test_fnv_matches_its_published_vectors() -> None:
    assert meta.fnv32a(b"") == 0x811C9DC5
    assert meta.fnv32a(b"a") == 0xE40C292C
    assert meta.fnv32a(b"foobar") == 0xBF9CF968


def _pod(*resources: dict[str, object]) -> dict[str, object]:
    return {"spec": {"containers": [{"resources": entry} for entry in resources]}}


def test_qos_class_follows_requests_and_limits() -> None:
    both = {"cpu": "1", "memory": "1Gi"}
    assert meta.qos_class(_pod({})) == "BestEffort"
    assert meta.qos_class(_pod({"requests": {"cpu": "1"}})) == "Burstable"
    assert (
        meta.qos_class(_pod({"requests": both, "limits": {"cpu": "1000m", "memory": "1Gi"}})) == "Guaranteed"
    )
    assert meta.qos_class(_pod({"requests": both, "limits": both}, {})) == "Burstable"
