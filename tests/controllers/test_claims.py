"""Adoption and release: one controller to an object, never by an owner that goes or was replaced."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain.api import meta
from coxswain.api.errors import ApiError, Conflict, Invalid, NotFound
from coxswain.api.names import PODS, REPLICA_SETS, Object
from coxswain.base import clock
from coxswain.controllers.claim import decide_claims, perform_claims
from fakeapi import FakeApi


def set_up(api: FakeApi, name: str = "rs", **metadata: object) -> Object:
    spec = {"selector": {"matchLabels": {"app": "web"}}}
    body = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": spec}
    return api.add(REPLICA_SETS, {**body, "metadata": {"name": name, "namespace": "d", **metadata}})


def add_pod(
    api: FakeApi, name: str, owner: Object | None = None, *, app: str = "web", **metadata: object
) -> Object:
    full = {"name": name, "namespace": "d", "labels": {"app": app}, **metadata}
    if owner is not None:
        full["ownerReferences"] = [meta.owner_reference(owner)]
    return api.add(PODS, {"metadata": full, "spec": {}})


def matches(pod: Object) -> bool:
    return meta.labels(pod).get("app") == "web"


async def claim(api: FakeApi, owner: Object) -> set[str]:
    decided = decide_claims(owner, api.objects(PODS), matches)
    owned = await perform_claims(api.client(), REPLICA_SETS, owner, PODS, decided)
    return {meta.name(pod) for pod in owned}


def owner_of(api: FakeApi, name: str) -> str | None:
    reference = meta.controller_of(api.object(PODS, name, "d"))
    return None if reference is None else str(reference["uid"])


@pytest.mark.virtual
async def test_what_matches_is_adopted_and_what_does_not_is_released() -> None:
    api = FakeApi()
    mine, other = set_up(api), set_up(api, "other")
    add_pod(api, "owned", mine)
    add_pod(api, "strayed", mine, app="x")
    add_pod(api, "orphan")
    add_pod(api, "unrelated", app="x")
    add_pod(api, "foreign", other)
    add_pod(api, "going", deletionTimestamp="2026-01-01T00:00:00Z")
    assert await claim(api, mine) == {"owned", "orphan"}
    assert owner_of(api, "strayed") is None
    assert owner_of(api, "foreign") == meta.uid(other)
    assert owner_of(api, "going") is None
    writes = len(api.writes())
    assert await claim(api, mine) == {"owned", "orphan"}
    assert len(api.writes()) == writes


@pytest.mark.virtual
@pytest.mark.parametrize("how", ["terminating", "terminating unseen", "replaced", "gone"])
async def test_an_owner_that_goes_adopts_nothing(how: str) -> None:
    api = FakeApi()
    owner = set_up(api)
    add_pod(api, "orphan")
    stamp = {"deletionTimestamp": clock.timestamp()}
    if how == "terminating":
        owner["metadata"] |= stamp
    elif how == "terminating unseen":
        api.change(REPLICA_SETS, "rs", "d", lambda obj: obj["metadata"].update(stamp))
    else:
        api.remove(REPLICA_SETS, "rs", "d")
        if how == "replaced":
            set_up(api)
    try:
        assert await claim(api, owner) == set()
    except NotFound:
        assert how == "gone"
    assert owner_of(api, "orphan") is None


@pytest.mark.virtual
async def test_an_owner_that_goes_releases_nothing() -> None:
    api = FakeApi()
    owner = set_up(api, deletionTimestamp="2026-01-01T00:00:00Z")
    add_pod(api, "strayed", owner, app="x")
    assert await claim(api, owner) == set()
    assert owner_of(api, "strayed") == meta.uid(owner)


@pytest.mark.virtual
async def test_an_orphan_that_was_replaced_by_another_of_its_name_is_not_adopted() -> None:
    api = FakeApi()
    owner = set_up(api)
    add_pod(api, "orphan")
    decided = decide_claims(owner, api.objects(PODS), matches)
    api.remove(PODS, "orphan", "d")
    add_pod(api, "orphan", app="x")
    with pytest.raises(ApiError) as failure:
        await perform_claims(api.client(), REPLICA_SETS, owner, PODS, decided)
    assert isinstance(failure.value, Conflict | Invalid)
    assert owner_of(api, "orphan") is None


@pytest.mark.virtual
@pytest.mark.parametrize("fault", ["conflict", "lost answer", "gone"])
async def test_faults_leave_every_object_with_one_controller_at_most(fault: str) -> None:
    api = FakeApi()
    owner = set_up(api)
    for number in range(4):
        add_pod(api, f"p{number}")
    decided = decide_claims(owner, api.objects(PODS), matches)
    if fault == "conflict":
        api.fail("patch", PODS, Conflict)
    elif fault == "lost answer":
        api.lose_answer("patch", PODS)
    else:
        api.remove(PODS, "p1", "d")
    try:
        await perform_claims(api.client(), REPLICA_SETS, owner, PODS, decided)
    except ApiError:
        pass
    names = await claim(api, owner)
    assert names == {meta.name(pod) for pod in api.objects(PODS)}
    for pod in api.objects(PODS):
        assert [reference["uid"] for reference in meta.owner_references(pod)] == [meta.uid(owner)]


@given(
    st.lists(st.tuples(st.sampled_from(["mine", "other", "none"]), st.booleans(), st.booleans()), max_size=12)
)
def test_two_owners_never_decide_for_the_same_object(rows: list[tuple[str, bool, bool]]) -> None:
    owners = {
        name: {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "uid": name}}
        for name in ("mine", "other")
    }
    pods = []
    for number, (owner, match, going) in enumerate(rows):
        metadata: Object = {
            "name": f"p{number}",
            "uid": str(number),
            "labels": {"app": "web" if match else "x"},
        }
        if owner != "none":
            metadata["ownerReferences"] = [meta.owner_reference(owners[owner])]
        if going:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        pods.append({"metadata": metadata})
    mine = decide_claims(owners["mine"], pods, matches)
    other = decide_claims(owners["other"], pods, matches)
    assert not [pod for pod in mine.owned + mine.release if pod in other.owned + other.release]
    for pod in mine.adopt:
        assert meta.controller_of(pod) is None
        assert not meta.is_terminating(pod)
