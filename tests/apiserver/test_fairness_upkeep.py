"""Flow control's objects are kept in order."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from apiserver.core_support import ADMIN, cluster
from coxswain.api.names import Object
from coxswain.apiserver.bootstrap import FLOW_SCHEMAS, PRIORITY_LEVELS
from coxswain.apiserver.fairness.upkeep import Upkeep, conditions, restore


def _schema(name: str, level: str, **status: object) -> Object:
    rule = {
        "subjects": [{"kind": "Group", "group": {"name": "*"}}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }
    spec = {"matchingPrecedence": 5, "priorityLevelConfiguration": {"name": level}, "rules": [rule]}
    return {"metadata": {"name": name}, "spec": spec, "status": status}


def test_a_condition_is_written_only_where_it_is_not_as_it_should_be() -> None:
    level = {"metadata": {"name": "there"}}
    right = {
        "type": "Dangling",
        "status": "False",
        "reason": "Found",
        "message": 'This FlowSchema references the PriorityLevelConfiguration object named "there" and it exists',
    }
    schemas = [_schema("a", "there", conditions=[right]), _schema("b", "there"), _schema("c", "gone")]
    calls = list(conditions(schemas, [level], "now"))
    assert [call.name for call in calls] == ["b", "c"]
    (written,) = orjson.loads(calls[1].body)["status"]["conditions"]
    assert (written["status"], written["reason"], written["lastTransitionTime"]) == (
        "True",
        "NotFound",
        "now",
    )


def test_missing_mandatory_objects_are_made_again_and_no_others() -> None:
    calls = list(restore([_schema("exempt", "exempt")], []))
    assert [(call.resource, orjson.loads(call.body)["metadata"]["name"]) for call in calls] == [
        (PRIORITY_LEVELS, "catch-all"),
        (PRIORITY_LEVELS, "exempt"),
        (FLOW_SCHEMAS, "catch-all"),
    ]


@pytest.mark.virtual
async def test_it_follows_what_happens() -> None:
    async with cluster() as running:
        upkeep = Upkeep(running.pipeline, running.core.registry.lookup, ADMIN)
        task = asyncio.ensure_future(upkeep.run())
        await asyncio.sleep(5)
        exempt = await running.do("get", FLOW_SCHEMAS, "exempt", namespace="")
        assert exempt["status"]["conditions"][0]["status"] == "False"
        await running.do("create", FLOW_SCHEMAS, body=_schema("mine", "none"), namespace="")
        await asyncio.sleep(5)
        mine = await running.do("get", FLOW_SCHEMAS, "mine", namespace="")
        assert mine["status"]["conditions"][0]["reason"] == "NotFound"
        await running.do("delete", FLOW_SCHEMAS, "exempt", namespace="")
        await asyncio.sleep(5)
        assert (await running.do("get", FLOW_SCHEMAS, "exempt", namespace=""))["metadata"]["name"] == "exempt"
        revision = running.core.storage.revision
        await asyncio.sleep(60)
        assert running.core.storage.revision == revision
        task.cancel()
