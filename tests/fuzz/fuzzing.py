"""A fuzzing run against an API server alone: what it answered, what it left behind."""

from __future__ import annotations

import asyncio
import random
import re
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from coxswain.api import codec
from coxswain.api.errors import ApiError
from coxswain.api.validation import validate_create
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from fuzz.odd_requests import OddRequests
from fuzz.wire_client import Heard, Unanswered, WireClient


@asynccontextmanager
async def api_server(data_dir: Path) -> AsyncIterator[ApiServer]:
    """An API server alone, in memory, on a free port."""
    config = ApiServerConfig(
        data_dir=data_dir,
        serving=ServingSettings(port=0),
        storage=StorageSettings(backend="memory"),
        disable_admission_plugins=("ServiceAccount",),
    )
    server = ApiServer(config)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def admin_tls(server: ApiServer) -> ssl.SSLContext:
    """TLS as the administrator."""
    assert server.pki is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    pair = server.pki.admin()
    context.load_cert_chain(pair.certificate_file, pair.key_file)
    return context


@dataclass(slots=True)
class Findings:
    """What a run showed."""

    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    #: Seconds of work of this process while the request was under way, however busy the machine is.
    slowest: float = 0.0
    slowest_label: str = ""


async def fuzz(server: ApiServer, *, seed: int, requests: int, workers: int = 4) -> Findings:
    """``requests`` odd requests over ``workers`` connections."""
    found, tls = Findings(), admin_tls(server)

    async def work(number: int) -> None:
        source = OddRequests(random.Random(f"{seed}/{number}"))
        client, before = WireClient(server.port, tls), ""
        for _ in range(requests // workers):
            wire = source.next()
            started = time.process_time()
            try:
                heard = await client.say(wire)
            except Unanswered as error:
                found.wrong.append(f"{error}: {wire.label}\n    after {before[:300]}")
                continue
            finally:
                elapsed = time.process_time() - started
                if elapsed > found.slowest:
                    found.slowest, found.slowest_label = elapsed, wire.label[:300]
            before = wire.label
            found.answers[heard.status] += 1
            if heard.status == 500:
                found.wrong.append(f"{heard.status} {heard.body[:300]!r}: {wire.label}")
            source.tokens += _continue_tokens(heard)
        await client.close()

    await asyncio.gather(*(work(number) for number in range(workers)))
    return found


def _continue_tokens(heard: Heard) -> list[str]:
    return [token.decode() for token in re.findall(rb'"continue":"([^"]+)"', heard.body)]


async def invalid_objects(server: ApiServer) -> list[str]:
    """What is wrong with what is stored: each object must decode strictly and be valid as a new one."""
    wrong = []
    for entry in server.pipeline.core.registry:
        if entry.cache is None or entry.custom or entry.conversion:  # judged in the version that is stored
            continue
        for item in entry.cache.scan(""):
            obj = orjson.loads(item.raw)
            where = f"{entry.gvr} {item.key}"
            try:
                codec.decode(orjson.dumps(obj), "application/json", entry.gvk, "Strict")
            except ApiError as error:
                wrong.append(f"{where} does not decode: {error}")
                continue
            # Updates may change generateName to anything: it is used, and judged, on creation only.
            obj["metadata"].pop("generateName", None)
            wrong += [f"{where}: {problem}" for problem in validate_create(obj, entry.gvk)]
    return wrong
