# SPDX-License-Identifier: Apache-2.0
"""The node: Flower's SuperNode and the sandbox in which its tasks train."""
