"""Limit ranges do what conformance asks of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.endpoint_checks import check_collection
from conformance.whole_cluster import whole_cluster
from conformance.workload_objects import pod
from coxswain.api import meta
from coxswain.api.errors import Forbidden
from coxswain.api.names import GVR, PODS, Object

LIMIT_RANGES = GVR("", "v1", "limitranges")
NAMED = "[sig-scheduling] LimitRange "


def amounts(cpu: str, memory: str, disk: str) -> dict[str, str]:
    return {"cpu": cpu, "memory": memory, "ephemeral-storage": disk}


def limit_range(name: str = "limits") -> Object:
    limit = {
        "type": "Container",
        "min": amounts("50m", "100Mi", "100Gi"),
        "max": amounts("500m", "500Mi", "500Gi"),
        "default": amounts("500m", "500Mi", "500Gi"),
        "defaultRequest": amounts("100m", "200Mi", "200Gi"),
    }
    return {"metadata": {"name": name}, "spec": {"limits": [limit]}}


def asking(requests: dict[str, str], limits: dict[str, str]) -> dict[str, Any]:
    return {"container": {"resources": {"requests": requests, "limits": limits}}}


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NAMED}should create a LimitRange with defaults and ensure pod has those defaults applied. [Conformance]"
)
async def test_pods_get_what_they_do_not_say_and_are_held_within_the_limits(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, nodes=0) as it, it.following(LIMIT_RANGES) as seen:
        made = await it.create(LIMIT_RANGES, limit_range())
        await seen.until("ADDED")
        assert made["spec"] == limit_range()["spec"]
        plain = await it.create(PODS, pod("pod-no-resources"))
        assert plain["spec"]["containers"][0]["resources"] == {
            "requests": amounts("100m", "200Mi", "200Gi"),
            "limits": amounts("500m", "500Mi", "500Gi"),
        }
        partial = asking({"cpu": "300m", "ephemeral-storage": "150Gi"}, {"memory": "300Mi"})
        # A limit without a request is the request: the range's default request is not asked.
        merged = await it.create(PODS, pod("pod-partial-resources", **partial))
        assert merged["spec"]["containers"][0]["resources"] == {
            "requests": amounts("300m", "300Mi", "150Gi"),
            "limits": amounts("500m", "300Mi", "500Gi"),
        }
        small, large = amounts("10m", "50Mi", "50Gi"), amounts("600m", "600Mi", "600Gi")
        with pytest.raises(Forbidden, match="minimum cpu usage per Container is 50m, but request is 10m"):
            await it.create(PODS, pod("too-small", **asking(small, {})))
        with pytest.raises(Forbidden, match="maximum cpu usage per Container is 500m, but limit is 600m"):
            await it.create(PODS, pod("too-large", **asking(large, large)))

        def lower(obj: Object) -> None:
            obj["spec"]["limits"][0]["min"] = amounts("9m", "49Mi", "49Gi")

        await it.edit(LIMIT_RANGES, "limits", lower)
        await seen.until("MODIFIED", lambda obj: obj["spec"]["limits"][0]["min"]["cpu"] == "9m")
        await it.create(PODS, pod("small-enough", **asking(small, {})))
        with pytest.raises(Forbidden):
            await it.create(PODS, pod("too-large", **asking(large, large)))
        await it.delete(LIMIT_RANGES, "limits", grace_period_seconds=30)
        await it.until_gone(LIMIT_RANGES, "limits")
        freed = await it.create(PODS, pod("large-enough", **asking(large, large)))
        assert freed["spec"]["containers"][0]["resources"]["limits"] == large


@pytest.mark.virtual
@pytest.mark.conformance(f"{NAMED}should list, patch and delete a LimitRange by collection [Conformance]")
async def test_limit_ranges_are_listed_patched_and_deleted_as_a_collection(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path, controllers="", nodes=0) as it:
        made = limit_range()
        made["metadata"]["labels"] = {"batch": "one"}
        await it.create(LIMIT_RANGES, made)
        await it.create(LIMIT_RANGES, limit_range("elsewhere"), "default")
        listed = await it.list(LIMIT_RANGES, "", label_selector="batch=one")
        assert [meta.key(each) for each in listed] == ["work/limits"]
        patch = {"metadata": {"labels": {"patched": "yes"}}}
        assert meta.labels(await it.patch(LIMIT_RANGES, "limits", patch)) == {
            "batch": "one",
            "patched": "yes",
        }
        await it.delete_collection(LIMIT_RANGES, label_selector="patched=yes")
        assert not await it.list(LIMIT_RANGES)
        assert await it.exists(LIMIT_RANGES, "elsewhere", "default")
        await check_collection(it, LIMIT_RANGES, [limit_range(f"l{number}") for number in range(3)], "some")
