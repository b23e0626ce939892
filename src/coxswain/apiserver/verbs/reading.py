"""GET of one object and of lists, from the watch cache.

resourceVersion ""      as new as any write that was answered before the request came
"0"                     whatever the cache has
N                       at least N (the cache waits for it, at most three seconds); with
                        resourceVersionMatch=Exact exactly N, from the store if need be
continue=...            the next chunk of the list at the revision of its first chunk: from the cache
                        while nothing of the resource has changed since, from the store after that
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from coxswain.api import errors
from coxswain.api.fields import Errors, forbidden, invalid, not_supported
from coxswain.api.names import Object
from coxswain.apiserver.converted_fields import converted_fields
from coxswain.apiserver.options import number
from coxswain.apiserver.registry import Entry
from coxswain.apiserver.representation import list_reply, object_reply
from coxswain.apiserver.request import Context, Core, Reply
from coxswain.apiserver.selecting import scope_of
from coxswain.apiserver.verbs.writing import served
from coxswain.apiserver.watchcache import Item, ResourceCache
from coxswain.apiserver.watchers import Scope
from coxswain.client.interface import RawList
from coxswain.store.interface import Compacted

#: Seconds that a request waits for a revision which the cache has not seen yet.
_FRESHNESS_TIMEOUT = 3.0

_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
    "the results. Continuing with the provided token results in an inconsistent list - objects that were "
    "created, modified, or deleted between the time the first chunk was returned and now may show up in the "
    "list."
)


async def get(core: Core, ctx: Context) -> Reply:
    """One object."""
    await reach(core, ctx.query.get("resourceVersion") or "")
    return cached(ctx)


def cached(ctx: Context) -> Reply:
    """One object, as the cache has it now."""
    entry = ctx.entry
    assert entry.cache is not None
    item = entry.cache.get(ctx.namespace, ctx.name)
    if item is None:
        raise errors.not_found(entry.gvr, ctx.name)
    return object_reply(ctx, 200, served(entry, item.raw))


async def reach(core: Core, version: str) -> int:
    """Wait until the cache may answer for ``version``; that version as a number (0 for any or newest)."""
    if not version:
        await core.storage.catch_up()
        return 0
    revision = parse_revision(version)
    if revision > core.storage.revision:
        try:
            await core.storage.wait_for(revision, _FRESHNESS_TIMEOUT)
        except TimeoutError:
            raise too_large(revision, core.storage.revision) from None
    return revision


def parse_revision(text: str) -> int:
    """A resourceVersion parameter as a number. Raises ``Invalid``."""
    if text.isascii() and text.isdigit() and len(text) <= 20:
        return int(text)
    problem = invalid("resourceVersion", text, f'strconv.ParseUint: parsing "{text}": invalid syntax')
    raise errors.invalid("", "ListOptions", "", [problem])


def too_large(revision: int, current: int) -> errors.Timeout:
    """The answer when a revision from the future does not come in time."""
    message = f"Too large resource version: {revision}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return errors.Timeout(message, details={"causes": [cause]}, retry_after=1)


# -- lists


@dataclass(slots=True)
class Selection:
    """What a list found. ``remaining`` is None where it is not known (a selector narrows the list)."""

    items: list[Item]
    revision: int
    continue_: str = ""
    remaining: int | None = None


async def list_objects(core: Core, ctx: Context) -> Reply:
    """A list, whole or in chunks."""
    found = await find(core, ctx)
    await _ready(ctx.entry, found.items)
    return list_reply(ctx, found.items, found.revision, found.continue_, found.remaining)


async def list_raw(core: Core, ctx: Context) -> RawList:
    """The same as bytes of whole objects, for transports of our own."""
    found = await find(core, ctx)
    await _ready(ctx.entry, found.items)
    raws = [served(ctx.entry, item.raw) for item in found.items]
    return RawList(raws, str(found.revision), found.continue_, found.remaining or 0)


async def _ready(entry: Entry, items: list[Item]) -> None:
    """Have a webhook convert the items of a list at one time, where versions are converted by one."""
    if entry.conversion is not None and entry.conversion.remote is not None:
        await entry.conversion.remote.ready([item.raw for item in items])


async def find(core: Core, ctx: Context) -> Selection:
    """What a list request selects. Raises ``ApiError``."""
    scope = scope_of(ctx.entry.selectable, ctx.entry.namespaced, ctx.namespace, ctx.name, ctx.query)
    judge = converted_fields(ctx.entry, scope)
    if judge is None:
        return await _find(core, ctx, ctx.query, scope)
    # What cannot be judged before it was converted comes whole, as servers may answer who asks for chunks.
    query = {key: value for key, value in ctx.query.items() if key not in ("limit", "continue")}
    found = await _find(core, ctx, query, judge.stored)
    return Selection(await judge.select(found.items), found.revision)


async def _find(core: Core, ctx: Context, query: Mapping[str, str], scope: Scope) -> Selection:
    entry = ctx.entry
    if not query:
        await core.storage.catch_up()
        assert entry.cache is not None
        return Selection(list(select(entry.cache, scope)), core.storage.revision)
    _check_list_options(query)
    limit = max(number(query, "limit") or 0, 0)
    token = query.get("continue") or ""
    if token:
        if query.get("resourceVersion") not in (None, "", "0"):
            raise errors.BadRequest("specifying resource version is not allowed when using continue")
        revision, after = decode_continue(token, ctx.namespace)
        await core.storage.catch_up()
        return await _at(core, entry, scope, revision, limit, after, continued=True)
    version = query.get("resourceVersion") or ""
    revision = await reach(core, version)
    if query.get("resourceVersionMatch") == "Exact" and revision:
        return await _at(core, entry, scope, revision, limit, "", continued=False)
    return _newest(core, entry, scope, limit, "", core.storage.revision)


def _check_list_options(query: Mapping[str, str]) -> None:
    match, version = query.get("resourceVersionMatch"), query.get("resourceVersion") or ""
    problems: Errors = []
    if match:
        if not version:
            why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            problems.append(forbidden("resourceVersionMatch", why))
        if query.get("continue"):
            problems.append(
                forbidden(
                    "resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"
                )
            )
        if match not in ("Exact", "NotOlderThan"):
            problems.append(not_supported("resourceVersionMatch", match, ("Exact", "NotOlderThan", "")))
        if match == "Exact" and version == "0":
            why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            problems.append(forbidden("resourceVersionMatch", why))
    if query.get("sendInitialEvents") is not None:
        problems.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if problems:
        raise errors.invalid("meta.k8s.io", "ListOptions", "", problems)


def _newest(core: Core, entry: Entry, scope: Scope, limit: int, after: str, revision: int) -> Selection:
    cache = entry.cache
    assert cache is not None
    if not limit:
        return Selection(list(select(cache, scope, after)), revision)
    items: list[Item] = []
    for item in select(cache, scope, after):
        if len(items) == limit:
            last = items[-1].key
            return Selection(
                items, revision, encode_continue(revision, last, scope.namespace), _left(cache, scope, last)
            )
        items.append(item)
    return Selection(items, revision)


def _left(cache: ResourceCache, scope: Scope, after: str) -> int | None:
    if scope.labels is not None or scope.fields is not None:
        return None
    return cache.count(scope.namespace, after)


def select(cache: ResourceCache, scope: Scope, after: str = "") -> Iterator[Item]:
    """The items in ``scope``, in key order, behind key ``after``."""
    cache.refuse_unreadable(scope.namespace)
    if scope.name and (scope.namespace or not cache.spec.namespaced):
        item = cache.get(scope.namespace, scope.name)
        candidates: Iterator[Item] = iter([item] if item is not None and item.key > after else [])
    elif scope.indexed is not None:
        candidates = (item for item in cache.by_index(scope.indexed) if item.key > after)
    else:
        candidates = cache.scan(scope.namespace, after)
        if scope.labels is None and scope.fields is None and not scope.name:
            return candidates
    return (item for item in candidates if scope.admits(item, cache))


async def _at(
    core: Core, entry: Entry, scope: Scope, revision: int, limit: int, after: str, *, continued: bool
) -> Selection:
    """The list at ``revision``: from the cache if nothing has changed since, else from the store."""
    cache = entry.cache
    assert cache is not None
    if revision <= 0:
        return _newest(core, entry, scope, limit, after, core.storage.revision)
    if cache.latest <= revision <= core.storage.revision:
        return _newest(core, entry, scope, limit, after, revision)
    prefix = entry.prefix + (f"{scope.namespace}/" if scope.namespace else "")
    behind = entry.prefix + after if after else ""
    narrowed = scope.labels is not None or scope.fields is not None or bool(scope.name)
    items: list[Item] = []
    try:
        while True:
            page = await core.storage.store.list(
                prefix, revision=revision, limit=limit - len(items) if limit else 0, after=behind
            )
            for found in page.entries:
                item = cache.item_of(found)
                if not narrowed or scope.admits(item, cache):
                    items.append(item)
            if not limit or not page.remaining or len(items) >= limit:
                break
            behind = page.entries[-1].key
    except Compacted:
        raise _expired(after, scope.namespace, continued) from None
    except ValueError:
        raise too_large(revision, core.storage.revision) from None
    if not page.remaining:
        return Selection(items, revision)
    last = page.entries[-1].key[len(entry.prefix) :]
    token = encode_continue(revision, last, scope.namespace)
    return Selection(items, revision, token, None if narrowed else page.remaining)


def _expired(after: str, namespace: str, continued: bool) -> errors.Expired:
    if not continued:
        return errors.Expired("The resourceVersion for the provided list is too old.")
    return _ContinueExpired(_TOO_OLD, encode_continue(-1, after, namespace))


class _ContinueExpired(errors.Expired):
    """Carries the token that goes on inconsistently, as Kubernetes offers it."""

    def __init__(self, message: str, token: str) -> None:
        super().__init__(message)
        self._token = token

    def status(self) -> Object:
        return {**super().status(), "metadata": {"continue": self._token}}


def encode_continue(revision: int, last: str, namespace: str) -> str:
    """The token that continues behind key ``last``; the form is Kubernetes'."""
    start = "/" + last.removeprefix(f"{namespace}/") if namespace else "/" + last
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start + "\0"})
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def decode_continue(token: str, namespace: str = "") -> tuple[int, str]:
    """The revision and last key of a continue token. Raises ``BadRequest`` in Kubernetes' words."""
    wrong = "invalid continue token: continue key is not valid: "
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise errors.BadRequest(f"{wrong}illegal base64 data at input byte {len(token)}") from None
    try:
        value: Object = orjson.loads(text)
    except orjson.JSONDecodeError:
        if not text:
            raise errors.BadRequest(f"{wrong}unexpected end of JSON input") from None
        first = text[:1].decode("latin-1")
        raise errors.BadRequest(
            f"{wrong}invalid character '{first}' looking for beginning of value"
        ) from None
    if not isinstance(value, dict) or value.get("v") != "meta.k8s.io/v1":
        version = value.get("v") if isinstance(value, dict) else value
        raise errors.BadRequest(
            f"invalid continue token: continue key is not valid: server does not recognize this encoded version {version}"
        )
    revision, start = value.get("rv"), value.get("start")
    if not isinstance(revision, int) or revision == 0:
        raise errors.BadRequest(f"{wrong}incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    if not isinstance(start, str) or not start.strip("/\0"):
        raise errors.BadRequest(f"{wrong}encoded start key empty (version meta.k8s.io/v1)")
    key = start.removeprefix("/").removesuffix("\0")
    return revision, f"{namespace}/{key}" if namespace else key
