# SPDX-License-Identifier: Apache-2.0
"""Read Flower apps of other people, and make the genesis of a federation from them.

Only separate processes import an app's code, because it loads its own libraries and may have any side effect.
"""
