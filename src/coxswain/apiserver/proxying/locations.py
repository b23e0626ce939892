"""Where a request is passed on to, decided from the cluster's objects. Nothing here waits or connects.

    nodes/[scheme:]NAME[:port]/proxy      the kubelet, or another port of the node
    pods/[scheme:]NAME[:port]/proxy       the pod's address; without a port its first container port
    services/[scheme:]NAME[:port]/proxy   an address behind the Service; the port by its number or name
    pods/NAME/exec, attach, portforward   the kubelet's /exec, /attach, /portForward

The rules and words are those of Kubernetes' registries for pods, services and nodes. Addresses that lead nowhere but
to the API server's own machine or link are not allowed, or whoever may proxy could reach what listens there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from coxswain.api import errors, meta
from coxswain.api.names import ENDPOINTS, GVR, NODES, PODS, SERVICES, Object
from coxswain.apiserver.kubelet_client import kubelet_address
from coxswain.apiserver.lookup import Lookup
from coxswain.base import clock

ENDPOINT_SLICES = GVR("discovery.k8s.io", "v1", "endpointslices")
SERVICE_NAME = "kubernetes.io/service-name"

#: What kubelets call the options of exec and attach.
_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})


@dataclass(frozen=True, slots=True)
class Location:
    """An address. ``path`` and ``query`` are as they go over the wire. ``node`` is set where a kubelet answers."""

    scheme: str
    host: str
    port: int
    path: str = "/"
    query: str = ""
    node: str = ""

    @property
    def authority(self) -> str:
        """``host:port``, for the Host header; without the port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """What stands in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass(frozen=True, slots=True)
class Places:
    """Finds locations. ``loopback``: whether addresses of this machine are allowed."""

    lookup: Lookup
    loopback: bool = False

    # -- proxies

    def proxy(self, resource: GVR, namespace: str, name: str, path: str, query: str) -> Location:
        """Where the proxy of a node, pod or service leads. Raises ``ApiError``."""
        if resource == NODES:
            return self._node(name, path, query)
        if resource == PODS:
            return self._pod(namespace, name, path, query)
        return self._service(namespace, name, path, query)

    def _node(self, wanted: str, path: str, query: str) -> Location:
        scheme, name, port = split_name(wanted, "node")
        node = self._get(NODES, "", name)
        host, own = kubelet_address(node)
        if port in ("", str(own)):
            return Location("https", host, own, path, query, node=name)
        return self._allowed(Location(scheme or "http", host, _number(port, wanted), path, query))

    def _pod(self, namespace: str, wanted: str, path: str, query: str) -> Location:
        scheme, name, port = split_name(wanted, "pod")
        pod = self._get(PODS, namespace, name)
        status = pod.get("status") or {}
        host = next((one.get("ip") for one in status.get("podIPs") or ()), None) or status.get("podIP") or ""
        ports = [
            one
            for container in (pod.get("spec") or {}).get("containers") or ()
            for one in container.get("ports") or ()
        ]
        number = 443 if scheme == "https" else 80
        if port:
            named = {one.get("name"): one.get("containerPort") for one in ports}
            number = int(named[port]) if port in named else _number(port, wanted)
        elif ports:
            number = int(ports[0]["containerPort"])
        return self._allowed(Location(scheme or "http", host, number, path, query))

    def _service(self, namespace: str, wanted: str, path: str, query: str) -> Location:
        scheme, name, port = split_name(wanted, "service")
        service = self._get(SERVICES, namespace, name)
        if port.isascii() and port.isdigit():
            declared = (service.get("spec") or {}).get("ports") or ()
            found = next((one for one in declared if one.get("port") == int(port)), None)
            if found is None:
                raise errors.ServiceUnavailable(f'no service port {int(port)} found for service "{name}"')
            port = found.get("name") or ""
        behind = backends(self.lookup, namespace, name, port)
        if not behind:
            raise errors.ServiceUnavailable(f'no endpoints available for service "{name}"')
        host, number = clock.random().choice(behind)
        return self._allowed(Location(scheme or "http", host, number, path, query))

    # -- what kubelets stream

    def stream(self, namespace: str, name: str, subresource: str, query: str) -> Location:
        """Where exec, attach or portforward of a pod leads. Raises ``ApiError``."""
        pod = self._get(PODS, namespace, name)
        asked = parse_qsl(query, keep_blank_values=True, errors="replace")
        path = f"/{_KUBELET_PATHS[subresource]}/{quote(namespace)}/{quote(name)}"
        passed: list[tuple[str, str]] = []
        if subresource == "portforward":
            passed = [("port", port) for key, value in asked if key == "ports" for port in value.split(",")]
        else:
            given = next((value for key, value in asked if key == "container"), "")
            path = f"{path}/{quote(container_of(pod, given, every=False))}"
            for key, value in asked:
                if key in _STREAMS and value in _TRUE:
                    passed.append((_STREAMS[key], "1"))
                elif key == "command" and subresource == "exec":
                    passed.append((key, value))
        node_name = (pod.get("spec") or {}).get("nodeName")
        if not node_name:
            raise errors.BadRequest(f"pod {name} does not have a host assigned")
        host, port_number = kubelet_address(self._get(NODES, "", node_name))
        return Location("https", host, port_number, path, urlencode(passed), node=node_name)

    # -- shared

    def _get(self, resource: GVR, namespace: str, name: str) -> Object:
        found = self.lookup.get(resource, namespace, name)
        if found is None:
            raise errors.not_found(resource, name)
        return found

    def _allowed(self, location: Location) -> Location:
        if not is_allowed(location.host, self.loopback):
            raise errors.BadRequest("address not allowed")
        return location


_KUBELET_PATHS = {"exec": "exec", "attach": "attach", "portforward": "portForward"}


def is_allowed(host: str, loopback: bool) -> bool:
    """Whether requests may be passed on to this address: a unicast address that is not of this machine or link."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return loopback
    broadcast = address == ipaddress.ip_address("255.255.255.255")
    return not (address.is_link_local or address.is_multicast or address.is_unspecified or broadcast)


