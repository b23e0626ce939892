"""Creating one body over and over: what depends on nothing but the body is worked out once.

A replica set posts the same pod five hundred times, a load test ten thousand times; only the name, the uid and
the time differ. So for bodies with ``generateName``:

    decode -> default -> managed fields      pure in (resource, namespace, body, manager, validation, second)
    validate, warn                           pure in the object, without what the server makes for each
    all of it                                pure, too, while nothing changes that admission looks at

The second time that a body comes, the first step's result is kept as bytes; when admission then makes the same
of it as before, the second step is known to find nothing. And where every plugin concerned says that it answers
an equal request alike (``Plugin.repeats``), the object as stored is kept, too: a ``Twin``, of which the next one
takes all but name and uid. It is used once it has foretold an object that was made the long way, byte for byte;
admission's metrics do not count what was not asked. Built-in kinds only, because the rules of custom ones change.

All of it holds for one second, which the object is stamped with. Once a twin of one second, stamped with a later
one, is the twin that was made in that, all later seconds begin with a stamped one: a burst goes on as it began.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson

from coxswain.api.names import GVR, Object
from coxswain.base import clock

if TYPE_CHECKING:
    from coxswain.apiserver.options import WriteOptions
    from coxswain.apiserver.request import Context
    from coxswain.client.interface import UserInfo

#: Bodies remembered, and the largest of them in bytes; of each that came twice, two decoded forms are kept too.
_BODIES = 256
_MAX_BYTES = 16 << 10
_MARK = b'"generateName"'
_OF_EACH = ("name", "uid", "creationTimestamp")

_Key = tuple[GVR, str, bytes, str, str, str]


@dataclass(frozen=True, slots=True)
class Twin:
    """An object as it is stored, but for its name and uid."""

    #: The bytes before the uid, between uid and name, and behind the name.
    parts: tuple[bytes, bytes, bytes]
    #: The ``generateName`` that it was made from.
    base: str
    labels: dict[str, str]
    #: Its selectable fields.
    fields: tuple[str, ...]
    #: All that the client was warned of.
    warnings: tuple[str, ...]
    user: UserInfo
    #: ``Admission.state`` when it was made.
    state: int
    #: The time that it is stamped with.
    second: str

    def value(self, name: str, uid: str) -> bytes:
        """The bytes to store of another one."""
        before, between, behind = self.parts
        return b"%b%b%b%b%b" % (before, uid.encode(), between, name.encode(), behind)

    def at(self, second: str) -> Twin:
        """The same, stamped with another second wherever it has its own."""
        own, other = b'"%b"' % self.second.encode(), b'"%b"' % second.encode()
        before, between, behind = (part.replace(own, other) for part in self.parts)
        return replace(self, parts=(before, between, behind), second=second)


def parts_of(value: bytes, name: str, uid: str) -> tuple[bytes, bytes, bytes] | None:
    """What surrounds uid and name in ``value``; None unless each is there once, as the server writes them."""
    before, found, rest = value.partition(uid.encode())
    between, there, behind = rest.partition(name.encode())
    if not found or not there or uid.encode() in rest or name.encode() in before or name.encode() in behind:
        return None
    return before, between, behind


class Replica:
    """What is known of one body, in one second."""

    __slots__ = (
        *("_checked", "_foretold", "_line", "_prepared", "_seen", "_twin"),
        *("decode_warnings", "warnings"),
    )

    def __init__(self, line: Line, *, seen: bool = False, twin: Twin | None = None) -> None:
        """``seen``: the body came before. ``twin``: it is known what the next object is like."""
        self._line = line
        #: What decoding tells the client.
        self.decode_warnings: tuple[str, ...] = ()
        #: What the rules of the kind tell it, when ``is_checked``.
        self.warnings: tuple[str, ...] = ()
        self._seen = seen
        self._prepared: bytes | None = None
        self._checked: Object | None = None
        self._twin = twin
        self._foretold = twin is not None

    def twin(self, user: UserInfo, state: int) -> Twin | None:
        """What the next object is like, if that is known: for ``user``, while admission's state is ``state``."""
        twin = self._twin
        if (
            twin is None
            or not self._foretold
            or twin.state != state
            or (twin.user is not user and twin.user != user)
        ):
            return None
        return twin

    @property
    def wants_twin(self) -> bool:
        """Whether it is worth telling ``keep_twin`` of the object that was just made."""
        return self._prepared is not None

    def keep_twin(self, twin: Twin, value: bytes, name: str, uid: str) -> None:
        """Remember ``twin`` of the object stored as ``value``, and whether the one before it foretold this one."""
        before, self._twin = self._twin, twin
        self._foretold = before == twin and twin.value(name, uid) == value
        self._line.learn(self, twin if self._foretold else None)

    @property
    def foretold(self) -> Twin | None:
        """The twin, if it has foretold another object."""
        return self._twin if self._foretold else None

    def prepared(self) -> Object | None:
        """The object as the first step leaves it, the caller's own; None until it is known."""
        return None if self._prepared is None else orjson.loads(self._prepared)

    def keep_prepared(self, obj: Object, warnings: list[str]) -> None:
        """Remember what the first step made, if the body came before."""
        if self._seen:
            self._prepared = orjson.dumps(obj)
            self.decode_warnings = tuple(warnings)
        self._seen = True

    def is_checked(self, obj: Object) -> bool:
        """Whether ``obj`` was validated before, but for what the server makes for each object."""
        return self._checked is not None and _common(obj) == self._checked

    def keep_checked(self, obj: Object, warnings: list[str]) -> None:
        """Remember that ``obj`` is valid, and what the client is warned of."""
        if self._prepared is not None:
            # A copy of its own: the object lives on, and its parts with it.
            self._checked = orjson.loads(orjson.dumps(_common(obj)))
            self.warnings = tuple(warnings)


