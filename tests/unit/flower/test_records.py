# SPDX-License-Identifier: Apache-2.0
"""What a Flower message says of its arrays is compared with the bytes that are there, and never believed."""

from __future__ import annotations

from typing import Any

import pytest
from flwr.app import Array, ArrayRecord

from folkmoot.errors import InputError, ManifestError
from folkmoot.flower import records
from folkmoot.protocol.manifest import MAX_DIMENSIONS, Manifest, Tensor

UPDATE = bytes(range(256))
HONEST = records.update_record(UPDATE)["update"]


def test_an_honest_update_is_read_back() -> None:
    assert records.update_of(records.update_record(UPDATE)) == UPDATE


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (10**12,)},
        {"shape": (256, 1)},
        {"shape": (-1,)},
        {"dtype": "int64"},
        {"dtype": "object"},
        {"stype": "torch.Tensor"},
        {"data": b""},
        {"data": HONEST.data[:-1]},
        {"data": HONEST.data.replace(b"|u1", b"|O8")},
        {"data": HONEST.data.replace(b"\x93NUMPY\x01", b"\x93NUMPY\x02")},
        {"data": b"PK\x03\x04" + bytes(200)},
    ],
    ids=str,
)
def test_an_update_that_lies_about_itself_is_refused(change: dict[str, Any]) -> None:
    one = HONEST
    fields = {"dtype": one.dtype, "shape": tuple(one.shape), "stype": one.stype, "data": one.data} | change
    with pytest.raises(InputError):
        records.update_of(ArrayRecord({"update": Array(**fields)}))


def test_a_shape_that_no_model_has_is_refused_before_it_is_multiplied() -> None:
    for shape in ((2**62,) * (MAX_DIMENSIONS + 1), (1,) * (MAX_DIMENSIONS + 1), (10**4000,)):
        with pytest.raises(ManifestError):
            Manifest("task", (Tensor("w", shape),))
