"""A server outside that is asked by webhooks of authentication and authorization."""

from __future__ import annotations

from coxswain.api.names import Object


class AskedPeer:
    """Answers from a list of statuses, or fails, and remembers what it was asked."""

    def __init__(self, *statuses: Object | Exception) -> None:
        self.statuses = list(statuses)
        self.asked: list[Object] = []

    async def post(self, body: Object) -> Object:
        self.asked.append(body)
        status = self.statuses.pop(0)
        if isinstance(status, Exception):
            raise status
        return {**body, "status": status}

    async def close(self) -> None:
        pass
