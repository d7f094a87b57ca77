# SPDX-License-Identifier: Apache-2.0
"""Making, trying and measuring a task."""
