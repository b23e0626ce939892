"""How a controller is declared, and what it is given.

A controller is a module (or package) with a sans-IO reconcile (state in, instructions out), a thin shell
that performs the instructions, and one ``Descriptor``. ``registry.py`` alone names them all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coxswain.client.events import EventRecorder
from coxswain.client.informer import InformerFactory
from coxswain.client.interface import Client

#: Objects that a controller works on at a time, where nothing else is said. Kubernetes says five to twenty, of threads;
#: ours are coroutines, and what they ask for at one moment travels in one message: with more of them, fewer messages.
WORKERS = 20


@dataclass(frozen=True, slots=True)
class ControllerContext:
    """What every controller gets. ``options`` is its own settings group's raw values.

    ``not_yet`` says why the controller is not ready (``/readyz``); an empty text: it is. One that waits for the shared
    informers only need not say so.
    """

    client: Client
    informers: InformerFactory
    recorder: Callable[[str], EventRecorder]
    workers: int = WORKERS
    options: Mapping[str, Any] = field(default_factory=dict)
    not_yet: Callable[[str], None] = lambda why: None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A controller by its kube-controller-manager name (``deployment-controller``).

    ``run`` returns only when all of its tasks have ended (on cancellation). ``account`` is its service account in
    kube-system: its writes are that user's where the manager can act for it, so the account's bootstrap role must
    allow everything that it asks of ``context.client``. Informers are shared, and the manager's own, as is their
    ``client``. Without an account, the controller acts as the manager.

    ``check`` raises ``ConfigurationError`` for ``options`` that ``run`` could not work with: the manager does not start
    then, where ``run`` would fail again and again.
    """

    name: str
    run: Callable[[ControllerContext], Awaitable[None]]
    account: str = ""
    check: Callable[[Mapping[str, Any]], object] | None = None
