# SPDX-License-Identifier: Apache-2.0
"""A federation on one machine: a local chain, and processes that start and end together."""
