"""Which requests concern extension servers, and how they are passed on.

The user has been authenticated and is authorized here, as for any other request; the extension server hears who it is
from headers, and believes it because of our client certificate. A server that does not answer its looks is not asked: the
answer is 503 at once.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

import orjson

from coxswain.api import errors
from coxswain.apiserver.aggregation.remotes import Remote
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.apiserver.http1 import Request
from coxswain.apiserver.kubelet_client import StreamReply
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.proxying import headers
from coxswain.apiserver.proxying.passages import Answer, Passage, Target
from coxswain.apiserver.proxying.upgrades import pass_upgrade
from coxswain.apiserver.request import Reply
from coxswain.apiserver.routes import VERBS
from coxswain.client.interface import Call, RawList, UserInfo

_TEXT = "text/plain; charset=utf-8"
_METHODS = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETE",
}


class Extensions:
    """``remotes`` are the extension servers by group and version; whoever follows the APIServices changes it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.remotes: dict[tuple[str, str], Remote] = {}
        self._pipeline = pipeline

    def concerns(self, target: Target) -> bool:
        """Whether an extension server answers this request."""
        return bool(self.remotes) and self._remote(target) is not None

    def _remote(self, target: Target) -> Remote | None:
        route = target.route
        if route is not None:
            return self.remotes.get(route.resource[:2])
        # The list of a group version's resources is no resource itself, nor is what an extension has besides.
        parts = target.path.split("/", 4)
        if len(parts) > 3 and parts[1] == "apis":
            return self.remotes.get((parts[2], parts[3]))
        return None

    def passage(self, request: Request, target: Target, user: UserInfo) -> Passage:
        """The answer, for a task to wait for. Raises ``ApiError`` for who may not."""
        remote = self._remote(target)
        assert remote is not None
        self._pipeline.authorize(_attributes(request, target, user))
        return _pass_on(remote, request, headers.on_the_wire(target.path), user)

    async def ask(self, call: Call, user: UserInfo) -> StreamReply:
        """The answer to a call of a component in this process. Raises ``ApiError``."""
        group, version, resource = call.resource
        place = (call.subresource, call.namespace, call.name)
        self._pipeline.authorize(Attributes(user, call.verb, group, version, resource, *place))
        remote = self.remotes[group, version]
        location = remote.locate(_path_of(remote, call), urlencode(call.query)) if remote.available else None
        if location is None or remote.tls is None:
            raise errors.ServiceUnavailable("service unavailable")
        fields = [("Accept", call.accept), *headers.identity(user)]
        if call.body:
            fields.append(("Content-Type", call.content_type))
        return await remote.request(_METHODS[call.verb], location, fields, call.body)

    async def ask_list(self, call: Call, user: UserInfo) -> RawList:
        """The same for a list, item by item. Raises ``ApiError``."""
        reply = await self.ask(call, user)
        body = b"".join([piece async for piece in reply.body])
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise errors.ServiceUnavailable(f"{call.resource.group_resource}: HTTP {reply.code}") from None
        if reply.code >= 400:
            raise errors.from_status(found)
        metadata = found.get("metadata") or {}
        items = [orjson.dumps(item) for item in found.get("items") or ()]
        return RawList(items, metadata.get("resourceVersion") or "", metadata.get("continue") or "")


def _path_of(remote: Remote, call: Call) -> str:
    namespace = f"/namespaces/{call.namespace}" if call.namespace else ""
    below = "/".join(quote(part, safe="") for part in (call.name, call.subresource) if part)
    return f"{remote.path}{namespace}/{call.resource.resource}" + (f"/{below}" if below else "")


def _attributes(request: Request, target: Target, user: UserInfo) -> Attributes:
    route = target.route
    if route is None:
        return Attributes(user, request.method.lower(), path=target.path, is_resource=False)
    verb = target.verb or VERBS.get(request.method, "")
    group, version, resource = route.resource
    return Attributes(user, verb, group, version, resource, route.subresource, route.namespace, route.name)


async def _pass_on(remote: Remote, request: Request, path: str, user: UserInfo) -> Answer:
    query = headers.query_of(request.target)
    location = remote.locate(path, query) if remote.available else None
    if location is None:
        return _unavailable("service unavailable")
    if remote.tls is None:
        return Reply(500, f"{remote.tls_problem}\n".encode(), _TEXT)
    fields = headers.passed_on(request.fields, request.connection.peer) + headers.identity(user)
    try:
        if headers.is_upgrade(request.headers):
            fields += headers.upgrade_fields(request.headers)
            return await pass_upgrade(request, location, fields, remote.tls, remote.server_name)
        return await remote.request(request.method, location, fields, request.upload or request.body)
    except errors.ApiError as error:
        return _unavailable(error.message)


def _unavailable(why: str) -> Reply:
    """503 as kube-aggregator words it: text, for no extension has said anything."""
    return Reply(503, f"{why}\n".encode(), _TEXT)
