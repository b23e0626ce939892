"""Clients that act as service accounts: made where they are missing, with tokens that are renewed in time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from coxswain.api import errors
from coxswain.api.names import CONFIGMAPS, GVR, PODS, SERVICE_ACCOUNTS
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.base import clock
from coxswain.client.accounts import AccountClients, AccountTransport
from coxswain.client.client import ApiClient, create_call
from coxswain.client.connect import connect, settings_of
from coxswain.client.interface import Answer, Answers, Call

REVIEWS = GVR("authentication.k8s.io", "v1", "selfsubjectreviews")
NAME = "replicaset-controller"
USER = f"system:serviceaccount:kube-system:{NAME}"
SECRETLESS = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}}


async def _who(client: Any) -> str:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    return str((await client.create(REVIEWS, review))["status"]["userInfo"]["username"])


@pytest.mark.parametrize("wire", ["grpc", "rest"])
async def test_an_account_is_made_and_acts_under_its_own_name(tmp_path: Path, wire: Any) -> None:
    server = ApiServer(
        ApiServerConfig(
            data_dir=tmp_path,
            serving=ServingSettings(port=0, grpc_port=0),
            storage=StorageSettings(backend="memory"),
        )
    )
    await server.start()
    try:
        kubeconfig = tmp_path / "controller-manager.kubeconfig"
        async with await connect(kubeconfig, wire=wire) as own:
            accounts = AccountClients(own, settings_of(kubeconfig))
            robot = accounts(NAME)
            assert await _who(robot) == USER
            assert accounts(NAME) is robot
            assert await own.get(SERVICE_ACCOUNTS, NAME, "kube-system")
            assert await _who(own) == "system:kube-controller-manager"
            (refused,) = await robot.batch([create_call(CONFIGMAPS, SECRETLESS)])
            assert refused.code == 403
            assert (await robot.list(PODS)).items == []
            await accounts.close()
    finally:
        await server.stop()


class _Inner:
    """A server that knows some tokens."""

    def __init__(self) -> None:
        self.token = ""
        self.known: set[str] = set()
        self.closed = False

    def use_token(self, token: str) -> None:
        self.token = token

    async def call(self, call: Call) -> Answer:
        return Answer(200 if self.token in self.known else 401, b"{}")

    async def batch(self, calls: Sequence[Call]) -> Answers:
        return [await self.call(call) for call in calls]

    async def list(self, call: Call) -> Any:
        if self.token not in self.known:
            raise errors.Unauthorized()
        return self.token

    def watch(self, call: Call) -> Any:
        raise NotImplementedError

    async def stream(self, call: Call) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        self.closed = True


class _Owner(_Inner):
    """Hands out tokens t1, t2, ... that live for an hour."""

    def __init__(self, inner: _Inner) -> None:
        super().__init__()
        self.inner = inner
        self.given = 0
        self.broken = False

    async def call(self, call: Call) -> Answer:
        if self.broken:
            raise errors.ServiceUnavailable("away")
        self.given += 1
        await clock.sleep(0.01)
        token = f"t{self.given}"
        self.inner.known = {token}
        ends = clock.format_time(clock.now() + 3600)
        return Answer(201, orjson.dumps({"status": {"token": token, "expirationTimestamp": ends}}))


CALL = Call("get", PODS, "d", "a")


@pytest.mark.virtual
async def test_one_token_serves_many_and_is_replaced_before_it_ends() -> None:
    inner = _Inner()
    owner = _Owner(inner)
    transport = AccountTransport(ApiClient(owner), NAME, inner)
    await asyncio.gather(*(transport.call(CALL) for _ in range(5)))
    await clock.sleep(2700)
    await transport.batch([CALL])
    assert owner.given == 1
    await clock.sleep(300)
    assert (await transport.call(CALL)).code == 200
    assert owner.given == 2
    assert inner.token == "t2"


@pytest.mark.virtual
async def test_a_refused_token_is_replaced_and_the_call_repeated() -> None:
    inner = _Inner()
    owner = _Owner(inner)
    transport = AccountTransport(ApiClient(owner), NAME, inner)
    await transport.call(CALL)
    for number, ask in enumerate(
        (transport.call(CALL), transport.batch([CALL, CALL]), transport.list(CALL)), start=2
    ):
        inner.known = set()
        await ask
        assert inner.token == f"t{number}"


@pytest.mark.virtual
async def test_the_old_token_serves_on_while_no_new_one_can_be_had() -> None:
    inner = _Inner()
    owner = _Owner(inner)
    transport = AccountTransport(ApiClient(owner), NAME, inner)
    await transport.call(CALL)
    owner.broken = True
    await clock.sleep(3000)
    assert (await transport.call(CALL)).code == 200
    await clock.sleep(700)
    with pytest.raises(errors.ServiceUnavailable):
        await transport.call(CALL)
    owner.broken = False
    assert (await transport.call(CALL)).code == 200
