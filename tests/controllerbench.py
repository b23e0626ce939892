"""Runs a controller against a ``FakeApi``: ``async with running(api, DESCRIPTOR): ...``"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.events import EventRecorder
from coxswain.client.informer import InformerFactory
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from fakeapi import FakeApi


@asynccontextmanager
async def running(api: FakeApi, *descriptors: Descriptor, **options: Any) -> AsyncIterator[None]:
    """The controllers, with informers of their own, for as long as the block lasts; virtual time only."""
    client = api.client()
    informers = InformerFactory(client)
    recorders: dict[str, EventRecorder] = {}

    def recorder(component: str) -> EventRecorder:
        return recorders.setdefault(component, EventRecorder(client, component))

    context = ControllerContext(client, informers, recorder, options=options)
    tasks = [asyncio.ensure_future(descriptor.run(context)) for descriptor in descriptors]
    await clock.sleep(0.01)
    try:
        yield
    finally:
        failed = [task for task in tasks if task.done()]
        for task in tasks:
            await cancel_and_wait(task)
        await informers.stop()
        for one in recorders.values():
            await one.close()
        for task in failed:
            task.result()
