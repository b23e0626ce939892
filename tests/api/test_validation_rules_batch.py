"""Jobs and cron jobs: what their specs, their updates and a job's status may say (batch/v1)."""

from __future__ import annotations

from typing import Any

import pytest

from api_rules import (
    ABSENT,
    DUPLICATE,
    IMMUTABLE,
    INVALID,
    NONNEGATIVE,
    NOT_SUPPORTED,
    REQUIRED,
    TOO_LONG,
    TOO_MANY,
    Row,
    Rows,
    check_accepted,
    check_refused,
    check_refused_undefaulted,
    check_status_accepted,
    check_status_refused,
    check_update_accepted,
    check_update_refused,
    make,
)
from coxswain.api.names import Object

POD_SPEC = {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}


def job(**spec: Any) -> Object:
    return make("batch/v1", "Job", spec={"template": {"spec": POD_SPEC}, **spec})


def cron_job(**spec: Any) -> Object:
    template = {"spec": {"template": {"spec": POD_SPEC}}}
    return make("batch/v1", "CronJob", spec={"schedule": "* * * * *", "jobTemplate": template, **spec})


INDEXED = {"spec.completionMode": "Indexed", "spec.completions": 10, "spec.parallelism": 2}
PER_INDEX = {**INDEXED, "spec.backoffLimitPerIndex": 1}
MANY = {**PER_INDEX, "spec.completions": 100001}
RULE = "spec.podFailurePolicy.rules.0"
AT_RULE = "spec.podFailurePolicy.rules[0]"
FAILURE = {RULE: {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2]}}}
CODES = f"{AT_RULE}.onExitCodes"
SUCCESS = "spec.successPolicy.rules"
AT_SUCCESS = f"{SUCCESS}[0]"


@pytest.mark.parametrize(
    "edits",
    [
        {},
        INDEXED,
        {**PER_INDEX, "spec.maxFailedIndexes": 3},
        FAILURE,
        {**INDEXED, f"{SUCCESS}.0": {"succeededIndexes": "0-3,5", "succeededCount": 5}},
        {"spec.managedBy": "acme.io/foo"},
    ],
)
def test_sound_jobs_are_accepted(edits: Object) -> None:
    check_accepted(job(), edits)


