"""How a server takes its place among those that share its store, and leaves it."""

from __future__ import annotations

import ipaddress
import socket

from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.shared.identity import IdentityLease
from coxswain.apiserver.shared.masterleases import MasterLeases
from coxswain.apiserver.shared.service_claims import Claims
from coxswain.apiserver.shared.storage import SharedStorage
from coxswain.apiserver.storage import Sealing
from coxswain.base.tasks import Supervisor
from coxswain.client.interface import UserInfo
from coxswain.store.interface import Store


def storage(store: Store, ring_events: int, sealing: Sealing | None) -> SharedStorage:
    """Caches over a shared store."""
    return SharedStorage(store, Claims(), ring_events=ring_events, sealing=sealing)


def join(
    tasks: Supervisor, store: Store, pipeline: Pipeline, user: UserInfo, address: str, port: int
) -> MasterLeases | None:
    """Tell the others that this server is there, at ``address`` and ``port``, for as long as ``tasks`` run.

    What is returned takes it off again. A loopback address is of no use to anybody else: it is not published.
    """
    assert isinstance(pipeline.core.storage, SharedStorage)
    tasks.supervise("claims on ports", pipeline.core.storage.mend_regularly)
    identity = IdentityLease(pipeline, user, socket.gethostname(), port)
    tasks.supervise("identity of the API server", identity.run)
    if ipaddress.ip_address(address).is_loopback:
        return None
    leases = MasterLeases(store, pipeline, user, address=address, port=port)
    tasks.supervise("endpoints of the API servers", leases.run)
    return leases
