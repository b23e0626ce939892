"""Conversion by webhook: asked ahead of time, remembered, and then as quick as any other conversion.

    remote.ready(raws)        stored objects, so that they can be shown          (lists: one question for all)
    remote.settle(obj)        a new object, so that it can be stored and shown
    converter.converted()     what was asked for; where nobody did, ``ConversionPending``

A conversion depends on nothing but the object, so what a webhook made of one is kept by its content. Where the pipeline meets
an object that nobody asked for, it waits for ``ConversionPending`` and does the request again from the start.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import orjson

from coxswain.api import errors
from coxswain.api.names import Object
from coxswain.apiserver.admission.webhooks.client import Caller, failed, target_of
from coxswain.apiserver.admission.webhooks.conditions import Conditions
from coxswain.apiserver.admission.webhooks.hooks import Hook
from coxswain.apiserver.admission.webhooks.review import CallFailedError
from coxswain.apiserver.conversion import ConversionPending, Narrow
from coxswain.apiserver.customresources.reviews import (
    ConversionFailedError,
    converted,
    review,
    review_version,
    shown_kind,
)
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.watchcache import ResourceCache
from coxswain.apiserver.watchers import Delivery, Watcher

_TIMEOUT: Final = 30.0
#: How many conversions are remembered; those of one list always are.
_REMEMBERED: Final = 8192
#: How many objects go into one question.
_BATCH: Final = 500
_MAX_WAITING: Final = 65536


class Converter:
    """Asks the webhook of one definition."""

    def __init__(
        self, definition: Object, lookup: Lookup, caller: Caller, new_uid: Callable[[], str]
    ) -> None:
        webhook = (definition["spec"].get("conversion") or {}).get("webhook") or {}
        self._reviews = tuple(webhook.get("conversionReviewVersions") or ())
        self._hook = _hook(definition["metadata"]["name"], webhook.get("clientConfig") or {})
        self._lookup = lookup
        self._caller = caller
        self._new_uid = new_uid
        self._known: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()

    def converted(self, obj: Object, api_version: str) -> Object:
        """The object in a version; a new object. Raises ``ConversionPending``."""
        if obj.get("apiVersion") == api_version:
            return obj
        if not (obj.get("metadata") or {}).get("name"):
            return {**obj, "apiVersion": api_version}  # a bookmark: there is nothing to convert
        found = self._known.get((api_version, _content(obj)))
        if found is None:
            raise ConversionPending(lambda: self.prepare([obj], api_version))
        made: Object = orjson.loads(found)
        return made

    async def prepare(self, objects: Iterable[Object], api_version: str) -> None:
        """Have the webhook convert what it has not. Raises ``ApiError``."""
        wanted: dict[bytes, Object] = {}
        for obj in objects:
            if obj.get("apiVersion") != api_version and (obj.get("metadata") or {}).get("name"):
                key = _content(obj)
                if (api_version, key) in self._known:
                    self._known.move_to_end((api_version, key))
                else:
                    wanted[key] = obj
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        keys = list(wanted)
        for start in range(0, len(keys), _BATCH):
            part = keys[start : start + _BATCH]
            made = await self._ask([wanted[key] for key in part], api_version)
            for key, obj in zip(part, made, strict=True):
                self._known[api_version, key] = orjson.dumps(obj)

    async def _ask(self, objects: list[Object], api_version: str) -> list[Object]:
        try:
            version = review_version(self._reviews)
            uid = self._new_uid()
            body = await self._call(review(version, uid, api_version, objects), shown_kind(objects[0]))
            return converted(body, version, uid, api_version, objects)
        except ConversionFailedError as error:
            raise errors.ApiError(str(error)) from None

    async def _call(self, body: bytes, kind: str) -> bytes:
        try:
            target = target_of(self._hook, self._lookup)
            try:
                async with asyncio.timeout(_TIMEOUT):
                    return await self._caller(target, body)
            except TimeoutError:
                raise failed(target, "context deadline exceeded") from None
        except CallFailedError as error:
            why = str(error).removeprefix("failed to call webhook: ")
            raise ConversionFailedError(f"conversion webhook for {kind} failed: {why}") from None


def _content(obj: Object) -> bytes:
    return orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)


def _hook(name: str, client: Object) -> Hook:
    """The webhook in the form in which those of admission are reached."""
    raw = str(client.get("caBundle") or "")
    try:
        blank = not base64.b64decode(raw).strip()
    except (binascii.Error, ValueError):
        blank = False
    return Hook(
        name=f"conversion_webhook_for_{name}",
        configuration=name,
        position=0,
        rules=(),
        equivalent=False,
        namespaces=None,
        objects=None,
        conditions=Conditions((), fails_open=False),
        fails_open=False,
        side_effects="None",
        timeout=_TIMEOUT,
        reviews=(),
        reinvoked=False,
        client={**client, "caBundle": "" if blank else raw},
    )


class RemoteConversion:
    """The conversion of one served version, for the paths that can wait (``conversion.Remote``)."""

    def __init__(self, converter: Converter, storage_version: str, version: str) -> None:
        """Both versions as apiVersions."""
        self._converter = converter
        self._storage_version = storage_version
        self._version = version

    async def ready(self, raws: Sequence[bytes]) -> None:
        """Convert stored objects, so that they can be shown. Raises ``ApiError``."""
        await self._converter.prepare(map(orjson.loads, raws), self._version)

    async def settle(self, obj: Object) -> None:
        """Convert a new object to what is stored, and back to what is shown. Raises ``ApiError``."""
        await self._converter.prepare([obj], self._storage_version)
        stored = self._converter.converted(obj, self._storage_version)
        await self._converter.prepare([stored], self._version)

    def relay(
        self, source: Watcher, target: Watcher, cache: ResourceCache, narrow: Narrow | None = None
    ) -> Callable[[], None]:
        """Pass on what ``source`` is told, and ``narrow`` leaves, once it can be shown; call the result to stop."""
        work = self._relay(source, target, narrow)
        task = asyncio.get_running_loop().create_task(work, name="convert a watch")

        def stop() -> None:
            task.cancel()
            cache.unsubscribe(source)

        return stop

    async def _relay(self, source: Watcher, target: Watcher, narrow: Narrow | None) -> None:
        wake = asyncio.Event()
        source.on_ready = wake.set
        while not target.ended:
            wake.clear()
            deliveries = source.drain()
            if deliveries:
                if len(target.queue) > _MAX_WAITING:
                    target.end(f"the watcher fell more than {_MAX_WAITING} events behind")
                    return
                try:
                    if narrow is not None:
                        deliveries = await narrow(deliveries)
                    await self.ready([_raw(each) for each in deliveries if each.type in _OBJECTS])
                except errors.ApiError as error:
                    target.send("ERROR", orjson.dumps(error.status()))
                    target.end()
                    return
                target.preload(deliveries)
            elif source.ended:
                target.end(source.failure)
                return
            else:
                await wake.wait()


_OBJECTS: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})


def _raw(delivery: Delivery) -> bytes:
    return delivery.event.raw(delivery.type) if delivery.event is not None else delivery.raw
