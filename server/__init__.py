# SPDX-License-Identifier: Apache-2.0
"""The coordinator: rounds, checks, anchors, and the HTTP interface. Only `flower` travels in the bundle."""
