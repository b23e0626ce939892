"""Events cast in a mould: those of a burst differ in a name, a message and a time, and in nothing else.

    body --> fixed text, which names the mould, and what fills its holes
    first of a mould      made the long way
    second                made the long way; what was stored of it, with holes, becomes the mould
    third                 made the long way; if the mould foretold it byte for byte, the next ones are cast

Why that is the same thing:
- What fills a hole has neither quotes nor backslashes. So bodies of one fixed text are one JSON document but for these
  strings; which field each of them is, is read off a document that has marks in the holes.
- No rule of Events looks at these fields together, and what one looks at alone (the name, the length of the message, the
  form of the time) is checked each time, more strictly. What does not pass goes the long way.
- Admission must say that it repeats itself (``Plugin.repeats``), and its ``state`` must be what it was; its plugins look
  at the namespace and the user of an Event, which are part of the mould's name.

An Event costs the server's thread a third of what it costs the long way (``benchmarks.api.batches``).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import orjson

from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.client.interface import UserInfo

#: Moulds remembered. A component has about one for each reason that it gives.
_MOULDS: Final = 256
_TEXT: Final = r"[ !#-\[\]-~]"
#: An Event as our recorder writes it: fixed text and holes in turn. Keys and values are those of client-go, too.
_BODY: Final = re.compile(
    rf"""
    (\{{"apiVersion":"v1","kind":"Event","metadata":\{{"name":")      ([A-Za-z0-9][-.A-Za-z0-9]{{0,252}})
    ("(?:,"namespace":"{_TEXT}*")?\}},"involvedObject":\{{(?:"kind":"{_TEXT}*",)?(?:"namespace":"{_TEXT}*",)?"name":")
                                                                      ({_TEXT}+)
    (","uid":")                                                       ({_TEXT}+)
    (","apiVersion":"{_TEXT}*","resourceVersion":")                   ({_TEXT}+)
    ("\}},"reason":"{_TEXT}*","message":")                            ({_TEXT}{{1,1024}})
    (?: ("[ -~]*?,"eventTime":")                                     (20[-0-9]{{8}}T[0-9:]{{8}}\.[0-9]{{6}}Z)
        ("[ -~]*)
      | ("[ -~]*) )
    """.encode(),
    re.VERBOSE,
)
_FIELDS: Final = (
    ("metadata", "name"),
    ("involvedObject", "name"),
    ("involvedObject", "uid"),
    ("involvedObject", "resourceVersion"),
    ("message",),
    ("eventTime",),
)
_TIME: Final = _FIELDS.index(("eventTime",))
#: Holes that the server fills.
_UID, _NOW = len(_FIELDS), len(_FIELDS) + 1
#: What stands for a hole: a private character, which no body with a mould can have, and a digit.
_MARKS: Final = tuple(f"\ue000{number}" for number in range(_NOW + 1))
_MARK: Final = re.compile("\ue000(\\d)".encode())
_OF_METADATA: Final = {"name", "namespace", "uid", "creationTimestamp", "managedFields"}


@dataclass(frozen=True, slots=True)
class Mould:
    """The stored bytes of an Event with ``%b`` for what differs, and what each of these stands for."""

    pattern: bytes
    order: tuple[int, ...]
    #: Its selectable fields: text, or the number of a hole.
    fields: tuple[str | int, ...]
    user: UserInfo
    #: ``Admission.state`` when it was made.
    state: int

    def cast(self, filling: Sequence[bytes], uid: str, now: str) -> bytes:
        """The bytes to store of another Event."""
        holes = _all(filling, uid, now)
        return self.pattern % tuple([holes[number] for number in self.order])

    def selectable(self, filling: Sequence[bytes]) -> tuple[str, ...]:
        """The selectable fields of another Event."""
        return tuple([each if type(each) is str else filling[each].decode() for each in self.fields])  # type: ignore[index]


def _all(filling: Sequence[bytes], uid: str, now: str) -> tuple[bytes, ...]:
    time = () if len(filling) > _TIME else (b"",)
    return (*filling, *time, uid.encode(), now.encode())


@dataclass(slots=True)
class Known:
    """What is known of Events with one fixed text."""

    seen: bool = False
    mould: Mould | None = None
    #: Whether the mould has foretold an Event.
    good: bool = False


@dataclass(frozen=True, slots=True)
class Sighting:
    """A body that there may be a mould for."""

    known: Known
    fixed: tuple[bytes, ...]
    filling: tuple[bytes, ...]

    @property
    def name(self) -> str:
        """The Event's name."""
        return self.filling[0].decode()

    def mould(self, user: UserInfo, state: int) -> Mould | None:
        """What to cast the Event in, if that is known: for ``user``, while admission's state is ``state``."""
        mould = self.known.mould
        if mould is None or not self.known.good or mould.state != state or mould.user != user:
            return None
        return mould

    def learn(
        self, stored: bytes, fields: Callable[[Object], tuple[str, ...]], user: UserInfo, state: int
    ) -> None:
        """This Event was made the long way: ``stored`` is what came of it, ``fields`` takes the selectable ones."""
        known = self.known
        if not known.seen:
            known.seen = True
            return
        event = orjson.loads(stored)
        uid, now = event["metadata"].get("uid") or "", event["metadata"].get("creationTimestamp") or ""
        before = known.mould
        if before is not None and (before.user, before.state) == (user, state):
            known.good = before.cast(self.filling, uid, now) == stored
            if known.good:
                return
        known.good = False
        known.mould = self._make(event, fields, user, state)

    def _make(
        self, event: Object, fields: Callable[[Object], tuple[str, ...]], user: UserInfo, state: int
    ) -> Mould | None:
        """The mould that ``event``, which was made of this body, leaves; None if that cannot be told for sure."""
        paths = _FIELDS[: len(self.filling)]
        if not self._is_understood(paths) or not _is_plain(event):
            return None
        for path, text, mark in zip(paths, self.filling, _MARKS, strict=False):
            if _put(event, path, mark) != text.decode():
                return None
        metadata = event["metadata"]
        metadata["uid"] = _MARKS[_UID]
        metadata["creationTimestamp"] = metadata["managedFields"][0]["time"] = _MARKS[_NOW]
        pieces = _MARK.split(orjson.dumps(event).replace(b"%", b"%%"))
        return Mould(
            b"%b".join(pieces[::2]),
            tuple(map(int, pieces[1::2])),
            tuple(_MARKS.index(each) if each in _MARKS else each for each in fields(event)),
            user,
            state,
        )

    def _is_understood(self, paths: Sequence[tuple[str, ...]]) -> bool:
        """Whether the holes are the fields that they are taken for."""
        marks = [mark.encode() for mark in _MARKS[: len(paths)]]
        text = b"".join(part for pair in zip(self.fixed, [*marks, b""], strict=True) for part in pair)
        body = orjson.loads(text)
        return all(_put(body, path, "") == mark for path, mark in zip(paths, _MARKS, strict=False))


def _is_plain(event: Object) -> bool:
    """Whether the server has added nothing to an Event's metadata but what it adds to all, at one moment."""
    metadata = event["metadata"]
    entries = metadata.get("managedFields") or []
    if metadata.keys() != _OF_METADATA or len(entries) != 1:
        return False
    return bool(entries[0].get("time") == metadata["creationTimestamp"])


def _put(obj: Object, path: Sequence[str], text: str) -> Any:
    """Put ``text`` at ``path``; what was there."""
    for name in path[:-1]:
        obj = obj.get(name) or {}
    before, obj[path[-1]] = obj.get(path[-1]), text
    return before


@lru_cache(maxsize=1024)
def _is_second(text: bytes) -> bool:
    """Whether ``2026-01-02T03:04:05`` is one, and not the 30th of February."""
    second = text.decode() + "Z"
    try:
        return clock.format_time(clock.parse_time(second)) == second
    except ValueError:
        return False


@dataclass(slots=True)
class Moulds:
    """The moulds used lately. Not shared between loops."""

    _known: OrderedDict[tuple[str, str, tuple[bytes, ...]], Known] = field(default_factory=OrderedDict)

    def find(self, body: bytes, namespace: str, manager: str) -> Sighting | None:
        """The body of a new Event in ``namespace``; None if there can be no mould for it."""
        match = _BODY.fullmatch(body)
        if match is None:
            return None
        parts = tuple([part for part in match.groups() if part is not None])
        fixed, filling = parts[::2], parts[1::2]
        if len(filling) > _TIME and not _is_second(filling[_TIME][:19]):
            return None
        key = (namespace, manager, fixed)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Known()
            if len(self._known) > _MOULDS:
                self._known.popitem(last=False)
        return Sighting(known, fixed, filling)
