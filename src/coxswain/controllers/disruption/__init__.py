"""The disruption controller: how many pods each PodDisruptionBudget can spare. ``decide`` is pure."""
