"""Every active namespace has its default account and the cluster's certificate."""

from __future__ import annotations

import pytest

from controllerbench import running
from coxswain.api import errors
from coxswain.api.names import CONFIGMAPS, NAMESPACES, SERVICE_ACCOUNTS
from coxswain.base import clock
from coxswain.controllers import rootca, serviceaccount
from fakeapi import FakeApi


@pytest.mark.virtual
async def test_each_namespace_gets_an_account_and_gets_it_again() -> None:
    api = FakeApi()
    api.add(NAMESPACES, {"metadata": {"name": "old"}})
    async with running(api, serviceaccount.DESCRIPTOR):
        api.add(NAMESPACES, {"metadata": {"name": "new"}})
        await clock.sleep(1)
        assert api.exists(SERVICE_ACCOUNTS, "default", "old")
        assert api.exists(SERVICE_ACCOUNTS, "default", "new")
        api.remove(SERVICE_ACCOUNTS, "default", "old")
        await clock.sleep(1)
        assert api.exists(SERVICE_ACCOUNTS, "default", "old")
        writes = len(api.writes())
        await clock.sleep(600)
        assert len(api.writes()) == writes == 3


@pytest.mark.virtual
async def test_a_terminating_namespace_is_not_filled_again() -> None:
    api = FakeApi()
    api.add(NAMESPACES, {"metadata": {"name": "d"}})
    async with running(api, serviceaccount.DESCRIPTOR, rootca.DESCRIPTOR, root_ca="PEM"):
        await clock.sleep(1)
        await api.client().delete(NAMESPACES, "d")
        api.remove(SERVICE_ACCOUNTS, "default", "d")
        api.remove(CONFIGMAPS, rootca.NAME, "d")
        await clock.sleep(60)
        assert not api.exists(SERVICE_ACCOUNTS, "default", "d")
        assert not api.exists(CONFIGMAPS, rootca.NAME, "d")


@pytest.mark.virtual
async def test_failures_are_retried() -> None:
    api = FakeApi()
    api.add(NAMESPACES, {"metadata": {"name": "d"}})
    api.fail("create", None, errors.InternalError, times=3)
    api.lose_answer("create", None, times=2)
    async with running(api, serviceaccount.DESCRIPTOR, rootca.DESCRIPTOR, root_ca="PEM"):
        await clock.sleep(10)
    assert api.exists(SERVICE_ACCOUNTS, "default", "d")
    assert api.object(CONFIGMAPS, rootca.NAME, "d")["data"] == {"ca.crt": "PEM"}


@pytest.mark.virtual
async def test_the_certificate_is_put_right_again() -> None:
    api = FakeApi()
    api.add(NAMESPACES, {"metadata": {"name": "d"}})
    source = {"name": "extension-apiserver-authentication", "namespace": "kube-system"}
    api.add(CONFIGMAPS, {"metadata": source, "data": {"client-ca-file": "FROM THE CLUSTER"}})
    async with running(api, rootca.DESCRIPTOR):
        await clock.sleep(1)
        api.change(CONFIGMAPS, rootca.NAME, "d", lambda obj: obj["data"].update(extra="x"))
        await clock.sleep(1)
        assert api.object(CONFIGMAPS, rootca.NAME, "d")["data"] == {"ca.crt": "FROM THE CLUSTER"}
        assert len(api.writes()) == 2
