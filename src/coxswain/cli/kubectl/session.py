"""A verb's connection to a cluster: which kubeconfig, which namespace, requests and their failures.

run(args, main) opens a session, awaits ``main(session)`` and closes everything; what goes wrong is shown as
kubectl shows it, and becomes the exit code 1.

The kubeconfig is that of ``--kubeconfig``, else of $KUBECONFIG, else that of the cluster that ``cox up``
made, else ``~/.kube/config``, else the service account of the pod that we run in.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson

from coxswain.api.errors import ApiError, ServiceUnavailable
from coxswain.api.names import GVR, Object
from coxswain.base.errors import ConfigurationError, CoxswainError
from coxswain.cli.kubectl.failures import ServerRefused, show
from coxswain.client import kubeconfig
from coxswain.client.interface import JSON, Answer, Call, Verb, WatchStream
from coxswain.client.rest import RestTransport

_T = TypeVar("_T")
#: What list and get ask for to be printed as a table.
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def run(args: argparse.Namespace, main: Callable[[Session], Awaitable[int]]) -> int:
    """The exit code of ``main``, or 1 with its error on standard error."""
    try:
        return asyncio.run(_with_session(args, main))
    except CoxswainError as error:
        sys.stdout.flush()
        show([error])
        return 1


async def _with_session(args: argparse.Namespace, main: Callable[[Session], Awaitable[int]]) -> int:
    session = Session(args)
    try:
        return await main(session)
    finally:
        await session.close()


def find_config(path: str, context: str) -> kubeconfig.Config:
    """The configuration to use; ``path`` and ``context`` may be empty. Raises ``ConfigurationError``."""
    from coxswain.cli.place import default_data_dir

    if path:
        return kubeconfig.load(path, context)
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    usual = [default_data_dir() / "kubeconfig", Path("~/.kube/config").expanduser()]
    for candidate in named or usual:
        if candidate.exists():
            return kubeconfig.load(candidate, context)
    if named:
        return kubeconfig.load(named[0], context)  # its error names the file
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return kubeconfig.in_cluster()
    raise ConfigurationError(
        f"no cluster is known here: neither {usual[0]} nor {usual[1]} exists; "
        "start one with 'cox up', or name a kubeconfig with --kubeconfig"
    )


class Session:
    """Requests of one verb. ``namespace`` is where objects without one belong."""

    def __init__(self, args: argparse.Namespace) -> None:
        config = find_config(args.kubeconfig, args.context)
        self.server = config.server
        #: -n was given: objects of other namespaces are refused.
        self.namespace_given = bool(args.namespace)
        self.namespace: str = args.namespace or config.namespace
        self.transport = RestTransport(config)
        self._warned: set[str] = set()
        self.transport.on_warning = self._warn

    async def close(self) -> None:
        """Close the connections."""
        await self.transport.close()

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            sys.stderr.write(f"Warning: {text}\n")

    # ---- requests; all raise ApiError

    async def request(
        self,
        verb: Verb,
        resource: GVR,
        namespace: str = "",
        name: str = "",
        *,
        subresource: str = "",
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Object:
        """One request; the object in the answer. ``body`` is encoded here."""
        data = b"" if body is None else orjson.dumps(body)
        call = Call(verb, resource, namespace, name, subresource, query or {}, data, content_type, accept)
        return (await self._reach(self.transport.call(call))).object()

    async def path(self, path: str, accept: str = JSON) -> Answer:
        """What the server has at a path that is no resource's."""
        return await self._reach(self.transport.get_path(path, accept))

    def watch(
        self, resource: GVR, namespace: str, query: Mapping[str, str], accept: str = JSON
    ) -> WatchStream:
        """Events as they come."""
        return self.transport.watch(Call("watch", resource, namespace, query=query, accept=accept))

    async def stream(
        self, resource: GVR, namespace: str, name: str, subresource: str, query: Mapping[str, str]
    ) -> AsyncIterator[bytes]:
        """A long answer as it arrives."""
        call = Call("get", resource, namespace, name, subresource, query=query, accept="*/*")
        return await self._reach(self.transport.stream(call))

    async def find(self, resource: GVR, namespace: str, name: str) -> Object | None:
        """The object, or None when there is none."""
        try:
            return await self.request("get", resource, namespace, name)
        except ApiError as error:
            if error.reason == "NotFound":
                return None
            raise

    async def _reach(self, answer: Awaitable[_T]) -> _T:
        try:
            return await answer
        except ServiceUnavailable as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: ServiceUnavailable) -> Exception:
        cause = error.__cause__
        if cause is None:
            return error
        host = self.server.partition("://")[2]
        if isinstance(getattr(cause, "os_error", cause), ConnectionRefusedError):
            return ServerRefused(
                f"The connection to the server {host} was refused - is a cluster running? "
                "start one with 'cox up'"
            )
        return ServerRefused(f"Unable to connect to the server: {error.message}")
