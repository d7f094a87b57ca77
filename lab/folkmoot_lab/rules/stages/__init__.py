# SPDX-License-Identifier: Apache-2.0
"""Stages of the laboratory's rules, beside those of `folkmoot.aggregation.stages`."""
