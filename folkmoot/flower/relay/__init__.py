# SPDX-License-Identifier: Apache-2.0
"""The relay's side of a round: Flower's ServerApp. The app bundle does not have it; nodes have no use for it."""
