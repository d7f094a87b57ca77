# SPDX-License-Identifier: Apache-2.0
"""The coordinator: rounds, checks, anchors, and the HTTP interface. Nothing of it travels in the bundle."""
