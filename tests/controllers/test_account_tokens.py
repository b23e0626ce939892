"""Token secrets of service accounts: filled in, deleted with their account, invalidated when nobody uses them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controllerbench import running
from coxswain.api import meta
from coxswain.api.errors import Conflict, InternalError, NotFound
from coxswain.api.names import CONFIGMAPS, PODS, SECRETS, SERVICE_ACCOUNTS, Object
from coxswain.base import clock
from coxswain.controllers.accounttokens import cleaner, controller
from coxswain.controllers.accounttokens.decide import ACCOUNT, ACCOUNT_UID, SECRET_TYPE
from fakeapi import FakeApi

KEY = ec.generate_private_key(ec.SECP256R1())
DAY = 86400.0


def options(directory: Path) -> dict[str, Any]:
    file = directory / "sa.key"
    file.write_bytes(
        KEY.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return {"service_account_private_key_file": str(file), "root_ca": "PEM"}


def secret(name: str = "t", **metadata: Any) -> Object:
    meta_ = {"name": name, "namespace": "d", "annotations": {ACCOUNT: "robot"}, **metadata}
    return {"metadata": meta_, "type": SECRET_TYPE}


def world(**account: Any) -> FakeApi:
    api = FakeApi()
    api.add(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": "d"}, **account})
    return api


@pytest.mark.virtual
async def test_a_token_secret_is_filled_in_once(tmp_path: Path) -> None:
    api = world()
    api.add(SECRETS, secret())
    api.fail("update", SECRETS, Conflict)
    api.lose_answer("update", SECRETS)
    async with running(api, controller.DESCRIPTOR, **options(tmp_path)):
        await clock.sleep(10)
        found = api.object(SECRETS, "t", "d")
        data = {name: base64.b64decode(value).decode() for name, value in found["data"].items()}
        assert (data["ca.crt"], data["namespace"]) == ("PEM", "d")
        account = api.object(SERVICE_ACCOUNTS, "robot", "d")
        claims = jwt.decode(
            data["token"], KEY.public_key(), algorithms=["ES256"], issuer="kubernetes/serviceaccount"
        )
        assert claims["sub"] == "system:serviceaccount:d:robot"
        assert claims["kubernetes.io/serviceaccount/service-account.uid"] == meta.uid(account)
        assert claims["kubernetes.io/serviceaccount/secret.name"] == "t"
        assert meta.annotations(found)[ACCOUNT_UID] == meta.uid(account)
        writes = len(api.writes())
        await clock.sleep(500)
        assert len(api.writes()) == writes


@pytest.mark.virtual
async def test_secrets_go_with_their_account(tmp_path: Path) -> None:
    api = world()
    api.add(SECRETS, secret())
    api.add(SECRETS, secret("late", annotations={ACCOUNT: "robot", ACCOUNT_UID: "another"}))
    api.add(SECRETS, {**secret("opaque"), "type": "Opaque"})
    api.fail("delete", SECRETS, InternalError)
    async with running(api, controller.DESCRIPTOR, **options(tmp_path)):
        await clock.sleep(10)
        assert not api.exists(SECRETS, "late", "d")
        api.remove(SERVICE_ACCOUNTS, "robot", "d")
        await clock.sleep(10)
        assert [meta.name(one) for one in api.objects(SECRETS)] == ["opaque"]


@pytest.mark.virtual
async def test_an_account_that_only_the_cache_lacks_keeps_its_secret(tmp_path: Path) -> None:
    api = FakeApi()
    api.fail("list", SERVICE_ACCOUNTS, NotFound)
    api.add(SECRETS, secret())
    async with running(api, controller.DESCRIPTOR, **options(tmp_path)):
        api.add(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": "d"}})
        await clock.sleep(10)
        assert "token" in api.object(SECRETS, "t", "d")["data"]


# --- cleaning ----------------------------------------------------------------------------------------------


def day(offset: float) -> str:
    return clock.format_time(clock.now() + offset * DAY).partition("T")[0]


@pytest.mark.virtual
async def test_forgotten_tokens_are_invalidated_and_a_year_later_deleted() -> None:
    old = {"creationTimestamp": clock.format_time(clock.now() - 800 * DAY)}
    api = world(secrets=[{"name": name} for name in ("t", "mounted", "used", "young")])
    api.add(SECRETS, secret(**old))
    api.add(SECRETS, secret("mounted", **old))
    api.add(SECRETS, secret("used", labels={cleaner.LAST_USED: day(-10)}, **old))
    api.add(SECRETS, secret("manual", **old))
    api.add(SECRETS, secret("young"))
    volumes = [{"secret": {"secretName": "mounted"}}]
    api.add(PODS, {"metadata": {"name": "p", "namespace": "d"}, "spec": {"volumes": volumes}})
    tracking = {"name": cleaner.TRACKING, "namespace": "kube-system"}
    api.add(CONFIGMAPS, {"metadata": tracking, "data": {"since": day(-100)}})
    api.fail("patch", SECRETS, Conflict)
    async with running(api, cleaner.DESCRIPTOR):
        await clock.sleep(10 * DAY)
        assert api.writes() == []
        await clock.sleep(300 * DAY)
        marked = [meta.name(one) for one in api.objects(SECRETS) if cleaner.INVALID_SINCE in meta.labels(one)]
        assert marked == ["t"]
        await clock.sleep(370 * DAY)
        assert not api.exists(SECRETS, "t", "d")
        assert api.exists(SECRETS, "mounted", "d")
        assert api.exists(SECRETS, "manual", "d")


@pytest.mark.virtual
async def test_without_tracking_nothing_is_touched() -> None:
    api = world(secrets=[{"name": "t"}])
    api.add(SECRETS, secret(creationTimestamp=clock.format_time(clock.now() - 800 * DAY)))
    async with running(api, cleaner.DESCRIPTOR):
        await clock.sleep(3 * DAY)
    assert api.writes() == []