def split_name(text: str, what: str) -> tuple[str, str, str]:
    """``[scheme:]name[:port]`` into its parts. Raises ``BadRequest``."""
    parts = text.split(":")
    if len(parts) < 3:
        scheme, name, port = "", parts[0], "".join(parts[1:])
    else:
        scheme, name, port = parts[:3]
    if len(parts) > 3 or not name or scheme not in ("", "http", "https"):
        raise errors.BadRequest(f'invalid {what} request "{text}"')
    return scheme, name, port


def _number(port: str, wanted: str) -> int:
    if port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        return int(port)
    raise errors.BadRequest(f'invalid port "{port}" in "{wanted}"')


def container_of(pod: Object, asked: str, *, every: bool = True) -> str:
    """The container that is meant; ``every``: say which init and ephemeral ones there are, too.

    Raises ``BadRequest``.
    """
    spec = pod.get("spec") or {}
    main, init, ephemeral = (
        [one.get("name") or "" for one in spec.get(field) or ()]
        for field in ("containers", "initContainers", "ephemeralContainers")
    )
    name = meta.name(pod)
    if asked:
        if asked not in (*main, *init, *ephemeral):
            raise errors.BadRequest(f"container {asked} is not valid for pod {name}")
        return asked
    if len(main) == 1:
        return main[0]
    listed = f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]"
    if init:
        listed += f" or one of the init containers: [{' '.join(init)}]"
    if ephemeral and every:
        listed += f" or one of the ephemeral containers: [{' '.join(ephemeral)}]"
    raise errors.BadRequest(listed)


# -- what is behind a service


def backends(lookup: Lookup, namespace: str, name: str, port: str) -> list[tuple[str, int]]:
    """Ready addresses and port numbers behind the port named ``port`` of a Service."""
    found: list[tuple[str, int]] = []
    for piece in slices_of(lookup, namespace, name):
        numbers = [one["port"] for one in piece.get("ports") or () if _has_name(one, port)]
        for endpoint in piece.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False and endpoint.get("addresses"):
                found += [(endpoint["addresses"][0], int(number)) for number in numbers]
    return found or _older(lookup.get(ENDPOINTS, namespace, name), port)


def slices_of(lookup: Lookup, namespace: str, name: str) -> Sequence[Object]:
    """The EndpointSlices of a Service."""
    return [
        piece
        for piece in lookup.list(ENDPOINT_SLICES, namespace)
        if ((piece.get("metadata") or {}).get("labels") or {}).get(SERVICE_NAME) == name
    ]


def _has_name(port: Object, name: str) -> bool:
    return (port.get("name") or "") == name and bool(port.get("port"))


def _older(endpoints: Object | None, port: str) -> list[tuple[str, int]]:
    """What Endpoints say, where nobody has made slices of them."""
    subsets: Iterable[Object] = (endpoints or {}).get("subsets") or ()
    return [
        (address["ip"], int(one["port"]))
        for subset in subsets
        for one in subset.get("ports") or ()
        if _has_name(one, port)
        for address in subset.get("addresses") or ()
    ]
