# SPDX-License-Identifier: Apache-2.0
"""The public files of a federation: where they come from, which ones there must be, copies of all of them.

Every file is checked against its hash before it is used.
"""
