"""Plugins of a user's that do not work: at the start the file says which, later the pods do."""

from __future__ import annotations

import asyncio
import importlib.metadata
from typing import Any

import pytest

from coxswain.api.names import NODES, PODS
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError
from coxswain.base.tasks import cancel_and_wait
from coxswain.scheduler import Scheduler, SchedulerConfig
from coxswain.scheduler.configuration import API_VERSION, KIND, Configuration, parse
from coxswain.scheduler.framework import Rejection
from coxswain.scheduler.nodetable import Node
from coxswain.scheduler.profiles import build_all
from coxswain.scheduler.template import Template
from fakeapi import FakeApi
from scheduler.sched_objects import node, pod


class Raises:
    NAME = "Raises"

    def filter_node(self, template: Template, node: Node) -> Rejection | None:
        raise RuntimeError("boom")


def _file() -> Configuration:
    profiles = [{"plugins": {"multiPoint": {"enabled": [{"name": "Raises"}]}}}]
    return parse({"apiVersion": API_VERSION, "kind": KIND, "profiles": profiles})


def _install(monkeypatch: pytest.MonkeyPatch, made: Any) -> None:
    class Found:
        value = "package:Raises"

        def load(self) -> Any:
            if isinstance(made, ImportError):
                raise made
            return made

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group, name: [Found()])


def _fails(args: dict[str, Any]) -> Any:
    return args["nothing"]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (ImportError("no module"), "ImportError: no module"),
        (_fails, "KeyError: 'nothing'"),
        (5, "TypeError: 'int' object is not callable"),
    ],
)
def test_a_plugin_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch, made: Any, said: str) -> None:
    _install(monkeypatch, made)
    with pytest.raises(ConfigurationError) as raised:
        build_all(_file())
    assert (
        "profiles[0].plugins.multiPoint.enabled[0].name: plugin 'Raises' cannot be made by package:Raises"
        in str(raised.value)
    )
    assert said in str(raised.value)


@pytest.mark.virtual
async def test_a_pod_is_told_of_the_plugin_that_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, lambda args: Raises())
    api = FakeApi()
    api.add(NODES, node("n0"))
    api.add(PODS, pod("p"))
    task = asyncio.ensure_future(Scheduler(api.client(), SchedulerConfig(file=_file())).run())
    try:
        await clock.sleep(5)
    finally:
        await cancel_and_wait(task)
    (condition,) = api.object(PODS, "p", "d")["status"]["conditions"]
    assert (condition["reason"], condition["message"]) == ("SchedulerError", "RuntimeError: boom")
