"""Ingresses, ingress classes, network policies, addresses."""

from __future__ import annotations

from coxswain.api.fields import Errors, Shown, forbidden, invalid, not_supported, required, too_long
from coxswain.api.names import Object
from coxswain.api.validation.formats import (
    IMMUTABLE,
    Complaints,
    cidr,
    dns_1035_label,
    dns_label,
    dns_subdomain,
    parse_cidr,
    parse_ip,
    path_segment,
    port_name,
    port_number,
    port_or_name,
    report,
    wildcard_subdomain,
)
from coxswain.api.validation.objectmeta import validate_label_selector
from coxswain.api.validation.rules import Rules
from coxswain.api.validation.services import validate_load_balancer_status
from coxswain.api.validation.shown import go_struct

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES = ("/..", "/.")


def _validate_ingress(ingress: Object, errors: Errors) -> None:
    spec = ingress.get("spec") or {}
    rules, backend = spec.get("rules") or [], spec.get("defaultBackend")
    if not rules and backend is None:
        errors.append(
            invalid("spec", _empty_ingress(), "either `defaultBackend` or `rules` must be specified")
        )
    if backend is not None:
        _validate_backend(backend, "spec.defaultBackend", errors)
    for position, rule in enumerate(rules):
        _validate_rule(rule, f"spec.rules[{position}]", errors)
    for position, tls in enumerate(spec.get("tls") or ()):
        path = f"spec.tls[{position}]"
        for number, host in enumerate(tls.get("hosts") or ()):
            check = wildcard_subdomain if "*" in host else dns_subdomain
            report(check(host), f"{path}.hosts[{number}]", host, errors)
        if tls.get("secretName"):
            report(dns_subdomain(tls["secretName"]), f"{path}.secretName", tls["secretName"], errors)
    if spec.get("ingressClassName") is not None:
        name = spec["ingressClassName"]
        report(dns_subdomain(name), "spec.ingressClassName", name, errors)


def _empty_ingress() -> Shown:
    return Shown('{"IngressClassName":null,"DefaultBackend":null,"TLS":null,"Rules":null}')


def _validate_rule(rule: Object, path: str, errors: Errors) -> None:
    host = rule.get("host")
    if host:
        if parse_ip(host) is not None:
            errors.append(invalid(f"{path}.host", host, "must be a DNS name, not an IP address"))
        check = wildcard_subdomain if "*" in host else dns_subdomain
        report(check(host), f"{path}.host", host, errors)
    http = rule.get("http")
    if http is None:
        return
    if not http.get("paths"):
        errors.append(required(f"{path}.http.paths"))
    for position, each in enumerate(http.get("paths") or ()):
        _validate_path(each, f"{path}.http.paths[{position}]", errors)


