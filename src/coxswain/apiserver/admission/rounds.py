"""The two rounds of mutating admission, as webhooks and policies remember them for one request.

When one of them changed the object, all mutating plugins run once more; of webhooks and policies then those with
``reinvocationPolicy: IfNeeded`` that ran before a change (Kubernetes' ``webhookReinvokeContext`` and
``policyReinvokeContext``).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import orjson

from coxswain.api.names import Object
from coxswain.apiserver.admission.request import Request


@dataclass(slots=True)
class Rounds:
    """What one plugin remembers. Keys tell its webhooks or policies apart."""

    #: Ran already and want to know of changes; and of those, to be run again.
    _waiting: set[Hashable] = field(default_factory=set)
    _again: set[Hashable] = field(default_factory=set)
    #: The object as the first round left it.
    _output: bytes = b""

    @staticmethod
    def begin(request: Request, plugin: str) -> Rounds:
        """The memory of the plugin of that name, for the round that begins."""
        memory = request.memory = {} if request.memory is None else request.memory
        rounds: Rounds = memory.setdefault(plugin, Rounds())
        if request.reinvoked and rounds._output and rounds._output != image(request.object):
            rounds._note_change()  # by the plugins that ran again before this one
        return rounds

    def passes_over(self, request: Request, key: Hashable) -> bool:
        """Whether this one has nothing to do in the second round."""
        return request.reinvoked and key not in self._again

    def note(self, request: Request, key: Hashable, *, changed: bool, wants_to_know: bool) -> None:
        """One ran, perhaps ``changed`` the object, and perhaps ``wants_to_know`` of later changes."""
        if changed:
            self._note_change()
            request.reinvoke = True
        if wants_to_know:
            self._waiting.add(key)

    def end(self, request: Request) -> None:
        """The round is over."""
        self._output = b"" if request.reinvoked else image(request.object)

    def _note_change(self) -> None:
        self._again |= self._waiting
        self._waiting = set()


def image(obj: Object | None) -> bytes:
    """An object's content, to compare: what is the same has the same bytes."""
    return b"" if obj is None else orjson.dumps(obj, option=orjson.OPT_SORT_KEYS)
