"""What a process keeps, counted: every table of every object of ours, every cache of a function.

    before = census()
    ... rounds that create and delete ...
    growing(before, between, after, rounds)     tables that grew with the rounds, twice

A table is an attribute of one of our classes (or a name in one of our modules) that holds a dict, set, list, deque,
sorted list or heap: its size is that of all instances together, with the containers inside it. Beside the tables,
instances of each class in the process are counted, ours and others'. Caches of functions that are bounded are
emptied first, so that only the others count. Nothing need be registered: a table that somebody
adds tomorrow is counted, too.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Mapping
from functools import _lru_cache_wrapper
from types import ModuleType
from typing import Any

from sortedcontainers import SortedDict, SortedList, SortedSet

from coxswain.base.memo import Known

_MAPPINGS = (dict, OrderedDict, SortedDict)
_SEQUENCES = (list, deque, set, frozenset, tuple, SortedList, SortedSet)
_DEPTH = 4
#: Classes (beside ours) whose instances nobody may hoard. Dicts and their like are counted where they are held.
_COUNTED = (
    *("coxswain.", "asyncio.", "_asyncio.", "uvloop.", "grpc.", "contextvars."),
    *("builtins.coroutine", "builtins.async_generator", "ssl.", "aiohttp."),
)

Census = Mapping[str, int]


def census() -> Census:
    """How large everything is: tables by ``module.Class.attribute``, instances by ``<module.Class>``."""
    gc.unfreeze()  # what another test has frozen is not shown otherwise, and its caches would not be emptied
    for one in gc.get_objects():
        if isinstance(one, _lru_cache_wrapper) and one.cache_info().maxsize is not None:
            one.cache_clear()
        elif isinstance(one, Known):
            one.clear()
    gc.collect()
    found: Counter[str] = Counter()
    for one in gc.get_objects():
        kind = type(one)
        if isinstance(one, _lru_cache_wrapper):
            found[f"{_name(one)}()"] += one.cache_info().currsize
        elif isinstance(one, ModuleType):
            continue
        else:
            found[f"<{_name(kind)}>"] += 1
            if str(kind.__module__).startswith("coxswain."):
                for attribute, value in _attributes(one):
                    found[f"{_name(kind)}.{attribute}"] += _extent(value, _DEPTH)
    for name, module in list(sys.modules.items()):
        if name.startswith("coxswain."):
            for attribute, value in vars(module).items():
                if not attribute.startswith("__"):
                    found[f"{name}.{attribute}"] += _extent(value, _DEPTH)
    return found


def growing(first: Census, second: Census, third: Census, rounds: int) -> dict[str, tuple[int, int, int]]:
    """What grew by half of ``rounds`` or more from each census to the next, and its sizes.

    That is tables, and instances of what nobody may hoard.
    """
    enough = max(rounds // 2, 1)
    return {
        name: (first.get(name, 0), second.get(name, 0), size)
        for name, size in third.items()
        if (not name.startswith("<") or name[1:].startswith(_COUNTED))
        and size - second.get(name, 0) >= enough
        and second.get(name, 0) - first.get(name, 0) >= enough
    }


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _attributes(one: Any) -> Iterator[tuple[str, Any]]:
    yield from getattr(one, "__dict__", {}).items()
    for kind in type(one).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__") and hasattr(one, slot):
                yield slot, getattr(one, slot)


def _extent(value: Any, depth: int) -> int:
    """Entries of a container and of the containers in it; 0 for anything else."""
    if isinstance(value, _MAPPINGS):
        inner = list(value.values())
    elif isinstance(value, _SEQUENCES):
        inner = list(value)
    else:
        return 0
    if depth == 0 or not inner:
        return len(inner)
    return len(inner) + sum([_extent(each, depth - 1) for each in inner])
