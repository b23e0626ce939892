"""Each API server has a Lease in kube-system, so that everybody can see which ones there are.

    apiserver-<hash of host and port>, label apiserver.kubernetes.io/identity=kube-apiserver
    written every ten seconds; one that was not for an hour is taken away

The rules are kube-apiserver's (APIServerIdentity).
"""

from __future__ import annotations

import base64
import hashlib
import logging
from typing import Final

import orjson

from coxswain.api.names import LEASES, Object
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.verbs.writing import new_uid
from coxswain.base import clock
from coxswain.client.interface import Call, UserInfo

log = logging.getLogger(__name__)

NAMESPACE: Final = "kube-system"
LABEL: Final = "apiserver.kubernetes.io/identity"
INTERVAL, LIFETIME = 10.0, 3600


class IdentityLease:
    """The Lease of one server, and a look after those of the others."""

    def __init__(self, pipeline: Pipeline, user: UserInfo, host: str, port: int) -> None:
        digest = hashlib.sha256(f"{host}:{port}".encode()).digest()[:16]
        self.name = f"apiserver-{base64.b32encode(digest).decode().rstrip('=').lower()}"
        self._host = host
        self._holder = f"{self.name}_{new_uid()}"
        self._pipeline = pipeline
        self._user = user

    async def run(self) -> None:
        """Renew until cancelled; look for leases of the dead as often as they live."""
        looked = clock.monotonic()
        while True:
            await self.renew()
            if clock.monotonic() - looked >= LIFETIME:
                looked = clock.monotonic()
                await self.collect()
            await clock.sleep(INTERVAL)

    async def renew(self) -> None:
        """Write the lease."""
        existing = self._pipeline.core.registry.lookup.get(LEASES, NAMESPACE, self.name)
        now = clock.micro_timestamp()
        spec: Object = {"holderIdentity": self._holder, "leaseDurationSeconds": LIFETIME, "renewTime": now}
        if existing is None:
            labels = {LABEL: "kube-apiserver", "kubernetes.io/hostname": self._host}
            metadata = {"name": self.name, "namespace": NAMESPACE, "labels": labels}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
            await self._do(Call("create", LEASES, NAMESPACE, body=orjson.dumps({**lease, "spec": spec})))
        else:
            changed = {**existing, "spec": spec}
            await self._do(Call("update", LEASES, NAMESPACE, self.name, body=orjson.dumps(changed)))

    async def collect(self) -> None:
        """Take away the leases of servers that have not written for as long as a lease lives."""
        for lease in list(self._pipeline.core.registry.lookup.list(LEASES, NAMESPACE)):
            metadata = lease["metadata"]
            if (metadata.get("labels") or {}).get(LABEL) == "kube-apiserver" and is_expired(
                lease, clock.now()
            ):
                options = {"preconditions": {"resourceVersion": metadata["resourceVersion"]}}
                body = orjson.dumps({"kind": "DeleteOptions", "apiVersion": "v1", **options})
                await self._do(Call("delete", LEASES, NAMESPACE, metadata["name"], body=body))

    async def _do(self, call: Call) -> None:
        answer = await self._pipeline.call(call, self._user)
        if answer.code >= 400 and answer.code not in (404, 409):
            log.warning("lease of this API server: %s", orjson.loads(answer.body).get("message"))


def is_expired(lease: Object, now: float) -> bool:
    """Whether nobody has renewed a lease for as long as it lasts."""
    spec = lease.get("spec") or {}
    renewed = spec.get("renewTime")
    return not renewed or clock.parse_time(renewed) + (spec.get("leaseDurationSeconds") or 0) < now
