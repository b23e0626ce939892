"""Get, list in chunks and by selectors, and the rules of resourceVersion."""

from __future__ import annotations

import pytest

from apiserver.core_support import ADMIN, CONFIGMAPS, PODS, Cluster, cluster, configmap, labelled, pod
from coxswain.api import errors
from coxswain.apiserver.verbs.reading import decode_continue, encode_continue
from coxswain.base import metrics
from coxswain.client.interface import Call


async def _fill(c: Cluster, count: int) -> None:
    for i in range(count):
        await c.do(
            "create", CONFIGMAPS, body=labelled(f"c{i}", n=str(i), par="even" if i % 2 == 0 else "odd")
        )


def _names(listed: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


@pytest.mark.virtual
async def test_items_of_a_list_leave_out_their_kind() -> None:
    async with cluster() as c:
        await _fill(c, 2)
        listed = await c.do("list", CONFIGMAPS)
        assert (listed["kind"], listed["apiVersion"]) == ("ConfigMapList", "v1")
        assert all(set(item) == {"metadata"} for item in listed["items"])
        assert int(listed["metadata"]["resourceVersion"]) == c.core.storage.revision


@pytest.mark.virtual
async def test_raw_lists_carry_whole_objects() -> None:
    async with cluster() as c:
        await _fill(c, 3)
        found = await c.pipeline.list_raw(Call("list", CONFIGMAPS, "default", query={"limit": "2"}), ADMIN)
        assert [b'"kind":"ConfigMap"' in raw for raw in found.items] == [True, True]
        assert found.continue_ and found.remaining == 1


@pytest.mark.virtual
async def test_chunks_continue_while_nothing_changes() -> None:
    async with cluster() as c:
        await _fill(c, 5)
        first = await c.do("list", CONFIGMAPS, limit="2")
        assert _names(first) == ["c0", "c1"]
        assert first["metadata"]["remainingItemCount"] == 3
        second = await c.do("list", CONFIGMAPS, **{"limit": "2", "continue": first["metadata"]["continue"]})
        assert _names(second) == ["c2", "c3"]
        third = await c.do("list", CONFIGMAPS, **{"limit": "2", "continue": second["metadata"]["continue"]})
        assert _names(third) == ["c4"]
        assert "continue" not in third["metadata"]
        assert third["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


@pytest.mark.virtual
async def test_chunks_continue_at_their_revision_after_changes() -> None:
    async with cluster() as c:
        await _fill(c, 4)
        first = await c.do("list", CONFIGMAPS, limit="2")
        await c.do("delete", CONFIGMAPS, "c2")
        await c.do("create", CONFIGMAPS, body=configmap("c9"))
        rest = await c.do("list", CONFIGMAPS, **{"continue": first["metadata"]["continue"]})
        assert _names(rest) == ["c2", "c3"]
        assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


@pytest.mark.virtual
async def test_a_compacted_continue_token_offers_another() -> None:
    async with cluster() as c:
        await _fill(c, 4)
        first = await c.do("list", CONFIGMAPS, limit="2")
        await c.do("delete", CONFIGMAPS, "c3")
        await c.core.storage.store.compact(c.core.storage.revision)
        answer = await c.call("list", CONFIGMAPS, **{"continue": first["metadata"]["continue"]})
        assert answer.code == 410
        with pytest.raises(errors.Expired, match="The provided continue parameter is too old"):
            answer.object()
        import orjson

        token = orjson.loads(answer.body)["metadata"]["continue"]
        rest = await c.do("list", CONFIGMAPS, **{"continue": token})
        assert _names(rest) == ["c2"]


@pytest.mark.virtual
async def test_an_exact_revision_shows_the_past() -> None:
    async with cluster() as c:
        await _fill(c, 2)
        then = str(c.core.storage.revision)
        await c.do("delete", CONFIGMAPS, "c0")
        past = await c.do("list", CONFIGMAPS, resourceVersion=then, resourceVersionMatch="Exact")
        assert _names(past) == ["c0", "c1"]
        assert past["metadata"]["resourceVersion"] == then
        assert _names(await c.do("list", CONFIGMAPS, resourceVersion="0")) == ["c1"]


@pytest.mark.virtual
async def test_a_revision_from_the_future_times_out() -> None:
    async with cluster() as c:
        answer = await c.call("list", CONFIGMAPS, resourceVersion="99999")
        assert answer.code == 504
        with pytest.raises(errors.Timeout, match="Too large resource version: 99999"):
            answer.object()


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("selector", "expected"),
    [("par=even", ["c0", "c2"]), ("par!=even", ["c1", "c3"]), ("n in (1,3)", ["c1", "c3"]), ("!n", [])],
)
async def test_labels_select(selector: str, expected: list[str]) -> None:
    async with cluster() as c:
        await _fill(c, 4)
        assert _names(await c.do("list", CONFIGMAPS, labelSelector=selector)) == expected


@pytest.mark.virtual
async def test_fields_select_and_unknown_ones_are_refused() -> None:
    async with cluster() as c:
        await _fill(c, 3)
        assert _names(await c.do("list", CONFIGMAPS, fieldSelector="metadata.name=c1")) == ["c1"]
        assert _names(await c.do("list", CONFIGMAPS, fieldSelector="metadata.name!=c1")) == ["c0", "c2"]
        with pytest.raises(errors.BadRequest, match=r'"spec\.foo" is not a known field selector'):
            await c.do("list", CONFIGMAPS, fieldSelector="spec.foo=1")
        with pytest.raises(errors.BadRequest, match=r"field label not supported: spec\.hostname"):
            await c.do("list", PODS, fieldSelector="spec.hostname=x")


@pytest.mark.virtual
async def test_pods_are_found_by_their_node() -> None:
    async with cluster() as c:
        for i in range(4):
            await c.do("create", PODS, body=pod(f"p{i}"))
        binding = {"metadata": {"name": "p2"}, "target": {"kind": "Node", "name": "n1"}}
        await c.do("create", PODS, "p2", binding, subresource="binding")
        assert _names(await c.do("list", PODS, fieldSelector="spec.nodeName=n1")) == ["p2"]
        assert _names(await c.do("list", PODS, namespace="", fieldSelector="spec.nodeName=n1")) == ["p2"]
        assert _names(await c.do("list", PODS, fieldSelector="spec.nodeName=")) == ["p0", "p1", "p3"]
        assert _names(await c.do("list", PODS, fieldSelector="spec.nodeName=n1,status.phase=Running")) == []


@pytest.mark.virtual
async def test_tables_and_metadata_come_when_asked_for() -> None:
    async with cluster() as c:
        await _fill(c, 2)
        table = await c.do(
            "list", CONFIGMAPS, accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        )
        assert table["kind"] == "Table" and len(table["rows"]) == 2
        partial = await c.do(
            "get", CONFIGMAPS, "c1", accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        )
        assert set(partial) == {"kind", "apiVersion", "metadata"}
        assert (await c.call("get", CONFIGMAPS, "c1", accept="text/html")).code == 406


@pytest.mark.virtual
async def test_events_are_served_in_both_versions() -> None:
    from coxswain.api.names import EVENTS, EVENTS_V1

    async with cluster() as c:
        about = {"kind": "Pod", "namespace": "default", "name": "p"}
        event = {"metadata": {"name": "e"}, "involvedObject": about, "message": "hello", "reason": "Because"}
        await c.do("create", EVENTS, body=event)
        other = await c.do("get", EVENTS_V1, "e")
        assert other["apiVersion"] == "events.k8s.io/v1"
        assert other["note"] == "hello" and other["regarding"]["name"] == "p"
        listed = await c.do("list", EVENTS_V1)
        assert listed["kind"] == "EventList" and listed["items"][0]["note"] == "hello"


@pytest.mark.parametrize("namespace", ["", "default"])
def test_continue_tokens_survive_the_round_trip(namespace: str) -> None:
    last = f"{namespace}/c1" if namespace else "a/c1"
    assert decode_continue(encode_continue(7, last, namespace), namespace) == (7, last)


@pytest.mark.parametrize("token", ["zzz", "!", "e30", "eyJ2IjoieCJ9", "bnVsbA", ""])
def test_malformed_continue_tokens_are_refused(token: str) -> None:
    with pytest.raises(errors.BadRequest, match="continue"):
        decode_continue(token)


@pytest.mark.virtual
async def test_requests_of_components_are_counted_like_those_over_rest() -> None:
    def counted(code: str) -> float:
        what = {
            "group": "",
            "version": "v1",
            "resource": "configmaps",
            "subresource": "",
            "scope": "resource",
        }
        labels = {"verb": "GET", "dry_run": "", **what, "component": "apiserver", "code": code}
        return metrics.REGISTRY.get_sample_value("apiserver_request_total", labels) or 0.0

    async with cluster() as c:
        before = counted("200"), counted("404")
        await c.do("create", CONFIGMAPS, body=configmap("a"))
        for name in ("a", "a", "b"):
            await c.call("get", CONFIGMAPS, name)
        assert (counted("200"), counted("404")) == (before[0] + 2, before[1] + 1)
