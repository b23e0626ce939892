"""What functions there are, and for which types: cel-go's standard ones and Kubernetes' libraries (environment v1.36).

``functions()`` gives the overloads by function name. A line of ``_TABLE`` is

    name   id parameters->result   id parameters->result ...

where ``target.(arguments)`` are the parameters of a method. Capital letters are type parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from coxswain.api.cel.types import (
    BOOL,
    DOUBLE,
    DYN,
    INT,
    SCALARS,
    STRING,
    UINT,
    Declared,
    list_of,
    map_of,
    opaque,
    optional_of,
)


class Overload(NamedTuple):
    """One way of calling a function; ``parameters`` of a method begin with its target."""

    id: str
    parameters: tuple[Declared, ...]
    result: Declared
    member: bool


_OPAQUE: Final = {
    "Quantity": "kubernetes.Quantity",
    "URL": "kubernetes.URL",
    "IP": "net.IP",
    "CIDR": "net.CIDR",
    "Semver": "kubernetes.Semver",
    "Format": "kubernetes.NamedFormat",
    "Authorizer": "kubernetes.authorization.Authorizer",
    "PathCheck": "kubernetes.authorization.PathCheck",
    "GroupCheck": "kubernetes.authorization.GroupCheck",
    "ResourceCheck": "kubernetes.authorization.ResourceCheck",
    "Decision": "kubernetes.authorization.Decision",
}

_TABLE: Final = """
!_              logical_not (bool)->bool
-_              negate_int64 (int)->int | negate_double (double)->double
_&&_            logical_and (bool,bool)->bool
_||_            logical_or (bool,bool)->bool
_?_:_           conditional (bool,A,A)->A
_==_            equals (A,A)->bool
_!=_            not_equals (A,A)->bool
@in             in_list (A,list<A>)->bool | in_map (A,map<A;B>)->bool
_+_             add_bytes (bytes,bytes)->bytes | add_double (double,double)->double | add_duration_duration (duration,duration)->duration | add_duration_timestamp (duration,timestamp)->timestamp | add_timestamp_duration (timestamp,duration)->timestamp | add_int64 (int,int)->int | add_list (list<A>,list<A>)->list<A> | add_string (string,string)->string | add_uint64 (uint,uint)->uint
_-_             subtract_double (double,double)->double | subtract_duration_duration (duration,duration)->duration | subtract_int64 (int,int)->int | subtract_timestamp_duration (timestamp,duration)->timestamp | subtract_timestamp_timestamp (timestamp,timestamp)->duration | subtract_uint64 (uint,uint)->uint
_*_             multiply_double (double,double)->double | multiply_int64 (int,int)->int | multiply_uint64 (uint,uint)->uint
_/_             divide_double (double,double)->double | divide_int64 (int,int)->int | divide_uint64 (uint,uint)->uint
_%_             modulo_int64 (int,int)->int | modulo_uint64 (uint,uint)->uint
size            size_bytes (bytes)->int | bytes_size bytes.()->int | size_list (list<A>)->int | list_size list<A>.()->int | size_map (map<A;B>)->int | map_size map<A;B>.()->int | size_string (string)->int | string_size string.()->int
type            type (A)->type
dyn             to_dyn (A)->dyn
bool            bool_to_bool (bool)->bool | string_to_bool (string)->bool
bytes           bytes_to_bytes (bytes)->bytes | string_to_bytes (string)->bytes
double          double_to_double (double)->double | int64_to_double (int)->double | string_to_double (string)->double | uint64_to_double (uint)->double | quantity_to_double (Quantity)->double
duration        duration_to_duration (duration)->duration | int64_to_duration (int)->duration | string_to_duration (string)->duration
int             double_to_int64 (double)->int | duration_to_int64 (duration)->int | int64_to_int64 (int)->int | string_to_int64 (string)->int | timestamp_to_int64 (timestamp)->int | uint64_to_int64 (uint)->int
string          bool_to_string (bool)->string | bytes_to_string (bytes)->string | double_to_string (double)->string | duration_to_string (duration)->string | int64_to_string (int)->string | string_to_string (string)->string | timestamp_to_string (timestamp)->string | uint64_to_string (uint)->string | url_to_string (URL)->string | ip_to_string (IP)->string | cidr_to_string (CIDR)->string
timestamp       int64_to_timestamp (int)->timestamp | string_to_timestamp (string)->timestamp | timestamp_to_timestamp (timestamp)->timestamp
uint            double_to_uint64 (double)->uint | int64_to_uint64 (int)->uint | string_to_uint64 (string)->uint | uint64_to_uint64 (uint)->uint
contains        contains_string string.(string)->bool
endsWith        ends_with_string string.(string)->bool
startsWith      starts_with_string string.(string)->bool
matches         matches (string,string)->bool | matches_string string.(string)->bool
getFullYear     timestamp_to_year timestamp.()->int | timestamp_to_year_with_tz timestamp.(string)->int
getMonth        timestamp_to_month timestamp.()->int | timestamp_to_month_with_tz timestamp.(string)->int
getDayOfYear    timestamp_to_day_of_year timestamp.()->int | timestamp_to_day_of_year_with_tz timestamp.(string)->int
getDayOfMonth   timestamp_to_day_of_month timestamp.()->int | timestamp_to_day_of_month_with_tz timestamp.(string)->int
getDate         timestamp_to_day_of_month_1_based timestamp.()->int | timestamp_to_day_of_month_1_based_with_tz timestamp.(string)->int
getDayOfWeek    timestamp_to_day_of_week timestamp.()->int | timestamp_to_day_of_week_with_tz timestamp.(string)->int
getHours        timestamp_to_hours timestamp.()->int | timestamp_to_hours_with_tz timestamp.(string)->int | duration_to_hours duration.()->int
getMinutes      timestamp_to_minutes timestamp.()->int | timestamp_to_minutes_with_tz timestamp.(string)->int | duration_to_minutes duration.()->int
getSeconds      timestamp_to_seconds timestamp.()->int | timestamp_to_seconds_tz timestamp.(string)->int | duration_to_seconds duration.()->int
getMilliseconds timestamp_to_milliseconds timestamp.()->int | timestamp_to_milliseconds_with_tz timestamp.(string)->int | duration_to_milliseconds duration.()->int
charAt          string_char_at_int string.(int)->string
indexOf         string_index_of_string string.(string)->int | string_index_of_string_int string.(string,int)->int | list_a_index_of_int list<A>.(A)->int
lastIndexOf     string_last_index_of_string string.(string)->int | string_last_index_of_string_int string.(string,int)->int | list_a_last_index_of_int list<A>.(A)->int
lowerAscii      string_lower_ascii string.()->string
upperAscii      string_upper_ascii string.()->string
replace         string_replace_string_string string.(string,string)->string | string_replace_string_string_int string.(string,string,int)->string
split           string_split_string string.(string)->list<string> | string_split_string_int string.(string,int)->list<string>
substring       string_substring_int string.(int)->string | string_substring_int_int string.(int,int)->string
trim            string_trim string.()->string
join            list_join list<string>.()->string | list_join_string list<string>.(string)->string
format          string_format string.(list<dyn>)->string
strings.quote   strings_quote (string)->string
find            string_find_string string.(string)->string
findAll         string_find_all_string string.(string)->list<string> | string_find_all_string_int string.(string,int)->list<string>
slice           list_slice list<A>.(int,int)->list<A>
flatten         list_flatten list<list<A>>.()->list<A> | list_flatten_int list<dyn>.(int)->list<dyn>
reverse         list_reverse list<A>.()->list<A>
distinct        list_distinct list<A>.()->list<A>
lists.range     lists_range (int)->list<int>
sets.contains   list_sets_contains_list (list<A>,list<A>)->bool
sets.equivalent list_sets_equivalent_list (list<A>,list<A>)->bool
sets.intersects list_sets_intersects_list (list<A>,list<A>)->bool
optional.of     optional_of (A)->optional<A>
optional.none   optional_none ()->optional<A>
optional.ofNonZeroValue optional_ofNonZeroValue (A)->optional<A>
optional.unwrap optional_unwrap (list<optional<A>>)->list<A>
unwrapOpt       optional_unwrapOpt list<optional<A>>.()->list<A>
hasValue        optional_hasValue optional<A>.()->bool
value           optional_value optional<A>.()->A
or              optional_or_optional optional<A>.(optional<A>)->optional<A>
orValue         optional_orValue_value optional<A>.(A)->A
first           list_first list<A>.()->optional<A>
last            list_last list<A>.()->optional<A>
url             string_to_url (string)->URL
isURL           is_url_string (string)->bool
getScheme       url_get_scheme URL.()->string
getHost         url_get_host URL.()->string
getHostname     url_get_hostname URL.()->string
getPort         url_get_port URL.()->string
getEscapedPath  url_get_escaped_path URL.()->string
getQuery        url_get_query URL.()->map<string;list<string>>
quantity        string_to_quantity (string)->Quantity
isQuantity      is_quantity_string (string)->bool
sign            quantity_sign Quantity.()->int
isGreaterThan   quantity_is_greater_than Quantity.(Quantity)->bool | semver_is_greater_than Semver.(Semver)->bool
isLessThan      quantity_is_less_than Quantity.(Quantity)->bool | semver_is_less_than Semver.(Semver)->bool
compareTo       quantity_compare_to Quantity.(Quantity)->int | semver_compare_to Semver.(Semver)->int
asApproximateFloat quantity_get_float Quantity.()->double
asInteger       quantity_get_int Quantity.()->int
isInteger       quantity_is_integer Quantity.()->bool
add             quantity_add Quantity.(Quantity)->Quantity | quantity_add_int Quantity.(int)->Quantity
sub             quantity_sub Quantity.(Quantity)->Quantity | quantity_sub_int Quantity.(int)->Quantity
semver          string_to_semver (string)->Semver | string_bool_to_semver (string,bool)->Semver
isSemver        is_semver_string (string)->bool | is_semver_string_bool (string,bool)->bool
major           semver_major Semver.()->int
minor           semver_minor Semver.()->int
patch           semver_patch Semver.()->int
ip              string_to_ip (string)->IP | cidr_ip CIDR.()->IP
isIP            is_ip (string)->bool
ip.isCanonical  ip_is_canonical (string)->bool
family          ip_family IP.()->int
isUnspecified   ip_is_unspecified IP.()->bool
isLoopback      ip_is_loopback IP.()->bool
isLinkLocalMulticast ip_is_link_local_multicast IP.()->bool
isLinkLocalUnicast ip_is_link_local_unicast IP.()->bool
isGlobalUnicast ip_is_global_unicast IP.()->bool
cidr            string_to_cidr (string)->CIDR
isCIDR          is_cidr (string)->bool
containsIP      cidr_contains_ip_string CIDR.(string)->bool | cidr_contains_ip_ip CIDR.(IP)->bool
containsCIDR    cidr_contains_cidr_string CIDR.(string)->bool | cidr_contains_cidr CIDR.(CIDR)->bool
masked          cidr_masked CIDR.()->CIDR
prefixLength    cidr_prefix_length CIDR.()->int
format.named    format-named (string)->optional<Format>
validate        format-validate Format.(string)->optional<list<string>>
path            authorizer_path Authorizer.(string)->PathCheck
group           authorizer_group Authorizer.(string)->GroupCheck
serviceAccount  authorizer_serviceaccount Authorizer.(string,string)->Authorizer
resource        groupcheck_resource GroupCheck.(string)->ResourceCheck
subresource     resourcecheck_subresource ResourceCheck.(string)->ResourceCheck
namespace       resourcecheck_namespace ResourceCheck.(string)->ResourceCheck
name            resourcecheck_name ResourceCheck.(string)->ResourceCheck
fieldSelector   authorizer_fieldselector ResourceCheck.(string)->ResourceCheck
labelSelector   authorizer_labelselector ResourceCheck.(string)->ResourceCheck
check           pathcheck_check PathCheck.(string)->Decision | resourcecheck_check ResourceCheck.(string)->Decision
allowed         decision_allowed Decision.()->bool
errored         decision_errored Decision.()->bool
error           decision_error Decision.()->string
reason          decision_reason Decision.()->string
"""
#: Functions that are declared for mutations only.
_MUTATION: Final = "jsonpatch.escapeKey string_jsonpatch_escapeKey_string (string)->string"

#: The named formats of Kubernetes' format library.
FORMATS: Final = (
    *("dns1123Label", "dns1123Subdomain", "dns1035Label", "qualifiedName", "dns1123LabelPrefix"),
    *(
        "dns1123SubdomainPrefix",
        "dns1035LabelPrefix",
        "labelValue",
        "uri",
        "uuid",
        "byte",
        "date",
        "datetime",
    ),
)

_COMPARABLE: Final = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_SUMMABLE: Final = ("int", "uint", "double", "duration")
_NUMERIC: Final = {"int": "int64", "uint": "uint64", "double": "double"}
_ORDERED: Final = (("_<_", "less"), ("_<=_", "less_equals"), ("_>_", "greater"), ("_>=_", "greater_equals"))


@cache
def functions(mutation: bool = False) -> Mapping[str, tuple[Overload, ...]]:
    """Function name -> its overloads, in the order in which they are tried."""
    found: dict[str, tuple[Overload, ...]] = {}
    for line in _TABLE.strip().splitlines() + ([_MUTATION] if mutation else []):
        name, _, rest = line.partition(" ")
        found[name] = tuple(_overload(each.strip()) for each in rest.split(" | "))
    for name, stem in _ORDERED:
        found[name] = tuple(_comparisons(stem))
    for name, id_ in (("isSorted", "list_{}_is_sorted_bool"), ("sort", "list_{}_sort")):
        found[name] = tuple(
            Overload(id_.format(each), (list_of(one),), BOOL if name == "isSorted" else list_of(one), True)
            for each in _COMPARABLE
            for one in (SCALARS[each],)
        )
    for name, kinds in (("sum", _SUMMABLE), ("min", _COMPARABLE), ("max", _COMPARABLE)):
        found[name] = tuple(
            Overload(f"list_{each}_{name}_{each}", (list_of(SCALARS[each]),), SCALARS[each], True)
            for each in kinds
        )
    for name in FORMATS:
        found[f"format.{name}"] = (Overload(f"format.{name}", (), opaque(_OPAQUE["Format"]), False),)
    return found


def _comparisons(stem: str) -> list[Overload]:
    made = [
        Overload(f"{stem}_{_NUMERIC.get(each, each)}", (SCALARS[each],) * 2, BOOL, False)
        for each in _COMPARABLE
    ]
    numbers = (INT, UINT, DOUBLE)
    made += [
        Overload(f"{stem}_{_NUMERIC[left.kind]}_{_NUMERIC[right.kind]}", (left, right), BOOL, False)
        for left in numbers
        for right in numbers
        if left is not right
    ]
    return made


_SHAPE: Final = re.compile(r"(\S+) ([^.(]*)(\.?)\((.*)\)->(.+)")


def _overload(text: str) -> Overload:
    shape = _SHAPE.fullmatch(text)
    assert shape is not None, text
    parameters = [_type(each) for each in _split(shape[4], ",")]
    if shape[3]:
        parameters.insert(0, _type(shape[2]))
    return Overload(shape[1], tuple(parameters), _type(shape[5]), bool(shape[3]))


def _split(text: str, separator: str) -> list[str]:
    found, depth, start = [], 0, 0
    for position, char in enumerate(text):
        depth += (char == "<") - (char == ">")
        if char == separator and not depth:
            found.append(text[start:position])
            start = position + 1
    return [*found, text[start:]] if text else []


def _type(text: str) -> Declared:
    if text in SCALARS:
        return SCALARS[text]
    if text in _OPAQUE:
        return opaque(_OPAQUE[text])
    if len(text) == 1:
        return Declared("param", name=text)
    if text == "type":
        return Declared("type")
    head, _, rest = text[:-1].partition("<")
    parts = [_type(each) for each in _split(rest, ";")]
    if head == "list":
        return list_of(parts[0])
    return optional_of(parts[0]) if head == "optional" else map_of(parts[0], parts[1])


#: Type names that an expression may speak of -> what ``type()`` gives for their values.
TYPE_NAMES: Final[Mapping[str, str]] = {
    **{name: name for name in ("int", "uint", "double", "bool", "string", "bytes", "list", "map", "type")},
    "null_type": "null_type",
    "optional_type": "optional_type",
    "google.protobuf.Timestamp": "google.protobuf.Timestamp",
    "google.protobuf.Duration": "google.protobuf.Duration",
    **{name: name for name in _OPAQUE.values()},
}
__all__ = ["DYN", "FORMATS", "STRING", "TYPE_NAMES", "Overload", "functions"]
