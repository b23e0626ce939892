"""Aggregated cluster roles follow the roles that they select."""

from __future__ import annotations

import pytest

from controllerbench import running
from coxswain.api.errors import Conflict
from coxswain.api.names import CLUSTER_ROLES, Object
from coxswain.base import clock
from coxswain.controllers import clusterroleaggregation
from fakeapi import FakeApi


def rule(resource: str) -> Object:
    return {"apiGroups": ["x"], "resources": [resource], "verbs": ["get"]}


def add_role(api: FakeApi, name: str, *rules: Object) -> None:
    api.add(CLUSTER_ROLES, {"metadata": {"name": name, "labels": {"to": "view"}}, "rules": list(rules)})


@pytest.mark.virtual
async def test_rules_come_and_go_with_the_selected_roles() -> None:
    api = FakeApi()
    selecting = {"clusterRoleSelectors": [{"matchLabels": {"to": "view"}}]}
    api.add(CLUSTER_ROLES, {"metadata": {"name": "view"}, "aggregationRule": selecting, "rules": None})
    add_role(api, "b", rule("boats"), rule("oars"))
    api.fail("update", CLUSTER_ROLES, Conflict)
    api.lose_answer("update", CLUSTER_ROLES)
    async with running(api, clusterroleaggregation.DESCRIPTOR):
        await clock.sleep(5)
        assert api.object(CLUSTER_ROLES, "view")["rules"] == [rule("boats"), rule("oars")]
        add_role(api, "a", rule("anchors"), rule("oars"))
        await clock.sleep(5)
        assert api.object(CLUSTER_ROLES, "view")["rules"] == [rule("anchors"), rule("oars"), rule("boats")]
        api.remove(CLUSTER_ROLES, "b")
        await clock.sleep(5)
        assert api.object(CLUSTER_ROLES, "view")["rules"] == [rule("anchors"), rule("oars")]
        writes = len(api.writes())
        await clock.sleep(3600)
        assert len(api.writes()) == writes
