# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from client.tasks.genesis import check_memory
from folkmoot.errors import LocalError
from folkmoot.runtime import memory
from folkmoot.runtime.memory import free_memory, require_memory, shortage
from folkmoot.tasks import load_task

GIBIBYTE = 1 << 30


def machine(place: Path, free: int) -> Path:
    (place / "meminfo").write_text(
        f"MemTotal:       99999999 kB\nMemAvailable:   {free >> 10} kB\nHugepages_Total: 0\n"
    )
    return place / "meminfo"


def group(place: Path, limit: str, used: int, files: int) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "memory.max").write_text(f"{limit}\n")
    (place / "memory.current").write_text(f"{used}\n")
    (place / "memory.stat").write_text(f"anon 5\ninactive_file {files}\n")


def test_this_machine_tells_of_its_memory() -> None:
    free = free_memory()
    assert free is not None
    assert 1 << 20 < free < 1 << 50


def test_the_tightest_control_group_counts(tmp_path: Path) -> None:
    system, own, groups = machine(tmp_path, 8 * GIBIBYTE), tmp_path / "cgroup", tmp_path / "groups"
    own.write_text("1:cpu:/old\n0::/outer/inner\n")
    group(groups / "outer", "max", 5, 0)
    group(groups / "outer" / "inner", "max", 5, 0)
    assert free_memory(system, own, groups) == 8 * GIBIBYTE
    group(groups / "outer", str(3 * GIBIBYTE), 2 * GIBIBYTE, GIBIBYTE // 2)
    assert free_memory(system, own, groups) == GIBIBYTE + GIBIBYTE // 2
    group(groups / "outer" / "inner", str(GIBIBYTE), 0, 0)
    assert free_memory(system, own, groups) == GIBIBYTE
    own.unlink()
    assert free_memory(system, own, groups) == 8 * GIBIBYTE


def test_a_kernel_that_does_not_tell_refuses_nothing(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 5 kB\n")
    assert free_memory(tmp_path / "meminfo") is None
    assert free_memory(tmp_path / "missing") is None


def test_what_is_missing_is_said_with_its_size() -> None:
    free = free_memory()
    assert free is not None
    assert shortage(1 << 20, "The coordinator") == ""
    with pytest.raises(LocalError) as refused:
        require_memory(free + GIBIBYTE * 100, "The coordinator", "Use a machine with more memory.")
    assert refused.value.code == "memory-short"
    assert "The coordinator needs at least" in refused.value.message
    assert "GB are free" in refused.value.message
    assert shortage(2 * GIBIBYTE, "The training", GIBIBYTE) == (
        "The training needs at least 2.1 GB of memory with this model, and 1.1 GB are its limit."
    )


def test_a_task_that_does_not_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("digits")
    check_memory(task)
    monkeypatch.setattr(memory, "free_memory", lambda: 2410 * memory.INITIAL - 1)
    with pytest.raises(LocalError, match="The genesis of the task 'digits' needs at least") as refused:
        check_memory(task)
    assert refused.value.code == "memory-short"
    assert refused.value.details == {"needed": 2410 * memory.INITIAL}
