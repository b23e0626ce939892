"""Answers that are remembered by the text that was asked about: as ``functools.lru_cache``, but of short texts only.

What clients send is asked about, too. A bound of entries alone is none of memory, where an entry may be as long as
the body of a request: eight thousand labels of three megabytes each fill any machine. So what is long is worked out
anew each time; no name, label, quantity or path that is good for something is long.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

#: Characters (or bytes) of a text that is remembered.
LONGEST = 512

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Known(dict[Any, Any]):
    """Answers by text. They are all forgotten when there are too many: to ask is a look into a dict, no more."""

    def __init__(self, function: Callable[..., Any], most: int, longest: int) -> None:
        self._function = function
        self._most = most
        self._longest = longest

    def __missing__(self, text: Any) -> Any:
        answer = self._function(text)
        if len(text) <= self._longest:
            if len(self) >= self._most:
                self.clear()
            self[text] = answer
        return answer


def remembered(maxsize: int, longest: int = LONGEST) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Remember ``maxsize`` answers of a pure function of texts (or of texts and small things), given by position.

    ``longest``: characters, or bytes, of a text that is worth it.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        if len(inspect.signature(function).parameters) == 1:
            return Known(function, maxsize, longest).__getitem__  # type: ignore[return-value]
        known: Any = lru_cache(maxsize=maxsize)(function)
        plain: Any = function

        @wraps(function)
        def ask(*things: Any) -> Any:
            for thing in things:
                if isinstance(thing, str | bytes) and len(thing) > longest:
                    return plain(*things)
            return known(*things)

        return ask  # type: ignore[return-value]

    return decorate
