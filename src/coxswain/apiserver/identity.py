"""Who is asking and what they may do, put together from the settings.

Identity.assemble(config, pki, registry)
    .authenticator  .authorizer  .reviews  .tokens  .issuer     what the server works with
    .pipeline(core, ...)                                        one that waits for answers from outside, if need be
"""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api.names import PODS
from coxswain.apiserver.authz.node_relations import PodAtRest, PodsOf
from coxswain.apiserver.registry import Registry


def pods_by_node(registry: Registry) -> PodsOf:
    """The pods bound to a node, from the watch cache's index."""

    def pods_of(node: str) -> Iterable[PodAtRest]:
        entry = registry.get(PODS)
        return entry.cache.by_index(node) if entry is not None and entry.cache is not None else ()

    return pods_of
