"""The three patches of the API: JSON patch, JSON merge patch, strategic merge patch.

    json_patch(obj, operations)             RFC 6902
    merge_patch(obj, patch)                 RFC 7386
    strategic_merge_patch(obj, patch, type) Kubernetes' own, led by the merge keys of the type

All are pure: the object and the patch stay as they are, and the result shares every part that did not change.
They raise the ApiErrors that the API server answers with.
"""

from coxswain.api.patch.json import json_patch
from coxswain.api.patch.merge import merge_patch
from coxswain.api.patch.strategic import strategic_merge_patch

__all__ = ["json_patch", "merge_patch", "strategic_merge_patch"]
