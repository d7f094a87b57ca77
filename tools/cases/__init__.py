# SPDX-License-Identifier: Apache-2.0
"""Valid and invalid cases of docs/protocol.md: what ``tools/make_cases.py`` writes, one module a part of the page."""
