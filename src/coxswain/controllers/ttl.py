"""Tells each node how long it may keep secrets and config maps before it asks again: longer in big clusters.

The annotation ``node.alpha.kubernetes.io/ttl`` is in seconds. The steps overlap, so that a cluster at the edge
of two does not swing between them. As in Kubernetes, a node hears of a new step when it next changes.
"""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import NODES, Object
from coxswain.client.informer import key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.shell import Shell

NAME = "ttl-controller"
TTL = "node.alpha.kubernetes.io/ttl"
#: (fewest nodes, most nodes, seconds)
_STEPS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 1 << 31, 300))


class Steps:
    """Which step a cluster is on, as nodes come and go one by one."""

    def __init__(self) -> None:
        self._nodes = 0
        self._step = 0

    @property
    def seconds(self) -> int:
        """What nodes should be told now."""
        return _STEPS[self._step][2]

    def add(self) -> None:
        """A node came."""
        self._nodes += 1
        if self._nodes > _STEPS[self._step][1]:
            self._step += 1

    def remove(self) -> None:
        """A node went."""
        self._nodes -= 1
        if self._nodes < _STEPS[self._step][0]:
            self._step -= 1


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    nodes = context.informers.informer(NODES)
    steps = Steps()

    async def reconcile(name: str) -> None:
        node = nodes.get(name)
        wanted = str(steps.seconds)
        if node is None or meta.annotations(node).get(TTL) == wanted:
            return
        try:
            await context.client.patch(NODES, name, {"metadata": {"annotations": {TTL: wanted}}})
        except NotFound:
            return

    shell = Shell(NAME, reconcile, context.workers)

    def check(node: Object) -> None:
        if meta.annotations(node).get(TTL) != str(steps.seconds):
            shell.add(key_of(node))

    def came(node: Object) -> None:
        steps.add()
        check(node)

    nodes.add_handler(came, lambda _, new: check(new), lambda _: steps.remove())
    await context.informers.start()
    await nodes.wait_synced()
    await shell.run()


DESCRIPTOR = Descriptor(NAME, run, account="ttl-controller")