def _validate_path(each: Object, path: str, errors: Errors) -> None:
    kind, target = each.get("pathType"), each.get("path") or ""
    if kind is None:
        errors.append(required(f"{path}.pathType", "pathType must be specified"))
        return
    if kind in ("Exact", "Prefix"):
        if not target.startswith("/"):
            errors.append(invalid(f"{path}.path", target, "must be an absolute path"))
        if target:
            for sequence in _BAD_SEQUENCES:
                if sequence in target:
                    errors.append(invalid(f"{path}.path", target, f"must not contain '{sequence}'"))
            for suffix in _BAD_SUFFIXES:
                if target.endswith(suffix):
                    errors.append(invalid(f"{path}.path", target, f"cannot end with '{suffix}'"))
    elif kind == "ImplementationSpecific":
        if target and not target.startswith("/"):
            errors.append(invalid(f"{path}.path", target, "must be an absolute path"))
    else:
        errors.append(not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    _validate_backend(each.get("backend") or {}, f"{path}.backend", errors)


def _validate_backend(backend: Object, path: str, errors: Errors) -> None:
    service, resource = backend.get("service"), backend.get("resource")
    if resource is not None and service is not None:
        errors.append(invalid(path, "", "cannot set both resource and service backends"))
    elif resource is not None:
        if resource.get("apiGroup"):
            group = resource["apiGroup"]
            report(dns_subdomain(group), f"{path}.resource.apiGroup", group, errors)
        for field in ("kind", "name"):
            value = resource.get(field) or ""
            if not value:
                errors.append(required(f"{path}.resource.{field}"))
            report(path_segment(value), f"{path}.resource.{field}", value, errors)
    elif service is None:
        errors.append(invalid(path, "", "resource or service backend is required"))
    else:
        _validate_service_backend(service, path, errors)


def _validate_service_backend(service: Object, path: str, errors: Errors) -> None:
    name, port = service.get("name") or "", service.get("port") or {}
    if not name:
        errors.append(required(f"{path}.service.name"))
    else:
        report(dns_1035_label(name), f"{path}.service.name", name, errors)
    if port.get("name") and port.get("number"):
        errors.append(invalid(path, "", "cannot set both port name & port number"))
    elif port.get("name"):
        report(port_name(port["name"]), f"{path}.service.port.name", port["name"], errors)
    elif port.get("number"):
        port_number(f"{path}.service.port.number", port["number"], errors)
    else:
        errors.append(required(path, "port name or number is required"))


def _validate_new_ingress(ingress: Object, errors: Errors) -> None:
    """The annotation from before there was ``ingressClassName`` may not contradict it."""
    annotated = ((ingress.get("metadata") or {}).get("annotations") or {}).get(_CLASS_ANNOTATION)
    name = (ingress.get("spec") or {}).get("ingressClassName")
    if annotated is not None and name is not None and annotated != name:
        why = "must match `ingressClassName` when both are specified"
        errors.append(invalid(f"annotations.{_CLASS_ANNOTATION}", annotated, why))


def _validate_ingress_status(new: Object, old: Object, errors: Errors) -> None:
    status = (new.get("status") or {}).get("loadBalancer") or {}
    validate_load_balancer_status(status, "status.loadBalancer", errors)


def _validate_ingress_class(ingress_class: Object, errors: Errors) -> None:
    spec = ingress_class.get("spec") or {}
    controller = spec.get("controller") or ""
    if len(controller) > 250:
        errors.append(too_long("spec.controller", "", 250))
    if not controller:
        errors.append(required("spec.controller"))
    elif "/" not in controller or dns_subdomain(controller.partition("/")[0]):
        why = 'must be a domain-prefixed path (such as "acme.io/foo")'
        errors.append(invalid("spec.controller", controller, why))
    parameters = spec.get("parameters")
    if parameters is not None:
        _validate_class_parameters(parameters, "spec.parameters", errors)


def _validate_class_parameters(parameters: Object, path: str, errors: Errors) -> None:
    if parameters.get("apiGroup") is not None:
        report(dns_subdomain(parameters["apiGroup"]), f"{path}.apiGroup", parameters["apiGroup"], errors)
    for field in ("kind", "name"):
        value = parameters.get(field) or ""
        if not value:
            errors.append(required(f"{path}.{field}"))
        report(path_segment(value), f"{path}.{field}", value, errors)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        errors.append(required(f"{path}.scope"))
    elif scope not in ("Cluster", "Namespace"):
        errors.append(not_supported(f"{path}.scope", scope, ("Cluster", "Namespace")))
    elif scope == "Cluster":
        if namespace is not None:
            errors.append(forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
    elif namespace is None:
        errors.append(required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
    else:
        report(dns_label(namespace), f"{path}.namespace", namespace, errors)


def _validate_ingress_class_update(new: Object, old: Object, errors: Errors) -> None:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if spec.get("controller") != before.get("controller"):
        errors.append(invalid("spec.controller", spec.get("controller"), IMMUTABLE))


def _validate_network_policy(policy: Object, errors: Errors) -> None:
    spec = policy.get("spec") or {}
    validate_label_selector(spec.get("podSelector"), "spec.podSelector", errors)
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for position, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{position}]"
            for number, port in enumerate(rule.get("ports") or ()):
                _validate_policy_port(port, f"{path}.ports[{number}]", errors)
            for number, peer in enumerate(rule.get(peers) or ()):
                _validate_peer(peer, f"{path}.{peers}[{number}]", errors)
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        errors.append(invalid("spec.policyTypes", types, "may not specify more than two policyTypes"))
        return
    for position, kind in enumerate(types):
        if kind not in ("Ingress", "Egress"):
            errors.append(not_supported(f"spec.policyTypes[{position}]", kind, ("Ingress", "Egress")))


def _validate_policy_port(port: Object, path: str, errors: Errors) -> None:
    protocol, number, end = port.get("protocol"), port.get("port"), port.get("endPort")
    if protocol is not None and protocol not in _PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, ("TCP", "UDP", "SCTP")))
    if number is not None:
        port_or_name(f"{path}.port", number, errors)
        if end is not None:
            if isinstance(number, str):
                why = "may not be specified when `port` is non-numeric"
                errors.append(invalid(f"{path}.endPort", end, why))
            else:
                if end < number:
                    errors.append(invalid(f"{path}.endPort", end, "must be greater than or equal to `port`"))
                port_number(f"{path}.endPort", end, errors)
    elif end is not None:
        errors.append(invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified"))


def _validate_peer(peer: Object, path: str, errors: Errors) -> None:
    found = 0
    for field in ("podSelector", "namespaceSelector"):
        if peer.get(field) is not None:
            found = 1
            validate_label_selector(peer[field], f"{path}.{field}", errors)
    block = peer.get("ipBlock")
    if block is not None:
        found += 1
        _validate_block(block, f"{path}.ipBlock", errors)
    if not found:
        errors.append(required(path, "must specify a peer"))
    elif found > 1 and block is not None:
        errors.append(forbidden(path, "may not specify both ipBlock and another peer"))


def _validate_block(block: Object, path: str, errors: Errors) -> None:
    text = block.get("cidr") or ""
    if not text:
        errors.append(required(f"{path}.cidr"))
        return
    if not cidr(f"{path}.cidr", text, errors):
        return
    whole = parse_cidr(text)
    for position, each in enumerate(block.get("except") or ()):
        here = f"{path}.except[{position}]"
        if not cidr(here, each, errors):
            continue
        part = parse_cidr(each)
        if whole is None or part is None:
            continue
        inside = part.version == whole.version and part.network_address in whole
        if not inside or part.prefixlen <= whole.prefixlen:
            errors.append(invalid(here, each, "must be a strict subset of `cidr`"))


def _address_name(name: str) -> Complaints:
    if parse_ip(name) is None:
        return ("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",)
    return ()


def _validate_address(address: Object, errors: Errors) -> None:
    reference = (address.get("spec") or {}).get("parentRef")
    if reference is None:
        errors.append(required("spec.parentRef"))
        return
    if reference.get("group"):
        report(dns_subdomain(reference["group"]), "spec.parentRef.group", reference["group"], errors)
    for field in ("resource", "name"):
        if not reference.get(field):
            errors.append(required(f"spec.parentRef.{field}"))
    for field in ("resource", "name", "namespace"):
        if reference.get(field):
            report(path_segment(reference[field]), f"spec.parentRef.{field}", reference[field], errors)


def _validate_address_update(new: Object, old: Object, errors: Errors) -> None:
    reference = (new.get("spec") or {}).get("parentRef")
    if reference != (old.get("spec") or {}).get("parentRef"):
        shown = go_struct(reference or {}, "group", "resource", "namespace", "name")
        errors.append(invalid("spec.parentRef", shown, IMMUTABLE))


_CIDRS = "spec.cidrs"
_ONE_A_FAMILY = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"


def _validate_service_cidr(service_cidr: Object, errors: Errors) -> None:
    networks = (service_cidr.get("spec") or {}).get("cidrs") or []
    if not networks:
        errors.append(required(_CIDRS, "at least one CIDR required"))
    elif len(networks) > 2:
        errors.append(invalid(_CIDRS, {"CIDRs": networks}, "may only hold up to 2 values"))
    else:
        for position, network in enumerate(networks):
            _validate_strict_cidr(network, f"{_CIDRS}[{position}]", errors)
        parsed = [found for network in networks if (found := parse_cidr(network)) is not None]
        if len(parsed) == 2 and parsed[0].version == parsed[1].version:
            errors.append(invalid(_CIDRS, networks, _ONE_A_FAMILY))


def _validate_strict_cidr(network: str, path: str, errors: Errors) -> None:
    if cidr(path, network, errors):
        canonical = str(parse_cidr(network))
        if canonical != network:
            errors.append(invalid(path, network, f'must be in canonical form ("{canonical}")'))


def _validate_service_cidr_update(new: Object, old: Object, errors: Errors) -> None:
    """Networks stay; a second one may be added, of the other family."""
    networks = (new.get("spec") or {}).get("cidrs") or []
    before = (old.get("spec") or {}).get("cidrs") or []
    if len(networks) == len(before):
        for position, (network, was) in enumerate(zip(networks, before, strict=True)):
            if network != was:
                errors.append(invalid(f"{_CIDRS}[{position}]", network, IMMUTABLE))
    elif len(before) == 1 and len(networks) == 2:
        if networks[0] != before[0]:
            errors.append(invalid(f"{_CIDRS}[0]", networks[0], IMMUTABLE))
        _validate_service_cidr(new, errors)
    else:
        errors.append(invalid(_CIDRS, networks or None, IMMUTABLE))


_GROUP = "networking.k8s.io"
RULES = {
    (_GROUP, "Ingress"): Rules(
        validate=_validate_ingress, create=_validate_new_ingress, status=_validate_ingress_status
    ),
    (_GROUP, "IngressClass"): Rules(
        validate=_validate_ingress_class, update=_validate_ingress_class_update, namespaced=False
    ),
    (_GROUP, "NetworkPolicy"): Rules(validate=_validate_network_policy),
    (_GROUP, "IPAddress"): Rules(
        create=_validate_address,
        update=_validate_address_update,
        name_check=_address_name,
        namespaced=False,
    ),
    (_GROUP, "ServiceCIDR"): Rules(
        create=_validate_service_cidr, update=_validate_service_cidr_update, namespaced=False
    ),
}
