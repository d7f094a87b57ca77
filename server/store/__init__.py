# SPDX-License-Identifier: Apache-2.0
"""The artifact store: files by the hash of their bytes. Knows nothing of what is in them."""

from server.store.folder import FolderStore
from server.store.protocol import Store, Stored, Writer

__all__ = ["FolderStore", "Store", "Stored", "Writer"]
