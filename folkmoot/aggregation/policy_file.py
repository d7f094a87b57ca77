# SPDX-License-Identifier: Apache-2.0
"""A policy as a JSON file: what people write, propose and deploy with.

Keys are the fields of `folkmoot.protocol.policy.Policy` in camelCase; amounts (units of 1e-18 tokens) and integers of
64 bits are decimal strings, and are also taken as integers. `verifier` is an address, or the word `arbiter` for the
arbiter of the deployment that the policy is for, or `none`; it may be left out for `arbiter`. `bundleHash` is 0x-hex.
It may be left out for any bundle, `interval`, `minSumSquares`, `noise1024`, `steps`, `privacyCap` and `retainRounds`
for 0, and `meanScale` for 7 at width 2 and 1 at others.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from folkmoot.errors import InputError
from folkmoot.privacy.settings import PrivacySettings, check_bounds, check_matches_policy, floor_warning
from folkmoot.protocol.budget import MAX_STEPS
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import json_name, parse_json
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import largest_scale
from folkmoot.protocol.packing import WIDTHS, largest
from folkmoot.protocol.policy import ARBITER, MEAN_SCALES, NO_VERIFIER, Policy

_STRINGS = {"max_sum_squares", "min_sum_squares", "privacy_cap", "min_stake", "bond", "reward"}
_OPTIONAL = {field.name for field in fields(Policy) if field.default is not MISSING}

_HASH = re.compile("0x[0-9a-fA-F]{64}")

NO_WORD = "none"
"""Word for no verifier."""


def to_json(policy: Policy) -> dict[str, Any]:
    """Return a policy as a JSON object."""
    document: dict[str, Any] = {}
    for field in fields(policy):
        value = getattr(policy, field.name)
        if field.name in _STRINGS:
            value = str(value)
        elif field.name == "parameters":
            value = list(value)
        elif field.name == "bundle_hash":
            value = "0x" + value.hex()
        document[json_name(field.name)] = value
    return document


def from_json(document: Any) -> Policy:
    """Read a policy from a JSON object.

    Raises:
        InputError: a field is missing, unknown, or has an impossible value.
    """
    if not isinstance(document, dict):
        raise _invalid("it is not a JSON object")
    names = {json_name(field.name): field.name for field in fields(Policy)}
    unknown = sorted(set(document) - set(names))
    if "bits" in unknown:
        raise _invalid("it is of protocol version 1: what was `bits` there is `width`")
    if unknown:
        raise _invalid(f"it has the unknown fields {', '.join(unknown)}")
    missing = sorted(key for key, name in names.items() if key not in document and name not in _OPTIONAL)
    if missing:
        raise _invalid(f"it lacks the fields {', '.join(missing)}")
    values = {names[key]: _value(key, names[key], value) for key, value in document.items()}
    verifier = values.setdefault("verifier", ARBITER)
    values.setdefault("mean_scale", MEAN_SCALES.get(values["width"], 1))
    values["verifier"] = NO_VERIFIER if verifier == NO_WORD else verifier
    try:
        return Policy(**values)
    except InputError as error:
        raise _invalid(error.message) from error


def load(path: Path) -> Policy:
    """Read a policy file that somebody wants to deploy or to propose.

    Raises:
        InputError: the file can't be read or is malformed, or its rule can't work.
    """
    from folkmoot.aggregation.registry import check_policy_rule

    try:
        document = parse_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"The policy file {path} can't be read: {error.strerror}.",
            remedy="Check the path.",
            code="policy-missing",
        ) from error
    except InputError as error:
        raise _invalid(f"{path} is not JSON ({error.message})") from error
    policy = from_json(document)
    check_policy_rule(policy)
    _check_budget(policy)
    _check_width(policy)
    return policy


def _check_budget(policy: Policy) -> None:
    """Raise InputError unless noise, steps and cap are all there or none is, and the cap is enough for one round."""
    parts = policy.noise1024, policy.steps, policy.privacy_cap
    if any(parts) and not all(parts):
        raise _invalid("noise1024, steps and privacyCap must be all 0 or all above 0")
    if policy.steps > MAX_STEPS:
        raise _invalid(f"steps is {policy.steps}, more than {MAX_STEPS}")
    if policy.privacy_cap < policy.cost:
        raise _invalid(
            f"privacyCap is {policy.privacy_cap}, less than the {policy.cost} that one round costs"
        )
    if policy.min_sum_squares > policy.max_sum_squares:
        raise _invalid("minSumSquares is above maxSumSquares")


def _check_width(policy: Policy) -> None:
    """Raise InputError unless an update and its mean can have the width and the mean scale."""
    if policy.width not in WIDTHS:
        raise _invalid(f"width is {policy.width}, not 8, 4 or 2")
    if policy.noise1024 and policy.width != WIDTHS[0]:
        raise _invalid(f"width is {policy.width}, and with noise it must be 8")
    most = largest_scale(largest(policy.width))
    if not 1 <= policy.mean_scale <= most:
        raise _invalid(f"meanScale is {policy.mean_scale}, not 1 to {most} at width {policy.width}")


def _value(key: str, name: str, value: Any) -> Any:
    if name in ("rule", "verifier"):
        if not isinstance(value, str):
            raise _invalid(f"{key} must be a text, got {value!r}")
        return value
    if name == "bundle_hash":
        if not isinstance(value, str) or not _HASH.fullmatch(value):
            raise _invalid(f"{key} must be 0x and 64 hex digits, got {value!r}")
        return bytes.fromhex(value[2:])
    if name == "parameters":
        if not isinstance(value, list) or any(type(item) is not int for item in value):
            raise _invalid(f"parameters must be a list of integers, got {value!r}")
        return tuple(value)
    if (
        name in _STRINGS
        and isinstance(value, str)
        and value.isascii()
        and value.isdigit()
        and len(value) < 80
    ):
        return int(value)
    if type(value) is not int:
        raise _invalid(f"{key} must be an integer, got {value!r}")
    return value


def _invalid(reason: str) -> InputError:
    return InputError(
        f"The policy is malformed: {reason}.",
        remedy="`folkmoot status --json` shows the fields of the present policy as an example.",
        code="policy-malformed",
    )


def check_privacy(policy: Policy, genesis: Genesis, manifest: Manifest) -> str:
    """Check that a policy has the noise that the manifest declares, and refuses no honest update by its size.

    Returns:
        A warning, if the policy has a lower floor than it could have; else an empty text.

    Raises:
        InputError: ``wrong-privacy``, ``floor-too-high`` or ``cap-too-small``, or the manifest's privacy settings are
            invalid.
    """
    declared = PrivacySettings.of(manifest.training)
    check_matches_policy(declared, noise1024=policy.noise1024, steps=policy.steps)
    floor = check_bounds(
        manifest,
        genesis.exponents,
        min_sum_squares=policy.min_sum_squares,
        max_sum_squares=policy.max_sum_squares,
        width=policy.width,
    )
    return floor_warning(floor, policy.min_sum_squares)
