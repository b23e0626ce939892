"""The answers to requests that failed."""

from __future__ import annotations

import logging

import orjson

from coxswain.api import errors
from coxswain.api.names import Object
from coxswain.apiserver import metrics
from coxswain.client.interface import Answer, Call

log = logging.getLogger(__name__)


def refusal(error: Exception, call: Call, served: metrics.Served) -> Answer:
    """The answer to a call that failed: as it should, or for a bug of ours."""
    if isinstance(error, errors.ApiError):
        served.count(error.code)
        return Answer(error.code, orjson.dumps(error.status()))
    return Answer(500, orjson.dumps(internal(error, call).status()))


def internal(error: Exception, call: Call) -> errors.InternalError:
    """The answer to a bug of ours; the log has the rest."""
    metrics.PANICS.inc()
    log.error("a bug answered %s %s with 500", call.verb, call.resource.group_resource, exc_info=error)
    details: Object = {"causes": [{"message": type(error).__name__}]}
    return errors.InternalError(
        "Internal error occurred: the server failed to handle the request", details=details
    )
