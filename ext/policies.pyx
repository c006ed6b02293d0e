"""Merge policy tables, and how the policies of lists merge them.

A table maps JSON Pointers, in which the token ``*`` stands for any one name or index, to a policy name or to
``{"policy": name, "key": member}``. A policy on a path governs the whole subtree unless a deeper path has its own.
Of several matches the deepest wins; of equally deep ones the one with a name where the other has ``*``, leftmost
first. Where nothing matches, ``last`` decides.

`syncbridge._twin.policies` and `syncbridge._twin.decide` say the same in plain Python.
"""

from collections.abc import Mapping

from cpython.object cimport PyObject

from jsonkind cimport same_value

from syncbridge._ext.patch import split_pointer
from syncbridge.errors import PatchError, PolicyError

NAMES = frozenset(
    ("last", "latest", "max", "min", "counter", "set", "append", "owner", "playhead", "manual")
)
DEFAULT = ("last", "id", 0)  # policy, the member that names an item, how many tokens the policy's path has

cdef object _DEFAULT = DEFAULT
cdef int PATH_TOKENS_MAX = 64
cdef int DEPTH_LIMIT = 256


def compile_policies(schema, /):
    """The table as a trie of plain values. Raises PolicyError on an unknown policy or a bad path."""
    if not isinstance(schema, Mapping):
        raise PolicyError("a policy table maps paths to policies")
    root = node()
    for path, entry in schema.items():
        try:
            tokens = split_pointer(path)
        except PatchError as error:
            raise PolicyError(f"{str(path)[:80]!r}: {error.reason}") from None
        if len(tokens) > PATH_TOKENS_MAX:
            raise PolicyError(f"{path[:80]!r}: a path has at most {PATH_TOKENS_MAX} tokens")
        rule = {"policy": entry} if isinstance(entry, str) else entry
        if not isinstance(rule, Mapping) or not set(rule) <= {"policy", "key"} or "policy" not in rule:
            raise PolicyError(f"{path[:80]!r}: expected a policy name or an object with policy and key")
        name, key = rule["policy"], rule.get("key")
        if not isinstance(name, str) or name not in NAMES:
            raise PolicyError(f"{path[:80]!r}: {str(name)[:40]!r} is none of {', '.join(sorted(NAMES))}")
        if key is not None and (name != "append" or not isinstance(key, str) or not key):
            raise PolicyError(f"{path[:80]!r}: only append takes a key, the name of a member")
        here = root
        for token in tokens:
            if token == "*":
                here["any"] = here["any"] or node()
                here = here["any"]
            else:
                here = here["exact"].setdefault(token, node())
        here["policy"], here["key"] = name, key or "id"
    return root


cdef dict node():
    return {"policy": None, "key": "id", "exact": {}, "any": None}


def rule_at(policies, tuple tokens):
    """The rule (policy, key, depth) that governs the place `tokens`."""
    if policies is None:
        return _DEFAULT
    found = find(policies, tokens, 0)
    return _DEFAULT if found is None else found


cdef tuple find(dict here, tuple tokens, Py_ssize_t depth):
    cdef tuple best = None
    cdef tuple found
    if here["policy"] is not None:
        best = (here["policy"], here["key"], depth)
    if depth < len(tokens):
        for child in ((<dict>here["exact"]).get(tokens[depth]), here["any"]):
            if child is not None:
                found = find(<dict>child, tokens, depth + 1)
                if found is not None and (best is None or found[2] > best[2]):
                    best = found
    return best


# -- lists of items ------------------------------------------------------------------------------------------------


cdef bint same(object a, object b) except -1:
    return same_value(<PyObject *>a, <PyObject *>b, DEPTH_LIMIT) == 1


cdef object identity(object value):
    """A hashable stand-in: equal for equal values of equal kinds."""
    if isinstance(value, dict):
        return dict, frozenset([(key, identity(item)) for key, item in (<dict>value).items()])
    if isinstance(value, list):
        return list, tuple([identity(item) for item in <list>value])
    return type(value), value


cdef object item_name(object item, str key):
    if isinstance(item, dict) and key in <dict>item:
        return "named", identity((<dict>item)[key])
    return "itself", identity(item)


def unite(list before, list ours, list theirs):
    """The ``set`` merge: theirs in its order without what we removed, then what we added in our order."""
    had = {identity(item) for item in before}
    have = {identity(item) for item in ours}
    merged = {}
    for item in theirs:
        name = identity(item)
        if name in have or name not in had:
            merged.setdefault(name, item)
    for item in ours:
        name = identity(item)
        if name not in had:
            merged.setdefault(name, item)
    return list(merged.values())


def merge_items(list before, list ours, list theirs, str key):
    """The ``append`` merge: every item of theirs in its order, then those we added; one of each name.

    Answers the merged list and what was lost on the way, as (index, winner, ours, theirs); an absent value is
    Ellipsis. Where both changed one item, ours stays; an item we removed stays too.
    """
    had = {item_name(item, key): item for item in before}
    have = {item_name(item, key): item for item in ours}
    merged = {}
    lost = []
    for item in theirs:
        merged.setdefault(item_name(item, key), item)
    place = {name: index for index, name in enumerate(merged)}
    for name, item in have.items():
        was_changed = name not in had or not same(item, had[name])
        if name not in merged:
            if was_changed:
                merged[name] = item
        elif was_changed and not same(item, merged[name]):
            if name not in had or not same(merged[name], had[name]):
                lost.append((place[name], "ours", item, merged[name]))
            merged[name] = item
    lost += [(place[name], "theirs", ..., merged[name]) for name in had if name not in have and name in merged]
    return list(merged.values()), lost
