"""Settings of the scheduler."""

from __future__ import annotations

from dataclasses import dataclass

from coxswain.scheduler.configuration import Configuration, ProfileConfig


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """How the scheduler behaves; the defaults are kube-scheduler's."""

    file: Configuration | None = None
    """A KubeSchedulerConfiguration; the first four settings below are taken from it then."""

    scheduler_name: str = "default-scheduler"
    """Pods that name this scheduler are ours."""

    percentage_of_nodes_to_score: int = 0
    """Per cent of the nodes to find feasible before choosing; 0 adapts to the cluster's size, 100 scores all."""

    pod_initial_backoff_seconds: float = 1.0
    """Seconds before a pod that failed is tried again; doubles with each attempt."""

    pod_max_backoff_seconds: float = 10.0
    """Seconds that the back-off never exceeds."""

    pod_max_in_unschedulable_seconds: float = 300.0
    """Seconds after which an unschedulable pod is tried again whatever happened."""

    batch_size: int = 256
    """Identical pods decided in one step of the loop; a step of 256 takes about a millisecond."""

    bind_batch_size: int = 128
    """Bindings sent in one message."""

    bind_concurrency: int = 4
    """Messages of bindings or of conditions under way at once."""

    max_unbound: int = 4096
    """Assumed pods whose binding is not acknowledged; scheduling pauses beyond, so that a slow API server
    is not buried."""

    def configuration(self) -> Configuration:
        """The file's settings, or those given one by one."""
        return self.file or Configuration(
            profiles=(ProfileConfig(self.scheduler_name),),
            percentage_of_nodes_to_score=self.percentage_of_nodes_to_score,
            pod_initial_backoff_seconds=self.pod_initial_backoff_seconds,
            pod_max_backoff_seconds=self.pod_max_backoff_seconds,
        )
