# SPDX-License-Identifier: Apache-2.0
"""A carried file in the manifests of federations in tests. It is small: a reader takes one of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from folkmoot.protocol.manifest import CarriedFile, file_chunks, file_name

VALUES = np.linspace(-1, 1, 21, dtype=np.float32).reshape(3, 7)
TABLE = CarriedFile("table", "float32", (3, 7), file_name(VALUES))
"""The array, as a manifest has it."""

DATA = b"".join(file_chunks(VALUES))
"""Its file."""


def files(entry: CarriedFile) -> NDArray[Any]:
    """Return the values of the array."""
    assert entry == TABLE
    return VALUES
