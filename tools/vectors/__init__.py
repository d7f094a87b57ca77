# SPDX-License-Identifier: Apache-2.0
"""Test vectors of docs/protocol.md: what ``tools/make_vectors.py`` writes, one module a part of the page."""
