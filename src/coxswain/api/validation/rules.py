"""What a kind's validation consists of; the modules of kinds fill in ``RULES`` with these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coxswain.api.fields import Errors, invalid
from coxswain.api.names import Object
from coxswain.api.validation.formats import IMMUTABLE, Check, dns_subdomain

OneObject = Callable[[Object, Errors], None]
TwoObjects = Callable[[Object, Object, Errors], None]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one kind, beside those of metadata. Every function appends to the errors it is given."""

    #: The object's own fields; runs for new and for changed objects.
    validate: OneObject | None = None
    #: What only a new object has to obey.
    create: OneObject | None = None
    #: What may change: (new, old).
    update: TwoObjects | None = None
    #: What a change of the status subresource has to obey: (new, old).
    status: TwoObjects | None = None
    name_check: Check = dns_subdomain
    namespaced: bool = True
    #: Finalizers must be standard or have a domain.
    strict_finalizers: bool = True
    #: A changed object's metadata is checked as a new one's, too (Kubernetes does so for some kinds, and
    #: reports the same fault twice there).
    metadata_on_update: bool = False
    #: A base for generated names is checked like a name.
    check_generate_name: bool = True
    #: ``update`` reports before ``validate``.
    update_first: bool = False


def field_immutable(new: Object, old: Object, field: str, errors: Errors, path: str = "") -> None:
    """``field`` may not change."""
    if new.get(field) != old.get(field):
        errors.append(invalid(path or field, new.get(field), IMMUTABLE))
