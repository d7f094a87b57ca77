# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from folkmoot.errors import InputError
from folkmoot.privacy.settings import PrivacySettings, check_matches_policy

GOOD: dict[str, Any] = {
    "unit": "record",
    "adjacency": "add-remove",
    "noise1024": 6369,
    "steps": 1,
    "B0": 192,
    "clip": 0.4,
    "grid": 8,
    "delta": 1e-5,
}


def read(**changes: Any) -> PrivacySettings:
    settings = PrivacySettings.of({"privacy": {**GOOD, **changes}})
    assert settings is not None
    return settings


def test_settings_are_read_as_they_were_written() -> None:
    assert read().to_json() == GOOD
    assert read().bound == 1024 * 2**8
    assert read().deviation == 6369 * 2**8
    assert read().epsilon(20) == pytest.approx(3, abs=1e-3)
    assert PrivacySettings.of({"learning_rate": 1}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noise1024", 0),
        ("noise1024", -5),
        ("noise1024", 2.5),
        ("noise1024", True),
        ("noise1024", 1 << 21),
        ("steps", 0),
        ("B0", 0),
        ("B0", "64"),
        ("clip", 0),
        ("clip", float("nan")),
        ("clip", float("inf")),
        ("clip", "1"),
        ("grid", -1),
        ("grid", 17),
        ("grid", 16),  # the noise would be beyond what the sampler takes
        ("delta", 0),
        ("delta", 0.0011),
        ("delta", 1 / 1919),  # B0 is 192
        ("B0", 10_001),
        ("unit", "patient"),
        ("adjacency", "replace"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"The privacy setting ({name}|delta) is ") as refused:
        read(**{name: value})
    assert refused.value.code == "invalid-privacy"
    assert refused.value.remedy


@pytest.mark.parametrize(
    "value", [None, 3, [], {}, {**GOOD, "seed": 1}, {k: v for k, v in GOOD.items() if k != "delta"}]
)
def test_settings_of_another_form_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match="A seed is never one of them") as refused:
        PrivacySettings.of({"privacy": value})
    assert refused.value.code == "invalid-privacy"


def test_the_policy_must_count_what_the_manifest_declares() -> None:
    check_matches_policy(read(), noise1024=6369, steps=1)
    check_matches_policy(None, noise1024=0, steps=0)
    for settings, noise1024, steps in (
        (read(), 6370, 1),
        (read(), 6369, 2),
        (read(), 0, 0),
        (None, 6369, 1),
    ):
        with pytest.raises(InputError) as refused:
            check_matches_policy(settings, noise1024=noise1024, steps=steps)
        assert refused.value.code == "wrong-privacy"
