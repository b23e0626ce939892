"""Jobs and CronJobs."""

from __future__ import annotations

import re
import zoneinfo
from functools import lru_cache

from coxswain.api.fields import OMITTED, Errors, Shown, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import IMMUTABLE, dns_subdomain, nonnegative
from coxswain.api.validation.objectmeta import (
    selector_is_valid,
    selector_matches,
    show_selector,
    validate_label_selector,
)
from coxswain.api.validation.podspec import validate_pod_template
from coxswain.api.validation.rules import Rules
from coxswain.api.validation.shown import go_struct

_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
#: A cron job's name leaves room for the eleven characters that its jobs' names add.
_MAX_CRON_NAME = 52
_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


def _validate_job(job: Object, errors: Errors) -> None:
    spec = job.get("spec") or {}
    _validate_job_spec(spec, "spec", errors)
    selector, template = spec.get("selector"), spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector is None:
        errors.append(required("spec.selector"))
        return
    validate_label_selector(selector, "spec.selector", errors)
    if selector_is_valid(selector) and not selector_matches(selector, labels):
        errors.append(
            invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
        )


def _validate_job_spec(spec: Object, path: str, errors: Errors) -> None:
    for field in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ):
        nonnegative(f"{path}.{field}", spec.get(field), errors)
    manager = spec.get("managedBy")
    if manager is not None:
        prefix, slash, rest = manager.partition("/")
        if not slash or not prefix or not rest or dns_subdomain(prefix):
            why = 'must be a domain-prefixed path (such as "acme.io/foo")'
            errors.append(invalid(f"{path}.managedBy", manager, why))
    mode = spec.get("completionMode")
    if mode is not None and mode not in ("NonIndexed", "Indexed"):
        errors.append(not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed":
        if spec.get("completions") is None:
            errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
        elif spec["completions"] > 100000 and (spec.get("parallelism") or 0) > 100000:
            why = "must be less than or equal to 100000 when completion mode is Indexed"
            errors.append(invalid(f"{path}.parallelism", spec["parallelism"], why))
    if spec.get("podFailurePolicy") is not None:
        _validate_failure_policy(spec, f"{path}.podFailurePolicy", errors)
    if spec.get("successPolicy") is not None and mode != "Indexed":
        rules = [
            go_struct(rule, "succeededIndexes", "succeededCount").text
            for rule in spec["successPolicy"].get("rules") or ()
        ]
        value = Shown(f'{{"Rules":[{",".join(rules)}]}}')
        errors.append(invalid(f"{path}.successPolicy", value, "requires indexed completion mode"))
    replacement = spec.get("podReplacementPolicy")
    supported = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    if replacement is not None and replacement not in supported:
        errors.append(not_supported(f"{path}.podReplacementPolicy", replacement, supported))
    template = spec.get("template") or {}
    validate_pod_template(template, f"{path}.template", errors)
    policy = (template.get("spec") or {}).get("restartPolicy") or ""
    if policy not in ("OnFailure", "Never"):
        if policy == "Always":
            errors.append(
                required(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
            )
        else:
            errors.append(
                not_supported(f"{path}.template.spec.restartPolicy", policy, ("OnFailure", "Never"))
            )
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        errors.append(invalid(f"{path}.template.spec.restartPolicy", policy, why))


def _validate_failure_policy(spec: Object, path: str, errors: Errors) -> None:
    pods = (spec.get("template") or {}).get("spec") or {}
    names = {each.get("name") for group in ("containers", "initContainers") for each in pods.get(group) or ()}
    for position, rule in enumerate(spec["podFailurePolicy"].get("rules") or ()):
        here, action = f"{path}.rules[{position}]", rule.get("action") or ""
        if not action:
            errors.append(required(f"{here}.action", f"valid values: {_ACTIONS}"))
        elif action not in _ACTIONS:
            errors.append(not_supported(f"{here}.action", action, _ACTIONS))
        elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            why = "requires the backoffLimitPerIndex to be set"
            errors.append(invalid(f"{here}.action", action, why))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
        if codes is not None:
            operator = codes.get("operator") or ""
            if operator not in ("In", "NotIn"):
                errors.append(not_supported(f"{here}.onExitCodes.operator", operator, ("In", "NotIn")))
            name = codes.get("containerName")
            if name is not None and name not in names:
                why = "must be one of the container or initContainer names in the pod template"
                errors.append(invalid(f"{here}.onExitCodes.containerName", name, why))
            if not codes.get("values"):
                why = "at least one value is required"
                errors.append(invalid(f"{here}.onExitCodes.values", codes.get("values"), why))
            elif operator == "In" and 0 in codes["values"]:
                number = codes["values"].index(0)
                why = "must not be 0 for the In operator"
                errors.append(invalid(f"{here}.onExitCodes.values[{number}]", 0, why))
        for number, condition in enumerate(conditions):
            status = condition.get("status") or ""
            if status not in ("True", "False", "Unknown"):
                field = f"{here}.onPodConditions[{number}].status"
                errors.append(not_supported(field, status, ("False", "True", "Unknown")))
        if codes is not None and conditions:
            why = "specifying both OnExitCodes and OnPodConditions is not supported"
            errors.append(invalid(here, OMITTED, why))
        if codes is None and not conditions:
            why = "specifying one of OnExitCodes and OnPodConditions is required"
            errors.append(invalid(here, OMITTED, why))


def _validate_job_update(new: Object, old: Object, errors: Errors) -> None:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    for field in (
        "completions",
        "selector",
        "completionMode",
        "podFailurePolicy",
        "successPolicy",
        "managedBy",
    ):
        elastic = spec.get("completionMode") == "Indexed" and spec.get(field) == spec.get("parallelism")
        if field == "completions" and elastic:
            continue
        if spec.get(field) != before.get(field):
            errors.append(invalid(f"spec.{field}", spec.get(field), IMMUTABLE))
    started = (old.get("status") or {}).get("startTime")
    if spec.get("template") != before.get("template") and not (before.get("suspend") and not started):
        errors.append(invalid("spec.template", spec.get("template"), IMMUTABLE))


def _validate_cron_job(cron_job: Object, errors: Errors) -> None:
    spec = cron_job.get("spec") or {}
    schedule, zone = spec.get("schedule") or "", spec.get("timeZone")
    if not schedule:
        errors.append(required("spec.schedule"))
    else:
        problem = cron_problem(schedule)
        if problem:
            errors.append(invalid("spec.schedule", schedule, problem))
        if "TZ" in schedule and zone is not None:
            why = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
            errors.append(invalid("spec.schedule", schedule, why))
        elif "TZ" in schedule:
            why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
            errors.append(invalid("spec.schedule", schedule, why))
    nonnegative("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"), errors)
    _validate_time_zone(zone, errors)
    policy = spec.get("concurrencyPolicy") or ""
    if not policy:
        errors.append(required("spec.concurrencyPolicy"))
    elif policy not in ("Allow", "Forbid", "Replace"):
        errors.append(not_supported("spec.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace")))
    template = (spec.get("jobTemplate") or {}).get("spec") or {}
    _validate_job_spec(template, "spec.jobTemplate.spec", errors)
    if template.get("selector") is not None:
        why = "`selector` will be auto-generated"
        path = "spec.jobTemplate.spec.selector"
        errors.append(invalid(path, show_selector(template["selector"]), why))
    if template.get("manualSelector"):
        errors.append(not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false")))
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        nonnegative(f"spec.{field}", spec.get(field), errors)


def _validate_new_cron_job(cron_job: Object, errors: Errors) -> None:
    name = (cron_job.get("metadata") or {}).get("name") or ""
    if len(name) > _MAX_CRON_NAME:
        errors.append(invalid("metadata.name", name, "must be no more than 52 characters"))


def _validate_time_zone(zone: str | None, errors: Errors) -> None:
    if zone is None:
        return
    if not zone:
        errors.append(invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string"))
    elif zone.lower() == "local":
        errors.append(
            invalid(
                "spec.timeZone",
                zone,
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            )
        )
    else:
        try:
            zoneinfo.ZoneInfo(zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            errors.append(invalid("spec.timeZone", zone, f"unknown time zone {zone}"))


@lru_cache(maxsize=1024)
def cron_problem(schedule: str) -> str:
    """What is wrong with a schedule, as robfig/cron says it; empty when nothing is."""
    text = re.sub(r"^(?:CRON_)?TZ=\S*\s+", "", schedule)
    if text.startswith("@"):
        if text in ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"):
            return ""
        if re.fullmatch(r"@every ([0-9.]+(ns|us|µs|ms|s|m|h))+", text):
            return ""
        return f"unrecognized descriptor: {text}"
    fields = text.split()
    if len(fields) != len(_BOUNDS):
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    for number, (expression, bounds) in enumerate(zip(fields, _BOUNDS, strict=True)):
        for part in expression.split(","):
            problem = _part_problem(part, bounds, number)
            if problem:
                return problem
    return ""


def _part_problem(part: str, bounds: tuple[int, int], number: int) -> str:
    span, slash, step = part.partition("/")
    if part.count("/") > 1:
        return f"too many slashes: {part}"
    if span.count("-") > 1:
        return f"too many hyphens: {part}"
    if slash and not step.isdecimal():
        return f'failed to parse int from {step}: strconv.Atoi: parsing "{step}": invalid syntax'
    if slash and int(step) == 0:
        return f"step of range should be a positive number: {part}"
    if span in ("*", "?"):
        return ""
    names = {3: _MONTHS, 4: _DAYS}.get(number, [])
    values = []
    for edge in span.split("-"):
        if edge.lower() in names:
            values.append(names.index(edge.lower()) + bounds[0])
        elif edge.isdecimal():
            values.append(int(edge))
        else:
            return f'failed to parse int from {edge}: strconv.Atoi: parsing "{edge}": invalid syntax'
    low, high = values[0], values[-1]
    if low < bounds[0]:
        return f"beginning of range ({low}) below minimum ({bounds[0]}): {part}"
    if high > bounds[1]:
        return f"end of range ({high}) above maximum ({bounds[1]}): {part}"
    return f"beginning of range ({low}) beyond end of range ({high}): {part}" if low > high else ""


RULES = {
    ("batch", "Job"): Rules(validate=_validate_job, update=_validate_job_update),
    ("batch", "CronJob"): Rules(validate=_validate_cron_job, create=_validate_new_cron_job),
}
