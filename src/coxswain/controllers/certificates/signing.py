"""Signs approved requests of Kubernetes' own signers with the cluster's authority.

The authority's files are named by ``cluster_signing_cert_file`` and ``cluster_signing_key_file`` (kube-controller-
manager's flags of these names) and read at each signing, so that a renewed authority is used at once. Without them
nothing is signed: somebody else may do it. A request that its signer may not grant gets the condition Failed.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import Object
from coxswain.base import clock, settings
from coxswain.base.errors import ConfigurationError
from coxswain.client.informer import key_of
from coxswain.controllers.certificates.authority import Authority, lifetime_of
from coxswain.controllers.certificates.requests import (
    REQUESTS,
    SIGNERS,
    Unfit,
    check,
    is_to_be_signed,
    parse,
)
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.shell import Shell

log = logging.getLogger(__name__)
NAME = "certificatesigningrequest-signing-controller"


@dataclass(frozen=True, slots=True)
class SigningSettings:
    """kube-controller-manager's flags of these names."""

    cluster_signing_cert_file: str = ""
    """PEM file of the authority's certificate; empty: nothing is signed."""
    cluster_signing_key_file: str = ""
    """PEM file of its key."""
    cluster_signing_duration: float = 365 * 86400.0
    """Seconds that a certificate lives at most; a request may ask for less."""


def signed(request: Object, authority: Authority, longest: timedelta, now: float) -> Object | None:
    """``request`` with its certificate, or with why there will be none; None if it cannot even be read."""
    spec = request["spec"]
    usages = spec.get("usages") or ()
    try:
        asked = parse(request)
    except Unfit as why:
        log.warning("%s", why)
        return None
    try:
        check(spec["signerName"], asked, usages)
    except Unfit as why:
        return _failed(request, str(why), clock.format_time(now))
    lifetime = lifetime_of(spec.get("expirationSeconds"), longest)
    pem = authority.sign(asked, usages, lifetime, now)
    status = {**(request.get("status") or {}), "certificate": base64.b64encode(pem).decode()}
    return {**request, "status": status}


def _failed(request: Object, why: str, now: str) -> Object:
    entry = {
        "type": "Failed",
        "status": "True",
        "reason": "SignerValidationFailure",
        "message": why,
        "lastUpdateTime": now,
        "lastTransitionTime": now,
    }
    status = request.get("status") or {}
    return {**request, "status": {**status, "conditions": [*(status.get("conditions") or ()), entry]}}


def chosen_by(options: Mapping[str, Any]) -> SigningSettings:
    """What ``options`` say. Raises ``ConfigurationError``, also for files that hold no authority."""
    chosen = settings.read(SigningSettings, options)
    if bool(chosen.cluster_signing_cert_file) != bool(chosen.cluster_signing_key_file):
        raise ConfigurationError("cluster signing takes both a certificate file and a key file")
    if chosen.cluster_signing_cert_file:
        Authority.read(chosen.cluster_signing_cert_file, chosen.cluster_signing_key_file)
    return chosen


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    chosen = chosen_by(context.options)
    if not chosen.cluster_signing_cert_file:
        log.info("no cluster signing certificate and key: certificate requests are left to others")
        await asyncio.Event().wait()
    requests = context.informers.informer(REQUESTS)
    longest = timedelta(seconds=chosen.cluster_signing_duration)

    async def reconcile(name: str) -> None:
        request = requests.get(name)
        if (
            request is None
            or request["spec"].get("signerName") not in SIGNERS
            or not is_to_be_signed(request)
        ):
            return
        authority = Authority.read(chosen.cluster_signing_cert_file, chosen.cluster_signing_key_file)
        try:
            wanted = signed(request, authority, longest, clock.now())
        except Unfit as why:
            log.warning("%s cannot be signed: %s", meta.name(request), why)
            return
        if wanted is not None:
            try:
                await context.client.update(REQUESTS, wanted, subresource="status")
            except NotFound:
                return

    shell = Shell(NAME, reconcile, context.workers)
    requests.add_handler(lambda new: shell.add(key_of(new)), lambda _, new: shell.add(key_of(new)))
    await context.informers.start()
    await requests.wait_synced()
    await shell.run()


DESCRIPTOR = Descriptor(NAME, run, account="certificate-controller", check=chosen_by)
