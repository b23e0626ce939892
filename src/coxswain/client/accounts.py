"""Clients that act as service accounts, with tokens that they ask for and renew (controllers' own identities).

    clients = AccountClients(own, config)       # own may create accounts and tokens in kube-system
    clients("deployment-controller")            # a Client that acts as that account

What kube-controller-manager does with ``--use-service-account-credentials``: an account that is missing is made,
a token lives an hour and is replaced when four fifths of it have passed, and one that is refused before that (the
account was made anew, the key was exchanged) is replaced at once. All clients share one connection over gRPC;
each call goes out under its account's name. Nothing is asked for before the first call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol, TypeVar

from coxswain.api.errors import AlreadyExists, ApiError, NotFound, Unauthorized
from coxswain.api.names import SERVICE_ACCOUNTS, Object
from coxswain.base import clock
from coxswain.client.client import ApiClient
from coxswain.client.grpc import GrpcTransport
from coxswain.client.interface import Answer, Answers, Call, Client, RawList, Transport, WatchEvent
from coxswain.client.kubeconfig import Config

log = logging.getLogger(__name__)

NAMESPACE = "kube-system"
#: Seconds for which tokens are asked for; the share of it after which they are replaced; pause after a failure.
_LIFETIME, _SHARE, _AGAIN = 3600, 0.8, 10.0
T = TypeVar("T")


class TokenTransport(Transport, Protocol):
    """A transport whose bearer token can be exchanged."""

    def use_token(self, token: str) -> None:
        """Every request from here on carries ``token``."""
        ...


class AccountTransport:
    """A ``Transport`` that acts as ``account`` over ``inner``, with tokens that ``owner`` asks for."""

    def __init__(self, owner: Client, account: str, inner: TokenTransport) -> None:
        self._owner = owner
        self._account = account
        self._inner = inner
        self._renew_at = self._ends_at = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def call(self, call: Call) -> Answer:
        return await self._insist(lambda: self._inner.call(call), lambda answer: answer.code == 401)

    async def batch(self, calls: Sequence[Call]) -> Answers:
        # All were sent with the same token: when one was refused for it, so were the others.
        return await self._insist(
            lambda: self._inner.batch(calls), lambda answers: bool(answers) and answers[0].code == 401
        )

    async def list(self, call: Call) -> RawList:
        return await self._insist(lambda: self._inner.list(call), lambda _: False)

    @asynccontextmanager
    async def watch(self, call: Call) -> AsyncIterator[AsyncIterator[Sequence[WatchEvent]]]:
        await self._have_token()
        async with self._inner.watch(call) as events:
            yield events

    async def stream(self, call: Call) -> AsyncIterator[bytes]:
        return await self._insist(lambda: self._inner.stream(call), lambda _: False)

    async def close(self) -> None:
        await self._inner.close()

    async def _insist(self, ask: Callable[[], Awaitable[T]], refused: Callable[[T], bool]) -> T:
        await self._have_token()
        try:
            answer = await ask()
            if not refused(answer):
                return answer
        except Unauthorized:
            pass
        self._renew_at = self._ends_at = float("-inf")
        await self._have_token()
        return await ask()

    async def _have_token(self) -> None:
        if clock.monotonic() < self._renew_at:
            return
        async with self._one_at_a_time:
            if clock.monotonic() >= self._renew_at:
                await self._renew()

    async def _renew(self) -> None:
        try:
            status = (await self._ask_for_token())["status"]
        except ApiError as error:
            if clock.monotonic() >= self._ends_at:
                raise
            log.warning("no new token for %s: %s; the old one serves on", self._account, error)
            self._renew_at = min(clock.monotonic() + _AGAIN, self._ends_at)
            return
        seconds = clock.parse_time(status["expirationTimestamp"]) - clock.now()
        self._ends_at = clock.monotonic() + seconds
        self._renew_at = clock.monotonic() + seconds * _SHARE
        self._inner.use_token(status["token"])

    async def _ask_for_token(self) -> Object:
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": _LIFETIME},
        }
        name = self._account
        try:
            return await self._owner.create(
                SERVICE_ACCOUNTS, request, NAMESPACE, name=name, subresource="token"
            )
        except NotFound:
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
            try:
                await self._owner.create(SERVICE_ACCOUNTS, account, NAMESPACE)
            except AlreadyExists:
                pass
            return await self._owner.create(
                SERVICE_ACCOUNTS, request, NAMESPACE, name=name, subresource="token"
            )


class AccountClients:
    """A client for each account of kube-system that is asked for; the owner's connection is shared over gRPC."""

    def __init__(self, owner: ApiClient, config: Config) -> None:
        self._owner = owner
        #: Over REST a certificate would say who asks; over gRPC the token does, where there is one.
        self._config = replace(config, token="", token_file="", certificate=b"", key=b"")
        self._clients: dict[str, ApiClient] = {}

    def __call__(self, account: str) -> Client:
        if account not in self._clients:
            transport = AccountTransport(self._owner, account, self._inner())
            self._clients[account] = ApiClient(transport)
        return self._clients[account]

    def _inner(self) -> TokenTransport:
        if isinstance(self._owner.transport, GrpcTransport):
            return self._owner.transport.sibling()
        from coxswain.client.rest import RestTransport

        return RestTransport(self._config)

    async def close(self) -> None:
        """Close what the clients opened; the owner's connection stays."""
        for client in self._clients.values():
            await client.close()
