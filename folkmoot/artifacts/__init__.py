# SPDX-License-Identifier: Apache-2.0
"""The public files of a federation: their sources, their list, and mirrors of them.

Every file is checked against its hash before it is used.
"""
