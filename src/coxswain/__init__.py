"""Coxswain: Kubernetes v1.36 in Python, with a compiled scheduling core."""

__version__ = "0.1.0"

#: The Kubernetes release whose API, defaults and words Coxswain follows.
KUBERNETES_VERSION = "v1.36.2"
