"""ReplicationControllers are kept by the replica set controller's code, as in Kubernetes.

They differ in name, in a selector that is a plain map (empty selects nothing), and in counting no
terminating pods.
"""

from __future__ import annotations

from coxswain.api import selectors
from coxswain.api.names import REPLICATION_CONTROLLERS, Object
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.replicaset.controller import Flavor, ReplicaSetController

NAME = "replicationcontroller-controller"


def selector_of(owner: Object) -> selectors.Selector:
    """What the replication controller selects; nothing where it has no selector."""
    wanted = owner["spec"].get("selector")
    return selectors.label_selector_from({"matchLabels": wanted} if wanted else None)


REPLICATION_CONTROLLER = Flavor(
    name=NAME,
    component="replication-controller",
    resource=REPLICATION_CONTROLLERS,
    kind="ReplicationController",
    selector=selector_of,
    counts_terminating=False,
)


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await ReplicaSetController(context, REPLICATION_CONTROLLER).run()


DESCRIPTOR = Descriptor(NAME, run, account="replication-controller")
