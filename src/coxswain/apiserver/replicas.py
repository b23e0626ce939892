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
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
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

_Key = tuple[GVR, str, bytes, str, str, str, str]


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

    def value(self, name: str, uid: str) -> bytes:
        """The bytes to store of another one."""
        before, between, behind = self.parts
        return b"%b%b%b%b%b" % (before, uid.encode(), between, name.encode(), behind)


def parts_of(value: bytes, name: str, uid: str) -> tuple[bytes, bytes, bytes] | None:
    """What surrounds uid and name in ``value``; None unless each is there once, as the server writes them."""
    before, found, rest = value.partition(uid.encode())
    between, there, behind = rest.partition(name.encode())
    if not found or not there or uid.encode() in rest or name.encode() in before or name.encode() in behind:
        return None
    return before, between, behind


class Replica:
    """What is known of one body."""

    __slots__ = ("_checked", "_foretold", "_prepared", "_seen", "_twin", "decode_warnings", "warnings")

    def __init__(self) -> None:
        #: What decoding tells the client.
        self.decode_warnings: tuple[str, ...] = ()
        #: What the rules of the kind tell it, when ``is_checked``.
        self.warnings: tuple[str, ...] = ()
        self._seen = False
        self._prepared: bytes | None = None
        self._checked: Object | None = None
        self._twin: Twin | None = None
        self._foretold = False

    def twin(self, user: UserInfo, state: int) -> Twin | None:
        """What the next object is like, if that is known: for ``user``, while admission's state is ``state``."""
        twin = self._twin
        if twin is None or not self._foretold or twin.state != state or twin.user != user:
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


def may_repeat(body: bytes) -> bool:
    """Whether the server names what is made of ``body``, so that it may come again."""
    return len(body) <= _MAX_BYTES and _MARK in body


class ReplicaMemo:
    """The bodies seen lately. Not shared between loops."""

    def __init__(self) -> None:
        self._replicas: OrderedDict[_Key, Replica] = OrderedDict()

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
            clock.timestamp(),
        )
        replica = self._replicas.get(key)
        if replica is None:
            replica = self._replicas[key] = Replica()
            if len(self._replicas) > _BODIES:
                self._replicas.popitem(last=False)
        return replica
