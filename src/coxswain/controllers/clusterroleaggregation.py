"""ClusterRole aggregation: a role with an ``aggregationRule`` has the rules of the roles it selects.

Any change of any cluster role may concern every aggregated one; there are few, so all are looked at. A role
whose rules are right is not written.
"""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api import selectors
from coxswain.api.errors import NotFound
from coxswain.api.meta import labels
from coxswain.api.names import CLUSTER_ROLES, Object
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.shell import Shell

NAME = "clusterrole-aggregation-controller"


def aggregated_rules(role: Object, roles: Iterable[Object]) -> list[Object] | None:
    """The rules that ``role`` should have: selector by selector, role names in order, no rule twice.

    None for a role without an aggregation rule.
    """
    if role.get("aggregationRule") is None:
        return None
    own = role["metadata"]["name"]
    others = sorted(roles, key=lambda other: str(other["metadata"]["name"]))
    rules: list[Object] = []
    for wanted in role["aggregationRule"].get("clusterRoleSelectors") or ():
        selector = selectors.label_selector_from(wanted)
        for other in others:
            if other["metadata"]["name"] != own and selector.matches(labels(other)):
                rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    roles = context.informers.informer(CLUSTER_ROLES)

    async def reconcile(name: str) -> None:
        role = roles.get(name)
        rules = aggregated_rules(role, roles.list()) if role else None
        if role is None or rules is None or rules == (role.get("rules") or []):
            return
        try:
            await context.client.update(CLUSTER_ROLES, {**role, "rules": rules})
        except NotFound:
            return

    def wake(_: Object) -> None:
        for role in roles.list():
            if role.get("aggregationRule") is not None:
                shell.add(role["metadata"]["name"])

    shell = Shell(NAME, reconcile, context.workers)
    roles.add_handler(wake, lambda _, role: wake(role), wake)
    await context.informers.start()
    await roles.wait_synced()
    await shell.run()


DESCRIPTOR = Descriptor(NAME, run, account="clusterrole-aggregation-controller")
