"""CEL as admission speaks it: the variables of policies and match conditions, and what they are.

    compile_for(expression, VALIDATION, returns=("bool",)) -> Program          raises ``AdmissionExpressionError``

``object``, ``oldObject`` and ``params`` are open; ``request``, ``namespaceObject`` and the authorizer have types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from coxswain.api.cel.parser import CelError, CelProgramError
from coxswain.api.cel.program import Program, compile_expression
from coxswain.api.cel.types import BOOL, DYN, INT, STRING, TIMESTAMP, Declared, list_of, map_of, opaque, show


def _object(name: str, /, **fields: Declared) -> Declared:
    return Declared("object", name=name, fields=fields)


_KIND: Final = _object("kubernetes.GroupVersionKind", group=STRING, version=STRING, kind=STRING)
_RESOURCE: Final = _object("kubernetes.GroupVersionResource", group=STRING, version=STRING, resource=STRING)
_TEXTS: Final = map_of(STRING, STRING)
REQUEST: Final = _object(
    "kubernetes.AdmissionRequest",
    kind=_KIND,
    resource=_RESOURCE,
    subResource=STRING,
    requestKind=_KIND,
    requestResource=_RESOURCE,
    requestSubResource=STRING,
    name=STRING,
    namespace=STRING,
    operation=STRING,
    userInfo=_object(
        "kubernetes.UserInfo",
        username=STRING,
        uid=STRING,
        groups=list_of(STRING),
        extra=map_of(STRING, list_of(STRING)),
    ),
    dryRun=BOOL,
    options=DYN,
)
NAMESPACE: Final = _object(
    "kubernetes.Namespace",
    metadata=_object(
        "kubernetes.NamespaceMetadata",
        name=STRING,
        generateName=STRING,
        namespace=STRING,
        labels=_TEXTS,
        annotations=_TEXTS,
        UID=STRING,
        creationTimestamp=TIMESTAMP,
        deletionGracePeriodSeconds=INT,
        deletionTimestamp=TIMESTAMP,
        generation=INT,
        resourceVersion=STRING,
        finalizers=list_of(STRING),
    ),
    spec=_object("kubernetes.NamespaceSpec", finalizers=list_of(STRING)),
    status=_object(
        "kubernetes.NamespaceStatus",
        conditions=list_of(
            _object(
                "kubernetes.NamespaceCondition",
                status=STRING,
                type=STRING,
                lastTransitionTime=TIMESTAMP,
                message=STRING,
                reason=STRING,
            )
        ),
        phase=STRING,
    ),
)
OBJECT: Final = "Object"
JSON_PATCH: Final = "JSONPatch"
_PATCH_FIELDS: Final = {"op": STRING, "path": STRING, "from": STRING, "value": DYN}
#: What a mutation's expression gives, by its type.
RETURNS: Final[Mapping[str, Declared]] = {
    "ApplyConfiguration": Declared("object", name=OBJECT),
    "JSONPatch": list_of(Declared("object", name=JSON_PATCH)),
}


class AdmissionExpressionError(ValueError):
    """An expression that is not accepted; the text says why, as Kubernetes does."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What an expression may speak of."""

    params: bool = False
    authorizer: bool = True
    #: With ``Object{}``, ``JSONPatch{}`` and ``jsonpatch.escapeKey``.
    mutation: bool = False
    #: The types of a policy's own variables, as far as they are known here; None: there are none.
    variables: Mapping[str, Declared] | None = None
    namespace: bool = True
    _declared: dict[str, Declared] = field(default_factory=dict, repr=False, compare=False)

    def declared(self) -> Mapping[str, Declared]:
        """The types of the variables."""
        if not self._declared:
            made = {"object": DYN, "oldObject": DYN, "request": REQUEST}
            if self.namespace:
                made["namespaceObject"] = NAMESPACE
            if self.params:
                made["params"] = DYN
            if self.authorizer:
                made["authorizer"] = opaque("kubernetes.authorization.Authorizer")
                made["authorizer.requestResource"] = opaque("kubernetes.authorization.ResourceCheck")
            if self.variables is not None:
                made["variables"] = Declared(
                    "object", name="kubernetes.variables", fields=dict(self.variables)
                )
            self._declared.update(made)
        return self._declared

    def knowing(self, variables: Mapping[str, Declared]) -> Environment:
        """The same with these variables."""
        return replace(self, variables=dict(variables), _declared={})


def structs(name: str) -> Mapping[str, Declared] | None:
    """The structs that mutations make: ``Object`` and all below it, and ``JSONPatch``."""
    if name == JSON_PATCH:
        return _PATCH_FIELDS
    return {} if name == OBJECT or name.startswith(f"{OBJECT}.") else None


def compile_for(
    expression: str, environment: Environment, returns: tuple[Declared, ...] | None = (BOOL,)
) -> Program:
    """The program of an expression; ``returns``: the types that it may give, None: any.

    Raises ``AdmissionExpressionError``.
    """
    try:
        program = compile_expression(
            expression,
            environment.declared(),
            structs=structs if environment.mutation else None,
            mutation=environment.mutation,
        )
    except CelProgramError as error:
        raise AdmissionExpressionError(f"program instantiation failed: {error}") from None
    except CelError as error:
        raise AdmissionExpressionError(f"compilation failed: {error}") from None
    found = _name(program.declared)
    if returns is None or found in {_name(each) for each in returns}:
        return program
    wanted = [_name(each) for each in returns]
    if len(wanted) == 1:
        raise AdmissionExpressionError(f"must evaluate to {wanted[0]} but got {found}")
    raise AdmissionExpressionError(f"must evaluate to one of [{' '.join(wanted)}] but got {found}")


#: Types whose declared names differ from what complaints about operands call them.
_NAMES: Final = {
    "null_type": "null_type",
    "timestamp": "google.protobuf.Timestamp",
    "duration": "google.protobuf.Duration",
}


def _name(declared: Declared) -> str:
    if declared.kind in ("list", "map", "optional_type"):
        parts = [declared.key or STRING] if declared.kind == "map" else []
        return f"{declared.kind}({', '.join(_name(each) for each in [*parts, declared.element or DYN])})"
    return _NAMES.get(declared.kind) or show(declared)