JOBS: Rows = [
    *(
        ({f"spec.{field}": -1}, f"spec.{field}", INVALID, NONNEGATIVE)
        for field in (
            "parallelism",
            "completions",
            "activeDeadlineSeconds",
            "backoffLimit",
            "ttlSecondsAfterFinished",
            "backoffLimitPerIndex",
            "maxFailedIndexes",
        )
    ),
    (
        {"spec.managedBy": "me"},
        "spec.managedBy",
        INVALID,
        'must be a domain-prefixed path (such as "acme.io/foo")',
    ),
    ({"spec.managedBy": "a.io/" + "x" * 60}, "spec.managedBy", TOO_LONG, "may not be more than 63 bytes"),
    ({"spec.completionMode": "Odd"}, "spec.completionMode", NOT_SUPPORTED, 'values: "NonIndexed", "Indexed"'),
    (
        {"spec.completionMode": "Indexed", "spec.parallelism": 1},
        "spec.completions",
        REQUIRED,
        "when completion mode is Indexed",
    ),
    (
        {**INDEXED, "spec.parallelism": 100001},
        "spec.parallelism",
        INVALID,
        "must be less than or equal to 100000 when completion mode is Indexed",
    ),
    ({**PER_INDEX, "spec.maxFailedIndexes": 11}, "spec.maxFailedIndexes", INVALID, "or equal to completions"),
    (
        {**PER_INDEX, "spec.maxFailedIndexes": 100001},
        "spec.maxFailedIndexes",
        INVALID,
        "must be less than or equal to 100000",
    ),
    (
        {**INDEXED, "spec.maxFailedIndexes": 1},
        "spec.backoffLimitPerIndex",
        REQUIRED,
        "when maxFailedIndexes is specified",
    ),
    (MANY, "spec.maxFailedIndexes", REQUIRED, "must be specified when completions is above 100000"),
    (
        {**MANY, "spec.maxFailedIndexes": 10001},
        "spec.maxFailedIndexes",
        INVALID,
        "must be less than or equal to 10000 when completions are above 100000 and used with backoff limit",
    ),
    (
        {**MANY, "spec.maxFailedIndexes": 1, "spec.parallelism": 10001},
        "spec.parallelism",
        INVALID,
        "must be less than or equal to 10000 when completions are above 100000",
    ),
    (
        {"spec.backoffLimitPerIndex": 1},
        "spec.backoffLimitPerIndex",
        INVALID,
        "requires indexed completion mode",
    ),
    ({"spec.maxFailedIndexes": 1}, "spec.maxFailedIndexes", INVALID, "requires indexed completion mode"),
    (
        {"spec.successPolicy": {"rules": [{"succeededCount": 1}]}},
        "spec.successPolicy",
        INVALID,
        '{"Rules":[{"SucceededIndexes":null,"SucceededCount":1}]}: requires indexed completion mode',
    ),
    (
        {**INDEXED, "spec.successPolicy": {}},
        SUCCESS,
        REQUIRED,
        "at least one rules must be specified when the successPolicy is specified",
    ),
    ({**INDEXED, SUCCESS: [{"succeededCount": 1}] * 21}, SUCCESS, TOO_MANY, "must have at most 20 items"),
    (
        {**INDEXED, f"{SUCCESS}.0": {}},
        AT_SUCCESS,
        REQUIRED,
        "at least one of succeededCount or succeededIndexes must be specified",
    ),
    (
        {**INDEXED, f"{SUCCESS}.0": {"succeededCount": 11}},
        f"{AT_SUCCESS}.succeededCount",
        INVALID,
        "must be less than or equal to 10 (the number of specified completions)",
    ),
    (
        {**INDEXED, f"{SUCCESS}.0": {"succeededCount": 3, "succeededIndexes": "1,4"}},
        f"{AT_SUCCESS}.succeededCount",
        INVALID,
        "must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)",
    ),
    *(
        (
            {**INDEXED, f"{SUCCESS}.0": {"succeededIndexes": text}},
            f"{AT_SUCCESS}.succeededIndexes",
            INVALID,
            f"error parsing succeededIndexes: {why}",
        )
        for text, why in (
            ("1-2-3", 'the fragment "1-2-3" violates the requirement'),
            ("a", 'cannot convert string to integer for index: "a"'),
            ("1-b", 'cannot convert string to integer for index: "b"'),
            ("10", 'too large index: "10"'),
            ("1-10", 'too large index: "10"'),
            ("3-3", "non-increasing order, previous: 3, current: 3"),
            ("3,2", "non-increasing order, previous: 3, current: 2"),
        )
    ),
    (
        {"spec.podReplacementPolicy": "Now"},
        "spec.podReplacementPolicy",
        NOT_SUPPORTED,
        '"TerminatingOrFailed"',
    ),
    (
        {**FAILURE, "spec.podReplacementPolicy": "TerminatingOrFailed"},
        "spec.podReplacementPolicy",
        NOT_SUPPORTED,
        'supported values: "Failed"',
    ),
    (
        {"spec.template.spec.restartPolicy": ABSENT},
        "spec.template.spec.restartPolicy",
        REQUIRED,
        '"OnFailure", "Never"',
    ),
    (
        {"spec.template.spec.restartPolicy": "Odd"},
        "spec.template.spec.restartPolicy",
        NOT_SUPPORTED,
        'supported values: "OnFailure", "Never"',
    ),
    (
        {**FAILURE, "spec.template.spec.restartPolicy": "OnFailure"},
        "spec.template.spec.restartPolicy",
        INVALID,
        'only "Never" is supported when podFailurePolicy is specified',
    ),
    (
        {"spec.podFailurePolicy.rules": [FAILURE[RULE]] * 21},
        "spec.podFailurePolicy.rules",
        TOO_MANY,
        "at most 20",
    ),
    (
        {RULE: {"onExitCodes": {"operator": "In", "values": [1]}}},
        f"{AT_RULE}.action",
        REQUIRED,
        'valid values: ["Count" "FailIndex" "FailJob" "Ignore"]',
    ),
    (
        {RULE: {"action": "Odd"}},
        f"{AT_RULE}.action",
        NOT_SUPPORTED,
        'supported values: "Count", "FailIndex", "FailJob", "Ignore"',
    ),
    (
        {RULE: {"action": "FailIndex"}},
        f"{AT_RULE}.action",
        INVALID,
        "requires the backoffLimitPerIndex to be set",
    ),
    (
        {RULE: {"action": "Count"}},
        AT_RULE,
        INVALID,
        "specifying one of OnExitCodes and OnPodConditions is required",
    ),
    (
        {**FAILURE, f"{RULE}.onPodConditions.0": {"type": "Ready", "status": "True"}},
        AT_RULE,
        INVALID,
        "specifying both OnExitCodes and OnPodConditions is not supported",
    ),
    (
        {RULE: {"action": "Count", "onPodConditions": [{"type": "a b", "status": "Odd"}]}},
        f"{AT_RULE}.onPodConditions[0].type",
        INVALID,
        "name part must consist of",
    ),
    (
        {RULE: {"action": "Count", "onPodConditions": [{"type": "A", "status": "Odd"}]}},
        f"{AT_RULE}.onPodConditions[0].status",
        NOT_SUPPORTED,
        'supported values: "False", "True", "Unknown"',
    ),
    (
        {RULE: {"action": "Count", "onPodConditions": [{"type": "A", "status": "True"}] * 21}},
        f"{AT_RULE}.onPodConditions",
        TOO_MANY,
        "must have at most 20 items",
    ),
    (
        {**FAILURE, f"{RULE}.onExitCodes.operator": ""},
        f"{CODES}.operator",
        REQUIRED,
        'valid values: ["In" "NotIn"]',
    ),
    ({**FAILURE, f"{RULE}.onExitCodes.operator": "Odd"}, f"{CODES}.operator", NOT_SUPPORTED, '"In", "NotIn"'),
    (
        {**FAILURE, f"{RULE}.onExitCodes.containerName": "other"},
        f"{CODES}.containerName",
        INVALID,
        "must be one of the container or initContainer names in the pod template",
    ),
    (
        {**FAILURE, f"{RULE}.onExitCodes.values": []},
        f"{CODES}.values",
        INVALID,
        "at least one value is required",
    ),
    (
        {**FAILURE, f"{RULE}.onExitCodes.values": list(range(1, 257))},
        f"{CODES}.values",
        TOO_MANY,
        "must have at most 255 items",
    ),
    (
        {**FAILURE, f"{RULE}.onExitCodes.values": [0]},
        f"{CODES}.values[0]",
        INVALID,
        "must not be 0 for the In operator",
    ),
    ({**FAILURE, f"{RULE}.onExitCodes.values": [2, 2]}, f"{CODES}.values[1]", DUPLICATE, "2"),
    ({**FAILURE, f"{RULE}.onExitCodes.values": [2, 1]}, f"{CODES}.values", INVALID, "must be ordered"),
    (
        {"spec.manualSelector": True, "spec.selector": {"matchLabels": {"a": "b"}}},
        "spec.template.metadata.labels",
        INVALID,
        "`selector` does not match template `labels`",
    ),
    ({"spec.manualSelector": True}, "spec.selector", REQUIRED, ""),
]


