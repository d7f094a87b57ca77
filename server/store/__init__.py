# SPDX-License-Identifier: Apache-2.0
"""The artifact store: files by the hash of their bytes. Knows nothing of what is in them."""

from server.store.folder import FolderStore
from server.store.opening import StoreOptions, is_bucket, open_store
from server.store.protocol import Store, Stored, Writer
from server.store.reading import IntactFile
from server.store.source import StoreSource

__all__ = [
    "FolderStore",
    "IntactFile",
    "Store",
    "StoreOptions",
    "StoreSource",
    "Stored",
    "Writer",
    "is_bucket",
    "open_store",
]
