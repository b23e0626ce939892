"""Makes the claims of pods' ephemeral volumes; a claim that is deleted under a living pod is made anew."""

from __future__ import annotations

from coxswain.api import meta
from coxswain.api.errors import AlreadyExists, ApiError
from coxswain.api.names import PERSISTENT_VOLUME_CLAIMS, Object
from coxswain.base import metrics
from coxswain.client.informer import key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.ephemeral import decide
from coxswain.controllers.pods import pod_informer
from coxswain.controllers.shell import Shell

NAME = "ephemeral-volume-controller"
_INDEX = "ephemeral claims of the pod"


_CREATES = metrics.counter("ephemeral_volume_controller_create", "Claims that were to be made")
_FAILURES = metrics.counter("ephemeral_volume_controller_create_failures", "Of those, the ones that failed")


class EphemeralVolumes:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._recorder = context.recorder("ephemeral_volume")
        self._pods = pod_informer(context.informers)
        self._pods.add_index(_INDEX, decide.claim_keys)
        self._claims = context.informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._told: dict[str, str] = {}
        self._pods.add_handler(self._pod_added, None, lambda pod: self._forget(key_of(pod)))
        self._claims.add_handler(None, None, self._claim_gone)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._pods.wait_synced()
        await self._claims.wait_synced()
        await self._shell.run()

    def _pod_added(self, pod: Object) -> None:
        if not meta.is_terminating(pod) and decide.ephemeral_volumes(pod):
            self._shell.add(key_of(pod))

    def _forget(self, key: str) -> None:
        self._told.pop(key, None)

    def _claim_gone(self, claim: Object) -> None:
        for pod in self._pods.by_index(_INDEX, key_of(claim)):
            self._shell.add(key_of(pod))

    async def reconcile(self, key: str) -> None:
        """Make what the pod ``key`` lacks; a conflict waits until the claim in the way is gone."""
        pod = self._pods.get(key)
        if pod is None:
            return
        failure: ApiError | None = None
        for wanted in decide.plan(pod, self._claims.get):
            if wanted.claim is None:
                self._tell(pod, wanted.volume, wanted.conflict)
                continue
            _CREATES.inc()
            try:
                await self._client.create(PERSISTENT_VOLUME_CLAIMS, wanted.claim)
            except AlreadyExists:
                await self._look_again(pod, wanted)
            except ApiError as error:
                _FAILURES.inc()
                self._tell(pod, wanted.volume, f"create PVC {meta.name(wanted.claim)}: {error}")
                failure = error
        if failure is not None:
            raise failure

    async def _look_again(self, pod: Object, wanted: decide.Wanted) -> None:
        """Somebody was faster: ourselves (an answer was lost), or a stranger."""
        assert wanted.claim is not None
        name, namespace = meta.name(wanted.claim), meta.namespace(wanted.claim)
        claim = await self._client.get(PERSISTENT_VOLUME_CLAIMS, name, namespace)
        if not meta.is_controlled_by(claim, pod):
            self._tell(pod, wanted.volume, decide.not_ours(pod, claim))

    def _tell(self, pod: Object, volume: str, why: str) -> None:
        text = f"ephemeral volume {volume}: {why}"
        if self._told.get(key_of(pod)) != text:
            self._told[key_of(pod)] = text
            self._recorder.event(pod, "Warning", "FailedBinding", text)


async def run(context: ControllerContext) -> None:
    """Run the controller until cancelled."""
    await EphemeralVolumes(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="ephemeral-volume-controller")
