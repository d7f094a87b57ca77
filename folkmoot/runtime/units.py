# SPDX-License-Identifier: Apache-2.0
"""Amounts, times and identifiers, between what the contracts count in and what people write.

Exact: decimal strings and integers, never floats.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from eth_utils.address import is_address, to_checksum_address

from folkmoot.errors import InputError

DECIMALS = 18
"""Decimal places of the token."""

UNIT = 10**DECIMALS
"""Smallest units in one token."""

SYMBOL = "MOOT"
"""Symbol of the token."""

MAX_AMOUNT = 2**128 - 1
"""Largest amount that the vault can hold for an account."""

_BUNDLE = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_AMOUNT = re.compile(r"(?P<whole>\d{1,30})(?:\.(?P<part>\d{1,18}))?", re.ASCII)


def parse_amount(text: str, *, least: int = 1) -> int:
    """Return a decimal number of tokens in units of 1e-18.

    Args:
        text: The number.
        least: Smallest amount: 1 unit, or 0 where nothing is an answer too.

    Raises:
        InputError: it is no decimal number with at most 18 places, or too small or too large.
    """
    match = _AMOUNT.fullmatch(text.strip().replace("_", ""))
    if not match:
        raise InputError(
            f"{text!r} is not an amount.",
            remedy=f"Write a number of tokens such as 250 or 0.5, with at most {DECIMALS} decimal places.",
            code="invalid-amount",
        )
    amount: int = int(match["whole"]) * UNIT + int((match["part"] or "").ljust(DECIMALS, "0"))
    if not least <= amount <= MAX_AMOUNT:
        raise InputError(
            f"The amount {text} is out of range.",
            remedy=f"Amounts are {'above' if least else 'from'} 0 and at most {MAX_AMOUNT // UNIT} tokens.",
            code="invalid-amount",
        )
    return amount


def format_amount(amount: int) -> str:
    """Return an amount in units of 1e-18 as people read it, e.g. `250.5 MOOT`."""
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), UNIT)
    places = str(part).rjust(DECIMALS, "0").rstrip("0")
    return f"{sign}{whole}{'.' + places if places else ''} {SYMBOL}"


def format_gwei(wei: int) -> str:
    """Return a fee for a unit of gas, given in wei, as people read it."""
    return f"{wei / 10**9:.4g}"


def parse_address(text: str) -> str:
    """Return a checksummed address.

    Raises:
        InputError: it is no address, or its checksum is wrong.
    """
    value = text.strip()
    if not is_wellformed_address(value):
        raise InputError(
            f"{text!r} is not an address.",
            remedy="Write 0x and 40 hexadecimal digits; mixed case must have the right EIP-55 checksum.",
            code="invalid-address",
        )
    return str(to_checksum_address(value))


def parse_bundle(text: str) -> str:
    """Return the SHA-256 of an app bundle as 64 hexadecimal digits in lower case, without 0x; or an empty text."""
    if not text:
        return ""
    if (match := _BUNDLE.fullmatch(text)) is None:
        raise InputError(
            f"{text!r} is not the hash of a bundle.",
            remedy="Give --bundle the SHA-256 of the bundle, 64 hexadecimal digits. `folkmoot train --bundle -`, "
            "`folkmoot join` "
            "and GET /v1/rounds/N/updates show it.",
        )
    return match[1].lower()


def is_wellformed_address(text: str) -> bool:
    """Return whether a text is an address: 0x, 40 hexadecimal digits, and the right checksum if it has mixed case."""
    if not (text.startswith("0x") and is_address(text)):
        return False
    return text[2:] in (text[2:].lower(), text[2:].upper()) or to_checksum_address(text) == text


def format_time(seconds: int) -> str:
    """Return a Unix time as ISO 8601 in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)  # contracts may hold times that no calendar has


def format_duration(seconds: int) -> str:
    """Return a number of seconds as people read it, e.g. `2d 3h` (two units at most)."""
    parts = []
    left = abs(seconds)
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{name}")
    return ("-" if seconds < 0 else "") + (" ".join(parts[:2]) or "0s")
