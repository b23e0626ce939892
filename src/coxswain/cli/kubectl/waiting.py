"""Waiting until an object is gone."""

from __future__ import annotations

import asyncio

from coxswain.api.errors import ApiError
from coxswain.api.kinds import Resource
from coxswain.cli.kubectl.failures import UsageError
from coxswain.cli.kubectl.session import Session


async def wait_until_gone(
    session: Session, resource: Resource, namespace: str, name: str, uid: str = "", seconds: float = 0
) -> None:
    """Return when there is no such object, or one with another ``uid``. Raises ``UsageError`` after ``seconds``
    (0: waits as long as it takes)."""
    try:
        async with asyncio.timeout(seconds or None):
            while await _is_there(session, resource, namespace, name, uid):
                pass
    except TimeoutError:
        raise UsageError(f"timed out waiting for the condition on {resource.gvr.resource}/{name}") from None


async def _is_there(session: Session, resource: Resource, namespace: str, name: str, uid: str) -> bool:
    """Whether the object still exists after what one watch had to say."""
    obj = await session.find(resource.gvr, namespace, name)
    if obj is None or (uid and obj["metadata"].get("uid") != uid):
        return False
    query = {"fieldSelector": f"metadata.name={name}", "resourceVersion": obj["metadata"]["resourceVersion"]}
    try:
        async with session.watch(resource.gvr, namespace, query) as events:
            async for batch in events:
                if any(event.type == "DELETED" for event in batch):
                    return False
    except ApiError as error:
        if error.reason not in ("Expired", "Gone"):
            raise
    return True
