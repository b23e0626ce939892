"""Whole processes under load: what a user of a cluster feels. Run with ``python -m benchmarks.end_to_end.<name>``."""
