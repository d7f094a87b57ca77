# SPDX-License-Identifier: Apache-2.0
"""The packaged ABIs and bytecode are what the sources in contracts/src give."""

import json
from pathlib import Path

import pytest

from tools import check_coverage, check_storage, compile_contracts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def packaged(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """A small package of one contract, and the folder that holds it."""
    files = {"Vault.json": compile_contracts.render({"abi": [], "bytecode": "0x00", "sourceHash": "0x01"})}
    (tmp_path / "Vault.json").write_text(files["Vault.json"])
    return files, tmp_path


@pytest.mark.long
def test_packaged_contracts_are_a_fresh_build_of_the_sources() -> None:
    assert compile_contracts.differences(compile_contracts.build(), compile_contracts.PACKAGED) == []


def test_every_contract_is_packaged_with_all_that_a_deployment_needs() -> None:
    for name in compile_contracts.CONTRACTS:
        artifact = json.loads((compile_contracts.PACKAGED / f"{name}.json").read_text())
        assert artifact["contractName"] == name
        assert artifact["compiler"].startswith("0.8.37")
        assert len(artifact["sourceHash"]) == 66
        # No placeholder of an unlinked library, which would not be hexadecimal.
        assert len(bytes.fromhex(artifact["bytecode"][2:])) > 1000
        assert [item for item in artifact["abi"] if item["type"] == "constructor"]


def test_differences_is_empty_for_an_equal_package(packaged: tuple[dict[str, str], Path]) -> None:
    files, folder = packaged
    assert compile_contracts.differences(files, folder) == []


def test_differences_names_the_field_that_is_stale(packaged: tuple[dict[str, str], Path]) -> None:
    files, folder = packaged
    stale = {**json.loads(files["Vault.json"]), "bytecode": "0xff"}
    (folder / "Vault.json").write_text(compile_contracts.render(stale))
    assert compile_contracts.differences(files, folder) == ["Vault.json: differs in bytecode"]


def test_differences_names_bad_formatting(packaged: tuple[dict[str, str], Path]) -> None:
    files, folder = packaged
    (folder / "Vault.json").write_text(json.dumps(json.loads(files["Vault.json"])))
    assert compile_contracts.differences(files, folder) == ["Vault.json: differs in formatting"]


def test_differences_names_a_broken_file(packaged: tuple[dict[str, str], Path]) -> None:
    files, folder = packaged
    (folder / "Vault.json").write_text("{")
    assert compile_contracts.differences(files, folder) == [
        "Vault.json: differs in its JSON, which cannot be read"
    ]


def test_differences_names_missing_and_foreign_files(packaged: tuple[dict[str, str], Path]) -> None:
    files, folder = packaged
    (folder / "Vault.json").rename(folder / "Other.json")
    assert compile_contracts.differences(files, folder) == [
        "Vault.json: missing",
        "Other.json: not made by this tool",
    ]


LCOV = """\
TN:
SF:src/Vault.sol
DA:3,2
DA:4,0
BRDA:3,0,0,2
BRDA:3,0,1,-
end_of_record
SF:test/Vault.t.sol
DA:9,0
end_of_record
"""


def test_coverage_names_each_line_and_branch_that_no_test_reached() -> None:
    files = check_coverage.parse(LCOV)
    assert list(files) == ["src/Vault.sol"]
    assert files["src/Vault.sol"].missed() == ["line 4", "branch at line 3"]


@pytest.mark.parametrize(
    ("report", "status"),
    [(LCOV, 1), (LCOV.replace("DA:4,0", "DA:4,1").replace(",-", ",1"), 0), ("", 1)],
    ids=["incomplete", "complete", "empty"],
)
def test_coverage_fails_under_a_hundred_percent(report: str, status: int, tmp_path: Path) -> None:
    path = tmp_path / "lcov.info"
    path.write_text(report)
    assert check_coverage.main([str(path)]) == status


def test_a_storage_snapshot_does_not_depend_on_the_compilation() -> None:
    def layout(node: int) -> dict[str, object]:
        key = f"t_struct(Member){node}_storage"
        stake = {"label": "stake", "slot": "0", "offset": 16, "type": "t_uint128"}
        return {
            "storage": [{"label": "_member", "slot": "3", "offset": 0, "type": key}],
            "types": {
                key: {"label": "struct Vault.Member", "numberOfBytes": "32", "members": [stake]},
                "t_uint128": {"label": "uint128", "numberOfBytes": "16"},
            },
        }

    text = check_storage.render(layout(17))
    assert text == check_storage.render(layout(4711))
    assert text.splitlines() == [
        "slot 3, byte 0: struct Vault.Member _member",
        "t_struct(Member)_storage, 32 bytes",
        "  slot 0, byte 16: uint128 stake",
    ]
