# SPDX-License-Identifier: Apache-2.0
"""Compile the contracts and package their ABIs and bytecode under ``folkmoot/ledger/abi``.

The Python half ships these files, so that nobody needs a compiler to deploy or to read a federation. The settings are
those of ``contracts/foundry.toml``. With ``--check`` nothing is written: the files are compared with a fresh build, and
the exit status is 1, with the differences named, when they are not what the sources give.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import solcx

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "contracts" / "src"
PACKAGED = ROOT / "folkmoot" / "ledger" / "abi"
REMAPPING = "@openzeppelin/=node_modules/@openzeppelin/"

CONTRACTS = {
    "MootToken": "contracts/src/MootToken.sol",
    "StakeVault": "contracts/src/StakeVault.sol",
    "ModelRegistry": "contracts/src/ModelRegistry.sol",
    "RoundLedger": "contracts/src/RoundLedger.sol",
    "Rewards": "contracts/src/Rewards.sol",
    "Policies": "contracts/src/Policies.sol",
    "Odometer": "contracts/src/Odometer.sol",
    "Attendance": "contracts/src/Attendance.sol",
    "MemberList": "contracts/src/MemberList.sol",
    "FraudProofs": "contracts/src/FraudProofs.sol",
    "GramProofs": "contracts/src/GramProofs.sol",
    "ContributorFaults": "contracts/src/ContributorFaults.sol",
    "DataAvailability": "contracts/src/DataAvailability.sol",
    "Disputes": "contracts/src/Disputes.sol",
    "Arbiter": "contracts/src/Arbiter.sol",
    "MootGovernor": "contracts/src/governance/MootGovernor.sol",
    "MootTimelock": "contracts/src/governance/MootTimelock.sol",
}
"""The packaged contracts, each with the source unit that defines it."""

OUTPUTS = ["abi", "evm.bytecode.object", "metadata"]


def compiler_input() -> dict[str, Any]:
    """Return the standard JSON input: every source of ours, and the settings of foundry.toml."""
    sources = {
        path.relative_to(ROOT).as_posix(): {"content": path.read_text(encoding="utf-8")}
        for path in sorted(SOURCES.rglob("*.sol"))
    }
    settings = {
        "remappings": [REMAPPING],
        "evmVersion": "prague",
        "optimizer": {"enabled": True, "runs": 200},
        # Without metadata the bytecode depends on the code alone, not on paths and comments.
        "metadata": {"bytecodeHash": "none", "appendCBOR": False},
        "outputSelection": {"*": {"*": OUTPUTS}},
    }
    return {"language": "Solidity", "sources": sources, "settings": settings}


def package(unit: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what is shipped of one compiled contract.

    ``sourceHash`` is the sha256 of the canonical JSON of ``{source unit: keccak256}`` for every source unit that the
    contract is made of, OpenZeppelin's included.
    """
    metadata = json.loads(unit["metadata"])
    hashes = {source: entry["keccak256"] for source, entry in metadata["sources"].items()}
    canonical = json.dumps(hashes, sort_keys=True, separators=(",", ":"))
    return {
        "abi": unit["abi"],
        "bytecode": "0x" + unit["evm"]["bytecode"]["object"],
        "compiler": metadata["compiler"]["version"],
        "contractName": name,
        "sourceHash": "0x" + hashlib.sha256(canonical.encode()).hexdigest(),
    }


def render(artifact: dict[str, Any]) -> str:
    """Return the text of one packaged file; equal artifacts give equal bytes."""
    return json.dumps(artifact, sort_keys=True, indent=1) + "\n"


def build() -> dict[str, str]:
    """Compile everything and return the text of each packaged file by its file name."""
    result = solcx.compile_standard(
        compiler_input(),
        base_path=ROOT,
        allow_paths=[ROOT / "node_modules"],
        solc_binary=ROOT / "bin" / "solc",
    )
    files = {}
    for name, source in CONTRACTS.items():
        files[f"{name}.json"] = render(package(result["contracts"][source][name], name))
    return files


def differences(files: dict[str, str], folder: Path) -> list[str]:
    """Return one line for each packaged file that is missing, stale or not ours."""
    found = []
    for name, text in sorted(files.items()):
        path = folder / name
        if not path.exists():
            found.append(f"{path.name}: missing")
        elif path.read_text(encoding="utf-8") != text:
            found.append(f"{path.name}: differs in {', '.join(_stale_fields(path, text))}")
    extra = {path.name for path in folder.glob("*.json")} - set(files)
    return found + [f"{name}: not made by this tool" for name in sorted(extra)]


def _stale_fields(path: Path, text: str) -> list[str]:
    fresh = json.loads(text)
    try:
        packaged = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        return ["its JSON, which cannot be read"]
    fields = sorted(key for key in fresh.keys() | packaged.keys() if fresh.get(key) != packaged.get(key))
    return fields or ["formatting"]


def main(arguments: list[str] | None = None) -> int:
    """Package the contracts, or check what is packaged; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, exit 1 on a difference")
    options = parser.parse_args(arguments)
    files = build()
    if options.check:
        found = differences(files, PACKAGED)
        for line in found:
            print(line, file=sys.stderr)
        if found:
            print("Run `python tools/compile_contracts.py` and commit folkmoot/ledger/abi.", file=sys.stderr)
        return 1 if found else 0
    PACKAGED.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (PACKAGED / name).write_text(text, encoding="utf-8")
        print(f"{name}: {len(json.loads(text)['bytecode']) // 2 - 1} bytes of creation code")
    return 0


if __name__ == "__main__":
    sys.exit(main())
