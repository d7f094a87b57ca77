# SPDX-License-Identifier: Apache-2.0
"""Cases of sections 2, 4 and 11 of docs/protocol.md: canonical JSON and whole documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from folkmoot.protocol.fixed_point import LEAF, STATE_BOUND
from folkmoot.protocol.hashing import canonical_json
from folkmoot.protocol.state import State
from tools.cases.group import Group
from tools.cases.values import raw
from tools.vectors.values import VECTORS


def json_cases() -> list[Group]:
    """Sections 2 and 11."""
    group = Group(
        "canonicalJson", "2", "Bytes that are canonical JSON, or not. The comment says what differs."
    )
    good = {
        "an object": b'{"a":1,"b":[true,false,null,"x"]}',
        "empty": b"{}",
        "a number alone": b"7",
        "keys by code point, not by UTF-16 as in RFC 8785": '{"\uff01":1,"\U0001f600":2}'.encode(),
        "upper case before lower case": b'{"B":1,"a":2}',
        "no escape but the needed ones": '{"ä":"€ ß / \u007f"}'.encode(),
        "the short escapes": b'"\\b\\f\\n\\r\\t\\"\\\\"',
        "other control characters, lower-case hex": b'"\\u0000\\u001f"',
        "an integer beyond 2^53 stays exact": b"9007199254740993",
        "an integer beyond 2^64": b"36893488147419103233",
        "a negative integer": b"-1",
        "a float with an integral value keeps its .0": b"1.0",
        "negative zero of a float": b"-0.0",
        "0.1": b"0.1",
        "a small number in exponent form": b"1e-07",
        "0.0001 is not in exponent form": b"0.0001",
        "0.00001 is": b"1e-05",
        "exponent form from 1e16 on": b"1e+16",
        "the largest without it": b"9999999999999998.0",
        "17 digits": b"0.30000000000000004",
        "the smallest": b"5e-324",
        "64 levels": b"[" * 64 + b"]" * 64,
        "64 levels around a number, which is no level": b"[" * 64 + b"7" + b"]" * 64,
    }
    bad = {
        "white space after a colon": b'{"a": 1}',
        "white space after a comma": b"[1, 2]",
        "a line feed at the end": b"{}\n",
        "white space in front": b" {}",
        "keys in another order": b'{"b":1,"a":2}',
        "a duplicate key": b'{"a":1,"a":2}',
        "a duplicate key with the same value": b'{"a":1,"a":1}',
        "keys as RFC 8785 sorts them": '{"\U0001f600":2,"\uff01":1}'.encode(),
        "an escape that is not needed": b'"\\u0041"',
        "a non-ASCII character escaped": b'"\\u00e4"',
        "an escaped solidus": b'"\\/"',
        "upper-case hex in an escape": b'"\\u001F"',
        "a long escape where there is a short one": b'"\\u000a"',
        "a control character": b'"\n"',
        "a lone surrogate, escaped": b'"\\ud800"',
        "a surrogate pair, escaped": b'"\\ud83d\\ude00"',
        "a surrogate in UTF-8": b'"\xed\xa0\x80"',
        "not UTF-8": b'"\xff"',
        "an overlong form": b'"\xc0\xaf"',
        "a byte order mark": b"\xef\xbb\xbf{}",
        "UTF-16": '{"a":1}'.encode("utf-16-le"),
        "a leading zero": b"01",
        "a plus sign": b"+1",
        "-0 as an integer": b"-0",
        "an integer in exponent form": b"1e2",
        "RFC 8785's form of 1e16": b"10000000000000000.0",
        "RFC 8785's form of 1e-7": b"1e-7",
        "an upper-case exponent": b"1E-07",
        "a trailing zero": b"0.10",
        "more digits than needed": b"0.1000000000000000055511151231257827",
        "no digit before the point": b".5",
        "no digit behind it": b"1.",
        "NaN": b"NaN",
        "infinity": b"Infinity",
        "a number too large for binary64": b"1e400",
        "a trailing comma": b"[1,]",
        "a comment": b"{}//",
        "single quotes": b"{'a':1}",
        "a key that is no string": b"{1:2}",
        "two values": b"{}{}",
        "nothing": b"",
        "65 levels": b"[" * 65 + b"]" * 65,
        "an open string": b'"a',
        "an integer of more than 4300 digits": b"1" * 4301,
    }
    for comment, data in good.items():
        group.valid(comment, {"kind": "json", "data": data})
    for comment, data in bad.items():
        group.invalid(comment, {"kind": "json", "data": data})
    return [group, document_cases()]


def document_cases() -> Group:
    """Sections 2, 4 and 11: whole documents."""
    group = Group(
        "documents", "2, 4, 11", "Documents of each kind; a state file is for a manifest of one tensor of 3 elements.",
    )  # fmt: skip
    vectors = json.loads((VECTORS / "protocol.json").read_text(encoding="utf-8"))
    whole = vectors["round"]

    def changed(
        kind: str, source: str, changes: dict[str, Callable[[Any], Any]], which: str = "as it is"
    ) -> None:
        group.valid(f"{kind}: {which}", {"kind": kind, "data": source.encode()})
        for comment, change in changes.items():
            value = json.loads(source)
            change(value)
            data = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
            group.invalid(f"{kind}: {comment}", {"kind": kind, "data": data})
        spaced = json.dumps(json.loads(source), ensure_ascii=False).encode()
        group.invalid(f"{kind}: white space", {"kind": kind, "data": spaced})
        twice = source.encode().replace(b'{"', b'{"format":"x","', 1)
        group.invalid(f"{kind}: a key twice", {"kind": kind, "data": twice})

    def put(name: str, value: Any, *places: Any) -> Callable[[Any], Any]:
        def change(document_: Any) -> None:
            for place in places:
                document_ = document_[place]
            document_[name] = value

        return change

    def drop(name: str) -> Callable[[Any], Any]:
        return lambda document_: document_.pop(name)

    changed("manifest", vectors["manifest"]["json"], {
        "an unknown field": put("extra", 1),
        "no task": drop("task"),
        "another format": put("format", "folkmoot/manifest/1"),
        "an empty task": put("task", ""),
        "a task of 65 characters": put("task", "x" * 65),
        "no tensor": put("arrays", []),
        "a size of 0": put("shape", [0], "arrays", 0),
        "a size that is a float": put("shape", [3.0, 100], "arrays", 0),
        "a size that is a bool": put("shape", [True], "arrays", 0),
        "a size above 2^32": put("shape", [(1 << 32) + 1], "arrays", 0),
        "33 dimensions": put("shape", [1] * 33, "arrays", 0),
        "too many leaves": put("shape", [1 << 32, 2], "arrays", 0),
        "a name twice": put("name", "layer.bias", "arrays", 0),
        "the name __metadata__": put("name", "__metadata__", "arrays", 0),
        "an empty name": put("name", "", "arrays", 0),
        "a tensor of int8": put("dtype", "int8", "arrays", 0),
        "carried data of another length": put("data", "AAAA", "arrays", 1),
        "base64 with bits left over": put("data", "+f////////9=", "arrays", 1),
        "base64 with a line feed": put("data", "+f//////\n//8=", "arrays", 1),
        "a carried array with data and a hash": put("hash", "ab" * 32, "arrays", 1),
        "training that is a list": put("training", []),
        "an unknown field of an array": put("extra", 1, "arrays", 0),
        "a tensor and a carried array of one name": put("name", "layer.bias", "arrays", 1),
        "a task of 65 characters beyond U+FFFF": put("task", "\U0001f600" * 65),
    })  # fmt: skip
    wide = json.loads(vectors["manifest"]["json"]) | {"task": "\U0001f600" * 64}
    changed("manifest", canonical_json(wide).decode(), {}, "with a task of 64 characters beyond U+FFFF")
    filed = json.loads(vectors["manifest"]["json"])
    filed["arrays"].append({"name": "table", "shape": [50000, 8], "dtype": "float32", "hash": "ab" * 32})
    changed("manifest", canonical_json(filed).decode(), {
        "a hash in upper case": put("hash", "AB" * 32, "arrays", 5),
        "a hash with 0x": put("hash", "0x" + "ab" * 32, "arrays", 5),
        "a hash of 31 bytes": put("hash", "ab" * 31, "arrays", 5),
        "a hash that is no text": put("hash", 5, "arrays", 5),
        "a file of complex64": put("dtype", "complex64", "arrays", 5),
        "no array but files": put("arrays", filed["arrays"][5:]),
    }, "with an array that is a file")  # fmt: skip
    changed("genesis", whole["genesis"], {
        "an unknown field": put("extra", 1),
        "another format": put("format", "folkmoot/genesis/2"),
        "an exponent above 4": put("exponents", [5]),
        "an exponent below -40": put("exponents", [-41]),
        "an exponent that is a float": put("exponents", [-3.0]),
        "an exponent that is a bool": put("exponents", [True]),
        "upper-case hex": put("state", "A" * 64),
        "a hash with 0x": put("state", "0x" + "a" * 62),
    })  # fmt: skip
    changed("verdicts", whole["verdicts"], {
        "an unknown field": put("extra", 1),
        "an unknown field in a verdict": put("extra", 1, "verdicts", 0),
        "no rule": drop("rule"),
        "an address without its checksum": put("contributor", "0x" + "ab" * 20, "verdicts", 0),
        "a reason that does not exist": put("reason", "disliked", "verdicts", 0),
        "a weight that is a string": put("weight", "1", "verdicts", 0),
        "a weight that is a float": put("weight", 1.0, "verdicts", 0),
        "a negative weight": put("weight", -1, "verdicts", 0),
        "a weight beyond uint32": put("weight", 1 << 32, "verdicts", 0),
        "an index out of order": put("index", 1, "verdicts", 0),
        "a negative round": put("round", -1),
        "a parameter beyond uint32": put("parameters", [1 << 32]),
        "a number that is an integer": put("sumSquares", 5, "verdicts", 0, "numbers"),
        "a number with a leading zero": put("sumSquares", "05", "verdicts", 0, "numbers"),
        "a number with white space": put("sumSquares", " 5", "verdicts", 0, "numbers"),
        "a number with an underscore": put("sumSquares", "5_0", "verdicts", 0, "numbers"),
    })  # fmt: skip
    changed("artifacts", whole["artifacts"], {
        "an unknown field": put("extra", 1),
        "no state": drop("state"),
        "upper-case hex in the header": put("header", "AB"),
        "an update that is a number": put("updates", [1]),
        "an update of 63 digits": put("updates", ["a" * 63]),
        "an exponent out of range": put("nextExponents", [-41]),
        "a negative round": put("round", -1),
    })  # fmt: skip
    header = raw(whole["header"])
    group.valid("header: as it is", {"kind": "header", "data": header})
    group.invalid("header: a byte too many", {"kind": "header", "data": header + b"\0"})
    group.invalid("header: a word too few", {"kind": "header", "data": header[:-32]})
    group.invalid("header: round beyond uint64", {"kind": "header", "data": b"\1" + header[1:]})
    group.invalid("header: padding that is not 0", {"kind": "header", "data": header[:-1] + b"\1"})
    place = 8 * 32
    group.invalid(
        "header: an exponent of 5", {"kind": "header", "data": header[:place] + b"\5" + header[place + 1 :]}
    )
    theta = np.zeros(LEAF, dtype=np.int64)
    theta[:3] = [STATE_BOUND, -STATE_BOUND, -1]
    state = State(theta, theta[::1].copy()).to_bytes()
    group.valid("state: the largest values", {"kind": "state", "data": state})

    def word(value: int, at: int) -> bytes:
        place = 4 + 8 * at
        return state[:place] + value.to_bytes(8, "little", signed=True) + state[place + 8 :]

    group.invalid("state: a value above the bound", {"kind": "state", "data": word(STATE_BOUND + 1, 0)})
    group.invalid("state: a value below the bound", {"kind": "state", "data": word(-STATE_BOUND - 1, 256)})
    group.invalid("state: padding that is not 0", {"kind": "state", "data": word(1, 3)})
    group.invalid("state: padding of the momentum that is not 0", {"kind": "state", "data": word(1, 511)})
    group.invalid("state: another magic", {"kind": "state", "data": b"FMS2" + state[4:]})
    group.invalid("state: a byte too few", {"kind": "state", "data": state[:-1]})
    group.invalid(
        "state: big-endian",
        {
            "kind": "state",
            "data": state[:4] + b"".join(state[at : at + 8][::-1] for at in range(4, len(state), 8)),
        },
    )
    return group


def layout_cases() -> Group:
    """Section 2."""
    group = Group("layout", "2", "A model of as many tensors as it says, each with as many elements.")
    most, leaves = 4096, 1 << 24
    group.valid("one element", {"elements": 1, "tensors": 1})
    group.valid("one element more than a leaf", {"elements": LEAF + 1, "tensors": 2})
    group.valid("the most leaves, in one tensor", {"elements": LEAF * leaves, "tensors": 1})
    group.valid("the most tensors", {"elements": 1, "tensors": most})
    group.valid("the most tensors and leaves", {"elements": LEAF * leaves // most - 1, "tensors": most})
    group.invalid("one tensor more", {"elements": 1, "tensors": most + 1})
    group.invalid("a leaf more in each of two tensors", {"elements": LEAF * leaves // 2 + 1, "tensors": 2})
    group.invalid("no tensor", {"elements": 1, "tensors": 0})
    return group
