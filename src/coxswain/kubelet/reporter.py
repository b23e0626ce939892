"""The status manager: the newest status of each pod, written in batches, and pods deleted when they ended.

Only the newest status of a pod is kept; what cannot be written now is tried again with back-off. Writes name
the pod's uid, so a status never lands on a successor of the same name. A deletion is sent after the status
in the same batch, with grace period 0.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from coxswain.api.errors import ApiError
from coxswain.api.names import PODS, Object
from coxswain.base import clock
from coxswain.client.client import delete_call, patch_call
from coxswain.client.interface import MERGE_PATCH, Answer, Call, Client

log = logging.getLogger(__name__)

_BATCH = 128
_COALESCE = 0.01
_RETRY, _RETRY_MAX = 0.5, 10.0
#: Fields that a newer status may leave out; a merge patch has to say so.
_OPTIONAL = ("reason", "message", "podIP", "podIPs")


@dataclass(slots=True)
class _Report:
    namespace: str
    name: str
    uid: str
    status: Object
    delete: bool


class StatusReporter:
    """See the module's text. ``run`` it; ``report`` at any time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._pending: dict[str, _Report] = {}
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def report(self, namespace: str, name: str, uid: str, status: Object, delete: bool) -> None:
        """Write ``status`` soon, and delete the object after it if ``delete``."""
        before = self._pending.get(uid)
        self._pending[uid] = _Report(namespace, name, uid, status, delete or bool(before and before.delete))
        self._idle.clear()
        self._news.set()

    async def run(self) -> None:
        """Write until cancelled."""
        delay = _RETRY
        while True:
            await self._news.wait()
            await clock.sleep(_COALESCE)
            self._news.clear()
            failed = await self._flush()
            if failed:
                await clock.sleep(delay)
                delay = min(delay * 2, _RETRY_MAX)
                self._news.set()
            else:
                delay = _RETRY
                if not self._pending:
                    self._idle.set()

    async def drain(self, timeout: float) -> None:
        """Wait until everything was written, at most ``timeout`` seconds."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout)
        except TimeoutError:
            log.warning("%d pod statuses could not be written in time", len(self._pending))

    async def _flush(self) -> bool:
        """Write what is pending; whether something has to be tried again."""
        reports = list(self._pending.values())[:_BATCH]
        if not reports:
            return False
        for report in reports:
            self._pending.pop(report.uid, None)
        calls: list[tuple[_Report, Call]] = []
        for report in reports:
            calls.append((report, _status_call(report)))
            if report.delete:
                calls.append((report, _delete_call(report)))
        answers: list[Answer | None]
        try:
            answers = list(await self._client.batch([call for _, call in calls]))
        except ApiError as error:
            log.warning("pod statuses cannot be written: %s", error)
            answers = [None] * len(calls)
        failed = False
        for (report, call), answer in zip(calls, answers, strict=True):
            if answer is None or answer.code >= 500 or answer.code == 429:
                failed = True
                self._pending.setdefault(report.uid, report)
            elif answer.code >= 400 and answer.code not in (404, 409):
                log.error(
                    "%s of pod %s/%s was refused: %s",
                    call.verb,
                    report.namespace,
                    report.name,
                    answer.body[:300],
                )
        if self._pending:
            self._news.set()
        return failed


def _status_call(report: _Report) -> Call:
    status = {**dict.fromkeys(_OPTIONAL), **report.status}
    body = {"metadata": {"uid": report.uid}, "status": status}
    return patch_call(PODS, report.name, body, report.namespace, MERGE_PATCH, "status")


def _delete_call(report: _Report) -> Call:
    return delete_call(PODS, report.name, report.namespace, grace_period_seconds=0, uid=report.uid)
