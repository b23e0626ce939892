"""Pods known by their text are those that decoding gives; what a watch brings is told once and in order."""

from __future__ import annotations

import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coxswain._native import glance as native
from coxswain._native.glance import glance
from coxswain.client.interface import WatchEvent
from coxswain.scheduler import pod as pods
from coxswain.scheduler.nodetable import NodeTable
from coxswain.scheduler.pod import GROUP_LABEL, GROUP_MINIMUM, Pod
from coxswain.scheduler.podsource import PodReader, PodSource
from coxswain.scheduler.template import Templates
from fakeapi import FakeApi
from scheduler.sched_objects import node, pod
from scheduler.test_plugins_against_twins import labelled_pod

Object = dict[str, Any]


def random_pod(rng: random.Random, i: int) -> Object:
    """A pod at some time of its life, of one of a few kinds."""
    obj = labelled_pod(random.Random(rng.randrange(6)), f"p{i}")
    metadata, spec, status = obj["metadata"], obj["spec"], obj["status"]
    metadata |= {"uid": f"uid-{i}", "resourceVersion": str(rng.randrange(1000)), "generateName": "p"}
    if rng.random() < 0.5:
        spec["nodeName"] = f"n{rng.randrange(5)}"
    if rng.random() < 0.2:
        metadata["ownerReferences"] = [{"controller": True, "kind": "ReplicaSet", "name": rng.choice("xy")}]
    if rng.random() < 0.1:
        metadata["labels"] = {GROUP_LABEL: "g"}
        metadata["annotations"] = {GROUP_MINIMUM: str(rng.randrange(4))}
    if rng.random() < 0.1:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    if rng.random() < 0.1:
        spec["schedulingGates"] = [{"name": "g"}]
    if rng.random() < 0.1:
        spec["volumes"] = [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]
    if rng.random() < 0.1:
        spec["priority"] = 7
    if rng.random() < 0.1:
        spec["preemptionPolicy"] = "Never"
    if rng.random() < 0.3:
        status["startTime"] = f"2026-01-01T00:00:0{rng.randrange(10)}Z"
    if rng.random() < 0.1:
        status["nominatedNodeName"] = "n1"
    status["phase"] = rng.choice(("Pending", "Running", "Succeeded", "Failed"))
    for part in (obj, metadata, spec, status):
        members = list(part.items())
        if rng.random() < 0.3:
            rng.shuffle(members)
        part.clear()
        part |= members
    return obj


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("seed", range(10))
def test_a_pod_read_from_its_text_is_the_pod_decoded(seed: int, indent: int | None) -> None:
    rng = random.Random(seed)
    templates = Templates(NodeTable())
    reader = PodReader(templates)
    for i in range(300):
        obj = random_pod(rng, i)
        raw = json.dumps(obj, indent=indent, ensure_ascii=rng.random() < 0.5).encode()
        assert reader.read(raw) == pods.parse(orjson.loads(raw), templates)
    assert len(reader._known) < 250, "nothing was known again"


def test_a_pod_that_is_bound_is_known_by_its_text_and_keeps_its_template() -> None:
    reader = PodReader(Templates(NodeTable()))
    for where in ("first", "last"):
        waiting, bound = pod("a"), pod("b")
        rest, bound["spec"] = bound["spec"], {}
        bound["spec"] = {"nodeName": "n", **rest} if where == "first" else {**rest, "nodeName": "n"}
        one, other = (reader.read(orjson.dumps(obj)) for obj in (waiting, bound))
        assert one.template is other.template
        assert (one.node_name, other.node_name) == ("", "n")
    assert len(reader._known) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'{"metadata":{"name":"a"}}',
        b'{"metadata":{"name":"a"},"spec":[]}',
        b'{"metadata":{"name":"a},"spec":{}}',
        b'{"metadata":{"name":"a\\u0062"},"spec":{}}',
        b'{"metadata":{"name":1},"spec":{}}',
        b'{"metadata":{"name":"a","deletionTimestamp":"x"},"spec":{}}',
        b'{"metadata":{"name":"a"},"spec":{"nodeName":"\\\\"}}',
        b'{"metadata":{"name":"a"},"spec":{"nodeName":}}',
    ],
)
def test_a_text_that_is_not_as_expected_is_left_to_others(raw: bytes) -> None:
    assert glance(raw) is None


def test_long_texts_are_read_and_not_kept() -> None:
    reader = PodReader(Templates(NodeTable()))
    for number in range(3):
        args = [f"{number}" * 20_000]
        obj = {
            "metadata": {"name": "p", "namespace": "d"},
            "spec": {"containers": [{"name": "c", "args": args}]},
        }
        assert reader.read(orjson.dumps(obj)).key == "d/p"
    long = len(reader._known)
    reader.read(orjson.dumps({"metadata": {"name": "p", "namespace": "d"}, "spec": {"containers": []}}))
    assert (long, len(reader._known)) == (0, 1)


