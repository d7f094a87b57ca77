# SPDX-License-Identifier: Apache-2.0
"""Who lies in a story, and what its command refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from folkmoot_lab.stories.cli import parse_attacks
from folkmoot_lab.stories.federation import Story

from folkmoot.errors import InputError


def test_attacks_name_contributors_by_number() -> None:
    assert parse_attacks(["5=sign-flip", "2=sign-flip:3"], {1: "x"}) == {5: "sign-flip", 2: "sign-flip:3"}
    assert parse_attacks(None, {1: "x"}) == {1: "x"}
    assert parse_attacks(["none"], {1: "x"}) == {}


@pytest.mark.parametrize("text", ["sign-flip", "=sign-flip", "x=sign-flip", "5="])
def test_a_malformed_attack_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="NUMBER=ATTACK"):
        parse_attacks([text], {})


def test_an_attacker_must_be_a_contributor(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Contributor 4"):
        Story(tmp_path, contributors=3, attackers={4: "sign-flip"})
    with pytest.raises(InputError, match="There is no attack 'theft'"):
        Story(tmp_path, contributors=3, attackers={1: "theft"})
