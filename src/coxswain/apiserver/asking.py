"""Asking servers outside, for authentication and authorization: webhooks and providers of keys.

    Peer(config).post(review) -> review           one HTTPS server, by a kubeconfig's terms
    Remembered(...)                               answers with an end, and one question at a time for each key

The library is imported with the first question: most servers never ask any.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

from coxswain.api.names import Object
from coxswain.apiserver.pending import Pending
from coxswain.base import clock
from coxswain.base.errors import ResourceUnavailable
from coxswain.client import kubeconfig
from coxswain.client.rest import tls_context

if TYPE_CHECKING:
    import aiohttp

Answer = TypeVar("Answer")

#: An answer is remembered at least this long (seconds): the request that asked has to find it.
AT_LEAST = 1.0
MAX_BYTES = 4 << 20


class Peer:
    """An HTTPS server. ``close`` at the end."""

    def __init__(self, config: kubeconfig.Config, *, timeout: float = 30.0) -> None:
        self._config = config
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, path: Path, *, timeout: float = 30.0) -> Peer:
        """The server of a kubeconfig file, whose cluster may have a path. Raises ``ConfigurationError``."""
        config = kubeconfig.load(path)
        _tls(config)  # what cannot work is told at the start
        return cls(config, timeout=timeout)

    async def post(self, body: Object) -> Object:
        """The JSON object that answers ``body``. Raises ``ResourceUnavailable``."""
        return _object(await self._ask("POST", self._config.server, orjson.dumps(body)), self._config.server)

    async def send(self, body: bytes) -> None:
        """POST JSON; only that it was taken matters. Raises ``ResourceUnavailable``."""
        await self._ask("POST", self._config.server, body)

    async def get(self, url: str) -> Object:
        """The JSON object at ``url``. Raises ``ResourceUnavailable``."""
        return _object(await self._ask("GET", url, None), url)

    async def _ask(self, method: str, url: str, body: bytes | None) -> bytes:
        import aiohttp

        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        said = self._config.authorization(self._token())
        if said:
            headers["Authorization"] = said
        try:
            async with self._open().request(
                method,
                url,
                data=body,
                headers=[*headers.items(), *self._config.impersonation],
                server_hostname=self._config.server_name or None,
                allow_redirects=False,
            ) as answer:
                if answer.status >= 300:
                    raise ResourceUnavailable(f"{url} answered {answer.status}")
                data = await answer.content.read(MAX_BYTES + 1)
                while len(data) <= MAX_BYTES and (more := await answer.content.read(MAX_BYTES)):
                    data += more
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # The error's text may carry what was sent: its kind is enough.
            raise ResourceUnavailable(f"{url} does not answer: {type(error).__name__}") from None
        return data

    def _token(self) -> str:
        if self._config.token_file:
            try:
                return Path(self._config.token_file).read_text().strip()
            except OSError as error:
                raise ResourceUnavailable(f"token file {self._config.token_file}: {error.strerror}") from None
        return self._config.token

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=_tls(self._config), limit=32)
            timeout = aiohttp.ClientTimeout(total=self._timeout)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._session

    async def close(self) -> None:
        """Close connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _object(data: bytes, url: str) -> Object:
    if len(data) > MAX_BYTES:
        raise ResourceUnavailable(f"{url} answered with more than {MAX_BYTES} bytes")
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise ResourceUnavailable(f"{url} did not answer with a JSON object")
    return found


def _tls(config: kubeconfig.Config) -> ssl.SSLContext | bool:
    return True if config.server.startswith("http://") else tls_context(config)


class Remembered(Generic[Answer]):
    """Answers by key, each until its end. Bounded: when full, everything is forgotten."""

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._answers: dict[Hashable, tuple[float, Answer]] = {}
        self._asking: dict[Hashable, asyncio.Task[None]] = {}

    def get(self, key: Hashable) -> Answer | None:
        """The answer, if there is one that still counts."""
        found = self._answers.get(key)
        if found is None:
            return None
        if clock.monotonic() >= found[0]:
            del self._answers[key]
            return None
        return found[1]

    def put(self, key: Hashable, answer: Answer, seconds: float) -> None:
        """Remember ``answer`` for so long."""
        if len(self._answers) >= self._size:
            self._answers.clear()
        self._answers[key] = clock.monotonic() + max(seconds, AT_LEAST), answer

    def wait_for(self, key: Hashable, ask: Callable[[], Awaitable[tuple[Answer, float]]]) -> Pending:
        """What to raise while the answer is not there. ``ask`` gives it and how many seconds it counts.

        However many wait for one key, it is asked for once at a time.
        """

        async def answer() -> None:
            task = self._asking.get(key)
            if task is None:
                task = asyncio.get_running_loop().create_task(self._fill(key, ask))
                self._asking[key] = task
                task.add_done_callback(lambda _: self._asking.pop(key, None))
            await asyncio.shield(task)

        return Pending(answer)

    async def _fill(self, key: Hashable, ask: Callable[[], Awaitable[tuple[Any, float]]]) -> None:
        found, seconds = await ask()
        self.put(key, found, seconds)
