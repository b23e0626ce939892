"""Jobs and CronJobs."""

from __future__ import annotations

import re
import zoneinfo

from coxswain.api.fields import (
    OMITTED,
    Errors,
    Shown,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from coxswain.api.names import Object
from coxswain.api.validation.formats import IMMUTABLE, dns_subdomain, nonnegative, qualified_name, report
from coxswain.api.validation.jobstatus import BadIndexes, parse_indexes, validate_job_status
from coxswain.api.validation.objectmeta import (
    selector_is_valid,
    selector_matches,
    show_selector,
    validate_label_selector,
)
from coxswain.api.validation.podspec import validate_pod_template
from coxswain.api.validation.rules import Rules, field_immutable
from coxswain.api.validation.shown import go_struct
from coxswain.base.memo import remembered

_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_STATUSES = ("False", "True", "Unknown")
#: Rules of a policy, and conditions of a rule.
_MAX_RULES = 20
_MAX_CODES = 255
_MAX_MANAGER = 63
#: Bytes of a list of indexes.
_MAX_INDEXES = 64 * 1024
#: Indexes that a job may have without further limits, and what the limits are above.
_MANY = 100_000
_FEWER = 10_000
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
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        errors.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    manager = spec.get("managedBy")
    if manager is not None:
        prefix, slash, rest = manager.partition("/")
        if not slash or not prefix or not rest or dns_subdomain(prefix):
            why = 'must be a domain-prefixed path (such as "acme.io/foo")'
            errors.append(invalid(f"{path}.managedBy", manager, why))
        if len(manager) > _MAX_MANAGER:
            errors.append(too_long(f"{path}.managedBy", manager, _MAX_MANAGER))
    mode = spec.get("completionMode")
    if mode is not None and mode not in ("NonIndexed", "Indexed"):
        errors.append(not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
    if mode == "Indexed":
        if spec.get("completions") is None:
            errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
        _validate_indexed_numbers(spec, path, errors)
    elif mode in (None, "NonIndexed"):
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(field) is not None:
                errors.append(invalid(f"{path}.{field}", spec[field], "requires indexed completion mode"))
    if spec.get("podFailurePolicy") is not None:
        _validate_failure_policy(spec, f"{path}.podFailurePolicy", errors)
    if spec.get("successPolicy") is not None:
        _validate_success_policy(spec, f"{path}.successPolicy", errors)
    replacement = spec.get("podReplacementPolicy")
    supported = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    if replacement is not None and replacement not in supported:
        errors.append(not_supported(f"{path}.podReplacementPolicy", replacement, supported))
    template = spec.get("template") or {}
    validate_pod_template(template, f"{path}.template", errors)
    policy = (template.get("spec") or {}).get("restartPolicy") or ""
    if policy not in ("OnFailure", "Never"):
        if policy in ("Always", ""):
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


def _validate_indexed_numbers(spec: Object, path: str, errors: Errors) -> None:
    """Limits that keep the lists of indexes in a job's status readable."""
    total, parallel, failed = (
        spec.get(field) for field in ("completions", "parallelism", "maxFailedIndexes")
    )
    if parallel is not None and parallel > _MANY:
        why = f"must be less than or equal to {_MANY} when completion mode is Indexed"
        errors.append(invalid(f"{path}.parallelism", parallel, why))
    here = f"{path}.maxFailedIndexes"
    if total is not None and failed is not None and failed > total:
        errors.append(invalid(here, failed, "must be less than or equal to completions"))
    if failed is not None and failed > _MANY:
        errors.append(invalid(here, failed, f"must be less than or equal to {_MANY}"))
    if total is None or total <= _MANY or spec.get("backoffLimitPerIndex") is None:
        return
    why = (
        f"must be less than or equal to {_FEWER} when completions are above {_MANY} "
        "and used with backoff limit per index"
    )
    if failed is None:
        errors.append(required(here, f"must be specified when completions is above {_MANY}"))
    if parallel is not None and parallel > _FEWER:
        errors.append(invalid(f"{path}.parallelism", parallel, why))
    if failed is not None and failed > _FEWER:
        errors.append(invalid(here, failed, why))


def _validate_success_policy(spec: Object, path: str, errors: Errors) -> None:
    rules, total = spec["successPolicy"].get("rules") or [], spec.get("completions") or 0
    if spec.get("completionMode") != "Indexed":
        shown = [go_struct(rule, "succeededIndexes", "succeededCount").text for rule in rules]
        value = Shown(f'{{"Rules":[{",".join(shown)}]}}')
        errors.append(invalid(path, value, "requires indexed completion mode"))
        return
    if not rules:
        why = "at least one rules must be specified when the successPolicy is specified"
        errors.append(required(f"{path}.rules", why))
    if len(rules) > _MAX_RULES:
        errors.append(too_many(f"{path}.rules", len(rules), _MAX_RULES))
    for position, rule in enumerate(rules):
        _validate_success_rule(rule, total, f"{path}.rules[{position}]", errors)


def _validate_success_rule(rule: Object, total: int, path: str, errors: Errors) -> None:
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    if count is None and indexes is None:
        why = "at least one of succeededCount or succeededIndexes must be specified"
        errors.append(required(path, why))
    listed = 0
    if indexes is not None:
        here = f"{path}.succeededIndexes"
        if len(indexes) > _MAX_INDEXES:
            errors.append(too_long(here, indexes, _MAX_INDEXES))
        try:
            listed = sum(high - low + 1 for low, high in parse_indexes(indexes, total))
        except BadIndexes as error:
            errors.append(invalid(here, indexes, f"error parsing succeededIndexes: {error}"))
    if count is None:
        return
    here, most = f"{path}.succeededCount", "must be less than or equal to"
    nonnegative(here, count, errors)
    if count > total:
        errors.append(invalid(here, count, f"{most} {total} (the number of specified completions)"))
    if indexes is not None and count > listed:
        why = f"{most} {listed} (the number of indexes in the specified succeededIndexes field)"
        errors.append(invalid(here, count, why))


def _one_of(path: str, value: str, supported: tuple[str, ...], errors: Errors) -> None:
    if not value:
        listed = " ".join(f'"{each}"' for each in supported)
        errors.append(required(path, f"valid values: [{listed}]"))
    elif value not in supported:
        errors.append(not_supported(path, value, supported))


def _validate_failure_policy(spec: Object, path: str, errors: Errors) -> None:
    pods = (spec.get("template") or {}).get("spec") or {}
    names = {each.get("name") for group in ("containers", "initContainers") for each in pods.get(group) or ()}
    rules = spec["podFailurePolicy"].get("rules") or []
    if len(rules) > _MAX_RULES:
        errors.append(too_many(f"{path}.rules", len(rules), _MAX_RULES))
    for position, rule in enumerate(rules):
        here, action = f"{path}.rules[{position}]", rule.get("action") or ""
        _one_of(f"{here}.action", action, _ACTIONS, errors)
        if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            why = "requires the backoffLimitPerIndex to be set"
            errors.append(invalid(f"{here}.action", action, why))
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
        if codes is not None:
            _validate_exit_codes(codes, names, f"{here}.onExitCodes", errors)
        if len(conditions) > _MAX_RULES:
            errors.append(too_many(f"{here}.onPodConditions", len(conditions), _MAX_RULES))
        for number, condition in enumerate(conditions):
            field = f"{here}.onPodConditions[{number}]"
            kind = condition.get("type") or ""
            report(qualified_name(kind), f"{field}.type", kind, errors)
            _one_of(f"{field}.status", condition.get("status") or "", _STATUSES, errors)
        if codes is not None and conditions:
            why = "specifying both OnExitCodes and OnPodConditions is not supported"
            errors.append(invalid(here, OMITTED, why))
        if codes is None and not conditions:
            why = "specifying one of OnExitCodes and OnPodConditions is required"
            errors.append(invalid(here, OMITTED, why))


def _validate_exit_codes(codes: Object, names: set[str | None], path: str, errors: Errors) -> None:
    operator, name, values = (
        codes.get("operator") or "",
        codes.get("containerName"),
        codes.get("values") or [],
    )
    _one_of(f"{path}.operator", operator, ("In", "NotIn"), errors)
    if name is not None and name not in names:
        why = "must be one of the container or initContainer names in the pod template"
        errors.append(invalid(f"{path}.containerName", name, why))
    here = f"{path}.values"
    if not values:
        errors.append(invalid(here, codes.get("values"), "at least one value is required"))
    elif len(values) > _MAX_CODES:
        errors.append(too_many(here, len(values), _MAX_CODES))
    for position, code in enumerate(values):
        if operator == "In" and code == 0:
            errors.append(invalid(f"{here}[{position}]", code, "must not be 0 for the In operator"))
        if code in values[:position]:
            errors.append(duplicate(f"{here}[{position}]", code))
    if values != sorted(values):
        errors.append(invalid(here, values, "must be ordered"))


def _validate_job_update(new: Object, old: Object, errors: Errors) -> None:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    total = spec.get("completions")
    if spec.get("completionMode") != "Indexed":
        field_immutable(spec, before, "completions", errors, "spec.completions")
    elif total is not None and total not in (before.get("completions"), spec.get("parallelism")):
        why = "can only be modified in tandem with spec.parallelism"
        errors.append(invalid("spec.completions", total, why))
    if spec.get("selector") != before.get("selector"):
        errors.append(invalid("spec.selector", show_selector(spec.get("selector")), IMMUTABLE))
    started = (old.get("status") or {}).get("startTime")
    if spec.get("template") != before.get("template") and not (before.get("suspend") and not started):
        errors.append(invalid("spec.template", spec.get("template"), IMMUTABLE))
    for field in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        field_immutable(spec, before, field, errors, f"spec.{field}")


def _validate_cron_job(cron_job: Object, errors: Errors) -> None:
    spec = cron_job.get("spec") or {}
    schedule, zone = spec.get("schedule") or "", spec.get("timeZone")
    if not schedule:
        errors.append(required("spec.schedule"))
    else:
        problem = cron_problem(schedule)
        if problem:
            errors.append(invalid("spec.schedule", schedule, problem))
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
    _validate_zone_in_schedule(cron_job.get("spec") or {}, False, errors)


def _validate_cron_job_update(new: Object, old: Object, errors: Errors) -> None:
    before = (old.get("spec") or {}).get("schedule") or ""
    _validate_zone_in_schedule(new.get("spec") or {}, "TZ" in before, errors)


def _validate_zone_in_schedule(spec: Object, tolerated: bool, errors: Errors) -> None:
    """Time zones have their own field; schedules that named one before there was one may go on."""
    schedule = spec.get("schedule") or ""
    if "TZ" not in schedule:
        return
    if not tolerated:
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(invalid("spec.schedule", schedule, why))
    elif spec.get("timeZone") is not None:
        why = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        errors.append(invalid("spec.schedule", schedule, why))


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


@remembered(1024)
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
    ("batch", "Job"): Rules(validate=_validate_job, update=_validate_job_update, status=validate_job_status),
    ("batch", "CronJob"): Rules(
        validate=_validate_cron_job, create=_validate_new_cron_job, update=_validate_cron_job_update
    ),
}