def test_escapes_and_brackets_in_texts_do_not_mislead() -> None:
    odd = '}]"\\\\" {"spec":{"nodeName":"no"}'
    obj = {"spec": {"x": [odd, {"nodeName": "no"}], "nodeName": "yes"}, "metadata": {"name": "a", "y": odd}}
    found = glance(orjson.dumps(obj))
    assert found is not None
    assert found[1] == "a"
    assert found[4] == "yes"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 40))
@example(b"\\", 20, 1)
def test_any_bytes_are_read_within_their_bounds(noise: bytes, at: int, cut: int) -> None:
    raw = orjson.dumps(labelled_pod(random.Random(at), "p"))
    glance(noise)
    spoiled = raw[:at] + noise + raw[at + cut :]
    seen = glance(spoiled)
    assert seen is None or len(seen[-1]) <= len(spoiled) + 5


class Heard:
    """What a ``PodSource`` told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def pod_added(self, pod: Pod) -> None:
        self.told.append(("added", pod.key, pod.node_name))
        if pod.name == "broken":
            raise ValueError("a handler's mistake")

    def pod_updated(self, old: Pod, new: Pod) -> None:
        self.told.append(("updated", new.key, old.node_name, new.node_name))

    def pod_deleted(self, pod: Pod) -> None:
        self.told.append(("deleted", pod.key))

    def pods_heard(self) -> None:
        self.told.append(("heard",))


def revised(name: str, revision: int, uid: str = "", **spec: Any) -> Object:
    obj = pod(name, spec=spec)
    obj["metadata"] |= {"resourceVersion": str(revision), "uid": uid or f"uid-{name}"}
    return obj


def test_changes_are_told_once_in_order_and_after_a_relist_only_differences() -> None:
    heard = Heard()
    source = PodSource(FakeApi().client(), Templates(NodeTable()), heard)

    def page(*objects: Object) -> list[Pod]:
        return list(source.decode([orjson.dumps(obj) for obj in objects]))

    def event(kind: Any, obj: Object) -> WatchEvent:
        return WatchEvent(kind, orjson.dumps(obj))

    source.replace(page(revised("a", 1), revised("b", 2), revised("c", 3)), "3")
    bookmark = {"metadata": {"resourceVersion": "9"}}
    batch = [
        event("MODIFIED", revised("a", 4, nodeName="n")),
        event("MODIFIED", revised("a", 4, nodeName="n")),
        event("DELETED", revised("b", 5)),
        event("DELETED", revised("b", 5)),
        event("ADDED", revised("broken", 6)),
        event("ADDED", revised("d", 7)),
        event("BOOKMARK", bookmark),
    ]
    assert source.apply(batch) == "9"
    assert heard.told == [
        *(("added", f"d/{name}", "") for name in "abc"),
        ("heard",),
        ("updated", "d/a", "", "n"),
        ("deleted", "d/b"),
        ("added", "d/broken", ""),
        ("added", "d/d", ""),
        ("heard",),
    ]
    heard.told.clear()
    source.replace(page(revised("a", 4, nodeName="n"), revised("c", 10), revised("d", 11, uid="new")), "11")
    assert heard.told == [
        ("updated", "d/c", "", ""),
        ("deleted", "d/d"),
        ("added", "d/d", ""),
        ("deleted", "d/broken"),
        ("heard",),
    ]
    assert len(source) == 3


def test_a_pod_bound_under_new_labels_is_counted_under_them_without_touching_its_row() -> None:
    from coxswain.scheduler.cache import Cache

    table = NodeTable()
    table.set_node(node("n"))
    templates = Templates(table)
    cache = Cache(table)
    waiting = pods.parse(pod("p", labels={"app": "x"}), templates)
    table.add_pod(waiting, "n")
    cache.note_assumed(waiting, "n")
    used, position = table.requested.copy(), table.pod_log.end
    bound = pods.parse(pod("p", labels={"app": "x", "zone": "z"}, spec={"nodeName": "n"}), templates)
    assert cache.place(bound)
    assert (table.requested == used).all()
    assert table.pod_log.end == position
    assert [group.template for group in table.placed] == [bound.template]
    larger = pods.parse(pod("p", cpu="2", labels={"app": "x"}, spec={"nodeName": "n"}), templates)
    assert cache.place(larger)
    assert table.requested[0, 0] == 2000
    assert table.pod_log.end > position
    cache.remove("d/p")
    assert not table.requested.any()
    assert not list(table.placed)


def test_the_kernel_is_compiled() -> None:
    assert str(native.__file__).endswith(".so")
