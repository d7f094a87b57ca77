# SPDX-License-Identifier: Apache-2.0
"""What training keeps from round to round."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, RecordDict

from folkmoot.errors import TaskError
from folkmoot.flower.memory import StateMemory
from folkmoot.tasks.memory import Memory, keep_optimizer, resume_optimizer


def trained(memory: Memory, optimizer_type: type[torch.optim.Optimizer] = torch.optim.AdamW) -> torch.Tensor:
    """Return a weight after two steps, with the optimiser's state in the memory before and after."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = optimizer_type([weight], lr=0.1)  # type: ignore[call-arg]
    resume_optimizer(memory, optimizer)
    for factor in (1.0, 5.0):
        optimizer.zero_grad()
        (factor * weight**2).sum().backward()
        optimizer.step()
    keep_optimizer(memory, optimizer)
    return weight.detach()


def test_a_state_holds_a_tasks_arrays_and_values() -> None:
    state = RecordDict({"own": ConfigRecord({"seen": 3})})
    memory = StateMemory(state)
    assert dict(memory) == {}
    memory["mean"] = torch.arange(3, dtype=torch.float64)
    memory["seen"], memory["name"], memory["rate"] = np.int64(7), "ada", 0.5
    again = StateMemory(state)
    assert set(again) == {"mean", "seen", "name", "rate"}
    assert len(again) == 4
    assert again["mean"].tolist() == [0.0, 1.0, 2.0]
    assert (again["seen"], again["name"], again["rate"]) == (7, "ada", 0.5)
    again["seen"] = np.zeros((2, 2), np.int8)  # a value may become an array
    del again["name"]
    assert set(memory) == {"mean", "seen", "rate"}
    assert memory["seen"].shape == (2, 2)
    assert state["own"] == ConfigRecord({"seen": 3})
    with pytest.raises(KeyError):
        memory["name"]


@pytest.mark.parametrize("value", [{"a": 1}, None, np.array([object()]), torch.ones(1, dtype=torch.bfloat16)])
def test_what_cannot_be_kept_is_refused_at_once(value: object) -> None:
    memory = StateMemory(RecordDict())
    with pytest.raises(TaskError, match="can't keep 'it'") as refused:
        memory["it"] = value
    assert refused.value.code == "wrong-memory"
    assert list(memory) == []


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("store", [dict, lambda: StateMemory(RecordDict())])
def test_an_optimiser_goes_on_where_it_was(kind: type[torch.optim.Optimizer], store: type[Memory]) -> None:
    memory = store()
    first = trained(memory, kind)
    second = trained(memory, kind)
    if kind is torch.optim.SGD:  # without momentum it has no state
        assert torch.equal(first, second)
    else:
        assert float(np.asarray(memory["optimizer/0/step"])) == 4
        assert not torch.equal(first, second), "the second round had the state of the first"
    other = torch.optim.AdamW([torch.nn.Parameter(torch.ones(4))])
    assert not resume_optimizer(memory, other), "a state of other shapes was loaded"
    assert not other.state_dict()["state"]
