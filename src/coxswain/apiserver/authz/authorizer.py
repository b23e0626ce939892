"""The authorizers in their order; the first that allows or denies decides.

    system:masters -> [Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny, as configured] -> refused

What has no opinion may give a reason; the reasons of all are in the refusal, one a line, as Kubernetes'
union of authorizers has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from coxswain.apiserver.authz import node
from coxswain.apiserver.authz.attributes import Attributes, Decision
from coxswain.apiserver.authz.node_relations import NodeRelations, PodsOf
from coxswain.apiserver.authz.rbac import Rbac
from coxswain.apiserver.authz.rules import Rule
from coxswain.apiserver.lookup import Lookup
from coxswain.client.interface import UserInfo

#: Its members may do everything; no role can take that away.
MASTERS = "system:masters"
MODES = ("AlwaysAllow", "AlwaysDeny", "ABAC", "Webhook", "RBAC", "Node")

_PRIVILEGED = Decision(True)
_NO_OPINION = Decision(False)

Ask = Callable[[Attributes], Decision]


class Mode(Protocol):
    """One authorizer of the chain. ``rules`` is what a SelfSubjectRulesReview lists of it.

    ``authorize`` may raise ``Pending``; ``rules`` gives resource rules, path rules, and why they may be
    incomplete ("" where they are complete).
    """

    def authorize(self, attributes: Attributes) -> Decision: ...

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Rule], str]: ...


class Authorizer:
    """Synchronous, served from memory; about a microsecond for a user seen before."""

    def __init__(
        self,
        lookup: Lookup,
        *,
        modes: Iterable[str] = ("Node", "RBAC"),
        more: dict[str, Mode] | None = None,
        pods_of: PodsOf | None = None,
    ) -> None:
        """``more`` has the authorizers of modes ABAC and Webhook; ``pods_of`` the pods bound to a node."""
        self.rbac = Rbac(lookup)
        self.relations = NodeRelations(lookup, pods_of)
        self.modes: dict[str, Mode] = {}
        for name in modes:
            self.modes[name] = (more or {}).get(name) or self._own(name)
        #: By far the most frequent question goes to RBAC alone.
        self._plain: Ask = self._chain if tuple(self.modes) != ("Node", "RBAC") else self.rbac.authorize

    def _own(self, name: str) -> Mode:
        if name == "RBAC":
            return self.rbac
        if name == "Node":
            return node.NodeAuthorizer(self.relations)
        return _Always(name == "AlwaysAllow")

    def authorize(self, attributes: Attributes) -> Decision:
        """Whether the request is allowed. Raises nothing but ``Pending``."""
        groups = attributes.user.groups
        if MASTERS in groups:
            return _PRIVILEGED
        if node.NODES_GROUP in groups:
            return self._chain(attributes)
        return self._plain(attributes)

    def _chain(self, attributes: Attributes) -> Decision:
        reasons: list[str] = []
        problems: list[str] = []
        for mode in self.modes.values():
            decision = mode.authorize(attributes)
            if decision.allowed or decision.denied:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
            if decision.error:
                problems.append(decision.error)
        if not reasons and not problems:
            return _NO_OPINION
        return Decision(
            False, "\n".join(reasons), error=problems[0] if len(problems) == 1 else _joined(problems)
        )

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Rule], list[str]]:
        """What ``user`` may do in ``namespace`` as far as rules tell it, and why that may not be all."""
        rules: list[Rule] = []
        problems: list[str] = []
        for mode in self.modes.values():
            found, problem = mode.rules(user, namespace)
            rules += found
            if problem:
                problems.append(problem)
        return rules, problems


class _Always:
    """``AlwaysAllow`` and ``AlwaysDeny``."""

    def __init__(self, allow: bool) -> None:
        self._decision = Decision(True) if allow else Decision(False, "Everything is forbidden.")
        everything = [Rule(("*",), ("*",), ("*",)), Rule(("*",), non_resource_urls=("*",))]
        self._rules = everything if allow else []

    def authorize(self, attributes: Attributes) -> Decision:
        return self._decision

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Rule], str]:
        return self._rules, ""


def _joined(problems: list[str]) -> str:
    return f"[{', '.join(problems)}]" if problems else ""
