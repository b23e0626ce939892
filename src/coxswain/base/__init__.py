"""What every room stands on: clock, loop, tasks, settings, errors, log, metrics.

This room knows nothing of Kubernetes and imports nothing of ours.
"""
