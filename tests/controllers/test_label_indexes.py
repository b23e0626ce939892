"""Indexes by labels say the same as asking everybody, whatever came, changed and went."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from coxswain.api.names import PODS, SERVICES, Object
from coxswain.client.informer import Informer
from coxswain.client.interface import WatchEvent
from coxswain.controllers.labels import LabelIndex, Orphans, Selected, Selecting, SelectorIndex, match_labels
from fakeapi import FakeApi

_LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)
_STEP = st.tuples(st.sampled_from("pqrs"), st.sampled_from("nm"), st.none() | _LABELS)


def _obj(name: str, namespace: str, labels: dict[str, str]) -> Object:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "uid": f"{namespace}/{name}"}
    }


def _play(informer: Informer, steps: list[Any]) -> dict[str, Object]:
    """Adds, changes and (labels None) deletes; what is there in the end."""
    there: dict[str, Object] = {}
    for revision, (name, namespace, labels) in enumerate(steps, 1):
        key = f"{namespace}/{name}"
        if labels is None and key not in there:
            continue
        obj = there.get(key) if labels is None else _obj(name, namespace, labels)
        assert obj is not None
        obj["metadata"]["resourceVersion"] = str(revision)
        kind = "DELETED" if labels is None else "ADDED"
        informer.apply([WatchEvent(kind, orjson.dumps(obj))])
        if labels is None:
            del there[key]
        else:
            there[key] = obj
    return there


@given(st.lists(_STEP, max_size=25), _LABELS, st.booleans())
def test_the_selected_are_those_whose_labels_match(steps: Any, wanted: dict[str, str], strict: bool) -> None:
    informer = Informer(FakeApi().client(), PODS)
    selected = Selected(informer)
    there = _play(informer, steps)

    def test(labels: Any) -> bool:
        return not strict or labels.get("c") != "x"

    found = {obj["metadata"]["uid"] for obj in selected.matching("n", wanted, test)}
    assert found == {
        obj["metadata"]["uid"]
        for obj in there.values()
        if obj["metadata"]["namespace"] == "n"
        and wanted.items() <= obj["metadata"]["labels"].items()
        and test(obj["metadata"]["labels"])
    }
    orphans = Orphans(informer)  # of these, nobody has an owner
    owner = {"metadata": {"namespace": "n"}, "spec": {"selector": {"matchLabels": wanted}}}
    assert {obj["metadata"]["uid"] for obj in orphans.may_join(owner)} >= found
    index = informer.attach_index("labels", LabelIndex)
    assert len(index._groups) == len(
        {(o["metadata"]["namespace"], frozenset(o["metadata"]["labels"].items())) for o in there.values()}
    )
    assert there or not index._having


@given(st.lists(_STEP, max_size=25), _LABELS)
def test_candidates_miss_nobody_who_selects(steps: Any, labels: dict[str, str]) -> None:
    """What an object has as labels is taken for its selector; one with a label ``c`` selects nothing."""
    informer = Informer(FakeApi().client(), SERVICES)

    def wanted(obj: Object) -> dict[str, str] | None:
        found: dict[str, str] = obj["metadata"]["labels"]
        return None if "c" in found else found

    selecting = Selecting(informer, wanted)
    there = _play(informer, steps)
    found = [obj["metadata"]["uid"] for obj in selecting.candidates(_obj("pod", "n", labels))]
    assert len(found) == len(set(found))
    assert set(found) >= {
        obj["metadata"]["uid"]
        for obj in there.values()
        if obj["metadata"]["namespace"] == "n"
        and (selector := wanted(obj)) is not None
        and selector.items() <= labels.items()
    }
    index = informer.attach_index("selector", SelectorIndex)
    assert set(index._filed) == {key for key, obj in there.items() if wanted(obj) is not None}


def test_a_label_that_all_selectors_share_is_no_bucket_for_all() -> None:
    index = SelectorIndex()
    for number in range(1_000):
        index.put(f"n/s{number}", "n", {"tier": "web", "app": f"a{number}"})
    assert len(list(index.candidates("n", {"tier": "web", "app": "a7"}))) <= 2


def test_selectors_of_every_shape_are_understood() -> None:
    def obj(selector: object) -> Object:
        return {"spec": {"selector": selector} if selector is not None else {}}

    assert match_labels(obj(None)) is None
    assert match_labels(obj({})) == {}
    assert match_labels(obj({"matchLabels": {"a": "b"}})) == {"a": "b"}
    expressions = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
    assert match_labels(obj(expressions)) == {}
    assert match_labels(obj({"app": "web"})) == {"app": "web"}  # a replication controller's


def test_who_has_an_owner_is_no_orphan() -> None:
    informer = Informer(FakeApi().client(), PODS)
    orphans = Orphans(informer)
    owner = {"metadata": {"namespace": "n"}, "spec": {"selector": {"matchLabels": {"a": "x"}}}}
    pod = _obj("p", "n", {"a": "x"})
    for revision, owners in enumerate(([], [{"uid": "u", "controller": True}], []), 1):
        pod["metadata"] |= {"ownerReferences": owners, "resourceVersion": str(revision)}
        informer.apply([WatchEvent("MODIFIED", orjson.dumps(pod))])
        assert len(orphans.may_join(owner)) == (0 if owners else 1)
    assert orphans.may_join({"metadata": {"namespace": "n"}, "spec": {}}) == []


@given(st.lists(_STEP, min_size=1, max_size=25), _LABELS)
def test_who_asks_for_the_same_labels_again_hears_what_has_changed(
    steps: Any, labels: dict[str, str]
) -> None:
    def wanted(obj: Object) -> dict[str, str]:
        found: dict[str, str] = obj["metadata"]["labels"]
        return found

    informer, pod = Informer(FakeApi().client(), SERVICES), _obj("pod", "n", labels)
    selecting = Selecting(informer, wanted)
    for number in range(len(steps)):
        _play(informer, steps[: number + 1])
        fresh = Selecting(informer, wanted)
        assert selecting.candidates(pod) == fresh.candidates(pod)
    assert selecting.candidates(_obj("pod", "m", labels)) == fresh.candidates(_obj("pod", "m", labels))
