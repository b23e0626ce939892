"""Deletes certificate signing requests that have served their time.

    signed or approved   an hour after the approval
    denied or failed     an hour after that
    undecided            a day after their creation
    expired              when their certificate is

Deadlines are kept by timers, one a request, so that nothing is polled.
"""

from __future__ import annotations

import base64
import binascii

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.client.informer import key_of
from coxswain.controllers.certificates.requests import REQUESTS
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.shell import Shell

NAME = "certificatesigningrequest-cleaner-controller"
_DECIDED, _UNDECIDED = 3600.0, 86400.0


def deadline(request: Object) -> float | None:
    """When ``request`` is to be deleted (seconds since the epoch); None: not as it is."""
    status = request.get("status") or {}
    moments = []
    for kind in ("Approved", "Denied", "Failed"):
        entry = meta.condition(request, kind)
        since = entry and (entry.get("lastUpdateTime") or entry.get("lastTransitionTime"))
        if since:
            moments.append(clock.parse_time(since) + _DECIDED)
    if not status.get("conditions") and not status.get("certificate"):
        moments.append(clock.parse_time(request["metadata"]["creationTimestamp"]) + _UNDECIDED)
    if status.get("certificate"):
        expiry = _expiry(status["certificate"])
        if expiry is not None:
            moments.append(expiry)
    return min(moments, default=None)


def _expiry(certificate: str) -> float | None:
    from cryptography import x509

    try:
        parsed = x509.load_pem_x509_certificate(base64.b64decode(certificate))
    except (binascii.Error, ValueError):
        return None
    return parsed.not_valid_after_utc.timestamp()


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    requests = context.informers.informer(REQUESTS)

    async def reconcile(name: str) -> float | None:
        request = requests.get(name)
        moment = deadline(request) if request is not None else None
        if request is None or moment is None:
            return None
        # "Older than", so at the deadline itself it is not yet time.
        wait = moment + 1.0 - clock.now()
        if wait > 0:
            return wait
        try:
            await context.client.delete(REQUESTS, name, uid=meta.uid(request))
        except NotFound:
            pass
        return None

    shell = Shell(NAME, reconcile, context.workers)
    requests.add_handler(lambda new: shell.add(key_of(new)), lambda _, new: shell.add(key_of(new)))
    await context.informers.start()
    await requests.wait_synced()
    await shell.run()


DESCRIPTOR = Descriptor(NAME, run, account="certificate-controller")
