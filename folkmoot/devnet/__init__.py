# SPDX-License-Identifier: Apache-2.0
"""Local programs: a chain, and processes that are started and ended together. Starts programs, imports neither half."""