@pytest.mark.parametrize("row", JOBS, ids=str)
def test_jobs_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(job(), row)


JOB_UPDATES: Rows = [
    ({"spec.completions": 3}, "spec.completions", INVALID, IMMUTABLE),
    ({"spec.selector": {"matchLabels": {"z": "z"}}}, "spec.selector", INVALID, IMMUTABLE),
    ({"spec.completionMode": "Indexed"}, "spec.completionMode", INVALID, IMMUTABLE),
    ({"spec.template.spec.hostname": "h"}, "spec.template", INVALID, IMMUTABLE),
    (FAILURE, "spec.podFailurePolicy", INVALID, IMMUTABLE),
    ({"spec.backoffLimitPerIndex": 1}, "spec.backoffLimitPerIndex", INVALID, IMMUTABLE),
    ({"spec.managedBy": "acme.io/foo"}, "spec.managedBy", INVALID, IMMUTABLE),
    ({"spec.successPolicy": {"rules": [{"succeededCount": 1}]}}, "spec.successPolicy", INVALID, IMMUTABLE),
]


@pytest.mark.parametrize("row", JOB_UPDATES, ids=str)
def test_what_makes_a_job_does_not_change(row: Row) -> None:
    check_update_refused(job(completions=1), row)


def test_indexed_jobs_grow_and_shrink_with_their_parallelism() -> None:
    indexed = job(completionMode="Indexed", completions=4, parallelism=4)
    check_update_accepted(indexed, {"spec.completions": 6, "spec.parallelism": 6})
    row = (
        {"spec.completions": 6},
        "spec.completions",
        INVALID,
        "can only be modified in tandem with spec.parallelism",
    )
    check_update_refused(indexed, row)


