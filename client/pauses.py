# SPDX-License-Identifier: Apache-2.0
"""Other pauses in one module of Flower's, which can't be told otherwise.

It knows nothing of what the module waits for.
"""

from __future__ import annotations

import time
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def replace_sleep(module: ModuleType, sleep: Callable[[float], None]) -> bool:
    """Put another function in the place of a module's own `time.sleep`; other modules are not touched.

    Returns:
        Whether the module has such a clock.
    """
    if getattr(module, "time", None) is not time:
        return False
    clock = SimpleNamespace(**{name: getattr(time, name) for name in dir(time) if not name.startswith("_")})
    clock.sleep = sleep
    module.time = clock  # type: ignore[attr-defined]
    return True