def _common(obj: Object) -> Object:
    metadata = {name: value for name, value in obj["metadata"].items() if name not in _OF_EACH}
    return {**obj, "metadata": metadata}


class Line:
    """The replicas of one body, one after the other: a second each."""

    __slots__ = ("_former", "_proven", "replica", "second")

    def __init__(self, second: str) -> None:
        self.second = second
        self.replica = Replica(self)
        #: The twin of the second before.
        self._former: Twin | None = None
        #: One that has foretold the twin of a later second. It alone is stamped with others: in a twin that was, a
        #: time of the client's own may look like its stamp.
        self._proven: Twin | None = None

    def turn(self, second: str) -> None:
        """It is ``second`` now."""
        former = self.replica.foretold
        if former is not None:
            self._former = former
        known = self._proven if former is not None else None
        self.second = second
        self.replica = Replica(self, seen=True, twin=None if known is None else known.at(second))

    def learn(self, replica: Replica, twin: Twin | None) -> None:
        """``twin`` has foretold an object of this second; None: what was known of one has not."""
        if replica is self.replica:
            former = self._former
            holds = twin is not None and former is not None and former.at(twin.second) == twin
            self._proven = former if holds else None


def may_repeat(body: bytes) -> bool:
    """Whether the server names what is made of ``body``, so that it may come again."""
    return len(body) <= _MAX_BYTES and _MARK in body


class ReplicaMemo:
    """The bodies seen lately. Not shared between loops."""

    def __init__(self) -> None:
        self._replicas: OrderedDict[_Key, Line] = OrderedDict()

    def find(self, ctx: Context, options: WriteOptions) -> Replica | None:
        """The entry of the request's body; None for bodies that will hardly come again."""
        body = ctx.body
        if not may_repeat(body) or ctx.entry.custom:
            return None
        key = (
            ctx.entry.gvr,
            ctx.namespace,
            body,
            ctx.content_type,
            ctx.manager,
            options.field_validation,
        )
        second = clock.timestamp()
        line = self._replicas.get(key)
        if line is None:
            line = self._replicas[key] = Line(second)
            if len(self._replicas) > _BODIES:
                self._replicas.popitem(last=False)
        elif line.second != second:
            line.turn(second)
            self._replicas.move_to_end(key)
        return line.replica