def test_a_suspended_job_that_never_ran_may_still_choose_its_nodes() -> None:
    check_update_accepted(job(suspend=True), {"spec.template.spec.nodeSelector": {"a": "b"}})


def condition(kind: str) -> Object:
    return {"type": kind, "status": "True"}


DONE = {
    "startTime": "2026-01-01T00:00:00Z",
    "completionTime": "2026-01-01T00:01:00Z",
    "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
}
FAILED = {
    "startTime": "2026-01-01T00:00:00Z",
    "conditions": [condition("FailureTarget"), condition("Failed")],
}
STATUSES: Rows = [
    *(
        ({f"status.{field}": -1}, f"status.{field}", INVALID, NONNEGATIVE)
        for field in ("active", "succeeded", "failed", "ready", "terminating")
    ),
    (
        {"status.ready": 2, "status.active": 1},
        "status.ready",
        INVALID,
        "cannot set more ready pods than active",
    ),
    (
        {"status.uncountedTerminatedPods": {"succeeded": ["", "a"], "failed": ["a"]}},
        "status.uncountedTerminatedPods.succeeded[0]",
        INVALID,
        "must not be empty",
    ),
    (
        {"status.uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["a"]}},
        "status.uncountedTerminatedPods.failed[0]",
        DUPLICATE,
        '"a"',
    ),
    *(
        (
            {"status": {**DONE, "conditions": [condition(kind) for kind in kinds]}},
            "status.conditions",
            INVALID,
            why,
        )
        for kinds, why in (
            (("Complete", "Failed"), "cannot set Complete=True and Failed=true conditions"),
            (("Complete", "FailureTarget"), "cannot set Complete=True and FailureTarget=true conditions"),
            (("Failed",), "cannot set Failed=True condition without the FailureTarget=true condition"),
            (
                ("Complete",),
                "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            ),
            (
                ("SuccessCriteriaMet", "Failed"),
                "cannot set SuccessCriteriaMet=True and Failed=true conditions",
            ),
            (
                ("SuccessCriteriaMet", "FailureTarget"),
                "SuccessCriteriaMet=True and FailureTarget=true conditions",
            ),
        )
    ),
    (
        {"status": {**DONE, "conditions": []}},
        "status.completionTime",
        INVALID,
        "cannot set completionTime when there is no Complete=True condition",
    ),
    (
        {"status": {**DONE, "completionTime": None}},
        "status.completionTime",
        REQUIRED,
        "completionTime is required for Complete jobs",
    ),
    (
        {"status": {**DONE, "completionTime": "2025-01-01T00:00:00Z"}},
        "status.completionTime",
        INVALID,
        "completionTime cannot be set before startTime",
    ),
    ({"status": {**DONE, "active": 1}}, "status.active", INVALID, "active>0 is invalid for finished job"),
    (
        {"status": {**DONE, "startTime": None}},
        "status.startTime",
        REQUIRED,
        "startTime is required for finished job",
    ),
    (
        {"status": {**DONE, "terminating": 1}},
        "status.terminating",
        INVALID,
        "terminating>0 is invalid for finished job",
    ),
    (
        {"status": {**DONE, "uncountedTerminatedPods": {"failed": ["a"]}}},
        "status.uncountedTerminatedPods",
        INVALID,
        "uncountedTerminatedPods needs to be empty for finished job",
    ),
    (
        {"status.completedIndexes": "1"},
        "status.completedIndexes",
        INVALID,
        "cannot set non-empty completedIndexes when non-indexed completion mode",
    ),
    (
        {"status.failedIndexes": "1"},
        "status.failedIndexes",
        INVALID,
        "cannot set non-null failedIndexes when backoffLimitPerIndex is null",
    ),
]


@pytest.mark.parametrize("row", STATUSES, ids=str)
def test_statuses_that_contradict_themselves_are_refused(row: Row) -> None:
    check_status_refused(job(), row)


@pytest.mark.parametrize("status", [DONE, FAILED, {"active": 2, "ready": 1}], ids=str)
def test_sound_statuses_are_accepted(status: Object) -> None:
    check_status_accepted(job(), {"status": status})


def test_indexes_in_a_status_are_lists_below_the_completions() -> None:
    indexed = job(completionMode="Indexed", completions=4, backoffLimitPerIndex=1)
    check_status_accepted(indexed, {"status": {"completedIndexes": "0,2", "failedIndexes": "1,3"}})
    too_large = 'error parsing completedIndexes: too large index: "4"'
    check_status_refused(
        indexed, ({"status.completedIndexes": "4"}, "status.completedIndexes", INVALID, too_large)
    )
    both: Row = (
        {"status": {"completedIndexes": "0-2", "failedIndexes": "1"}},
        "status.failedIndexes",
        INVALID,
        "failedIndexes and completedIndexes overlap at index: 1",
    )
    check_status_refused(indexed, both)


def test_a_success_policy_is_met_before_its_job_is_complete() -> None:
    policy = job(completionMode="Indexed", completions=2, successPolicy={"rules": [{"succeededCount": 1}]})
    why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True"
    status = {**DONE, "conditions": [condition("Complete")]}
    check_status_refused(policy, ({"status": status}, "status.conditions", INVALID, why))


@pytest.mark.parametrize(
    ("before", "row"),
    [
        (
            DONE,
            (
                {"status.conditions": []},
                "status.conditions",
                INVALID,
                "disable the terminal Complete=True condition",
            ),
        ),
        (
            DONE,
            (
                {"status.conditions": []},
                "status.conditions",
                INVALID,
                "disable the SuccessCriteriaMet=True condition",
            ),
        ),
        (
            FAILED,
            (
                {"status.conditions": []},
                "status.conditions",
                INVALID,
                "disable the terminal Failed=True condition",
            ),
        ),
        (
            {"failed": 2},
            ({"status.failed": 1}, "status.failed", INVALID, "cannot decrease the failed counter"),
        ),
        (
            {"succeeded": 2},
            ({"status.succeeded": 1}, "status.succeeded", INVALID, "cannot decrease the succeeded counter"),
        ),
        (
            DONE,
            (
                {"status.completionTime": "2026-01-01T00:02:00Z"},
                "status.completionTime",
                INVALID,
                "completionTime cannot be mutated",
            ),
        ),
        (
            {"startTime": "2026-01-01T00:00:00Z"},
            (
                {"status.startTime": ABSENT},
                "status.startTime",
                REQUIRED,
                "cannot be removed for unsuspended job",
            ),
        ),
        (
            {**DONE, "conditions": [condition("Complete")]},
            (
                {"status.conditions.1": condition("SuccessCriteriaMet")},
                "status.conditions",
                INVALID,
                "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
            ),
        ),
    ],
)
def test_a_status_does_not_go_back(before: Object, row: Row) -> None:
    check_status_refused(job(), row, before)


def test_a_job_that_is_resumed_starts_anew() -> None:
    before = {"startTime": "2026-01-01T00:00:00Z", "conditions": [condition("Suspended")]}
    later = {"status.startTime": "2026-01-01T00:01:00Z"}
    resumed = {"status.conditions": [{**condition("Suspended"), "status": "False"}]}
    check_status_accepted(job(), {**later, **resumed}, before)
    check_status_refused(job(), (later, "status.startTime", REQUIRED, "for unsuspended job"), before)


CRON_JOBS: Rows = [
    ({"spec.schedule": ""}, "spec.schedule", REQUIRED, ""),
    *(
        ({"spec.schedule": text}, "spec.schedule", INVALID, why)
        for text, why in (
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("@often", "unrecognized descriptor: @often"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("*/x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("5-2 * * * *", "beginning of range (5) beyond end of range (2): 5-2"),
            ("TZ=UTC * * * * *", "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
        )
    ),
    ({"spec.startingDeadlineSeconds": -1}, "spec.startingDeadlineSeconds", INVALID, NONNEGATIVE),
    ({"spec.timeZone": ""}, "spec.timeZone", INVALID, "timeZone must be nil or non-empty string"),
    (
        {"spec.timeZone": "Local"},
        "spec.timeZone",
        INVALID,
        "timeZone must be an explicit time zone as defined in",
    ),
    ({"spec.timeZone": "Moon/Crater"}, "spec.timeZone", INVALID, "unknown time zone Moon/Crater"),
    (
        {"spec.concurrencyPolicy": "Odd"},
        "spec.concurrencyPolicy",
        NOT_SUPPORTED,
        '"Allow", "Forbid", "Replace"',
    ),
    ({"spec.successfulJobsHistoryLimit": -1}, "spec.successfulJobsHistoryLimit", INVALID, NONNEGATIVE),
    ({"spec.failedJobsHistoryLimit": -1}, "spec.failedJobsHistoryLimit", INVALID, NONNEGATIVE),
    (
        {"spec.jobTemplate.spec.selector": {"matchLabels": {"a": "b"}}},
        "spec.jobTemplate.spec.selector",
        INVALID,
        "`selector` will be auto-generated",
    ),
    (
        {"spec.jobTemplate.spec.manualSelector": True},
        "spec.jobTemplate.spec.manualSelector",
        NOT_SUPPORTED,
        'supported values: "nil", "false"',
    ),
    ({"metadata.name": "x" * 53}, "metadata.name", INVALID, "must be no more than 52 characters"),
]


@pytest.mark.parametrize("row", CRON_JOBS, ids=str)
def test_cron_jobs_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(cron_job(), row)


def test_a_cron_job_says_what_to_do_about_overlaps() -> None:
    check_refused_undefaulted(
        cron_job(), ({"spec.concurrencyPolicy": ""}, "spec.concurrencyPolicy", REQUIRED, "")
    )


@pytest.mark.parametrize("text", ["@hourly", "@every 1h30m", "0 0 1 jan mon", "*/5 1-3,7 ? * 0-6"])
def test_schedules_as_cron_writes_them_are_accepted(text: str) -> None:
    check_accepted(cron_job(schedule=text, timeZone="Europe/Zurich"))


def test_a_zone_in_an_old_schedule_may_stay_but_not_beside_the_field() -> None:
    old = cron_job(schedule="TZ=UTC 0 0 * * *")
    check_update_accepted(old, {"spec.schedule": "TZ=UTC 1 0 * * *"})
    why = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
    check_update_refused(old, ({"spec.timeZone": "UTC"}, "spec.schedule", INVALID, why))
