"""Volume attributes classes stay as long as a claim or a volume uses them."""

from __future__ import annotations

import pytest

from controllerbench import running
from coxswain.api.errors import Conflict
from coxswain.api.names import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from coxswain.base import clock
from coxswain.controllers.storageprotection.attributesclasses import (
    DESCRIPTOR,
    FINALIZER,
    VOLUME_ATTRIBUTES_CLASSES,
)
from fakeapi import FakeApi


@pytest.mark.virtual
async def test_a_class_in_use_goes_with_its_last_user() -> None:
    api = FakeApi()
    api.add(VOLUME_ATTRIBUTES_CLASSES, {"metadata": {"name": "gold"}, "driverName": "x"})
    status = {"modifyVolumeStatus": {"targetVolumeAttributesClassName": "gold"}}
    claim = {"metadata": {"name": "c", "namespace": "d"}, "spec": {}, "status": status}
    api.add(PERSISTENT_VOLUME_CLAIMS, claim)
    api.add(PERSISTENT_VOLUMES, {"metadata": {"name": "v"}, "spec": {"volumeAttributesClassName": "gold"}})
    async with running(api, DESCRIPTOR):
        await clock.sleep(5)
        assert api.object(VOLUME_ATTRIBUTES_CLASSES, "gold")["metadata"]["finalizers"] == [FINALIZER]
        await api.client().delete(VOLUME_ATTRIBUTES_CLASSES, "gold")
        api.remove(PERSISTENT_VOLUMES, "v")
        await clock.sleep(5)
        assert api.exists(VOLUME_ATTRIBUTES_CLASSES, "gold")
        writes = len(api.writes())
        await clock.sleep(600)
        assert len(api.writes()) == writes
        api.fail("update", VOLUME_ATTRIBUTES_CLASSES, Conflict)
        api.lose_answer("update", VOLUME_ATTRIBUTES_CLASSES)
        api.change(PERSISTENT_VOLUME_CLAIMS, "c", "d", lambda c: c.update(status={}))
        await clock.sleep(5)
        assert not api.exists(VOLUME_ATTRIBUTES_CLASSES, "gold")


@pytest.mark.virtual
async def test_a_user_that_the_informer_missed_keeps_its_class() -> None:
    api = FakeApi()
    api.add(VOLUME_ATTRIBUTES_CLASSES, {"metadata": {"name": "gold", "finalizers": [FINALIZER]}})
    async with running(api, DESCRIPTOR):
        api.add(
            PERSISTENT_VOLUMES, {"metadata": {"name": "v"}, "spec": {"volumeAttributesClassName": "gold"}}
        )
        await api.client().delete(VOLUME_ATTRIBUTES_CLASSES, "gold")
        await clock.sleep(5)
        assert api.exists(VOLUME_ATTRIBUTES_CLASSES, "gold")
