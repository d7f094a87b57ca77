# SPDX-License-Identifier: Apache-2.0
"""The stages that rules are composed of: each maps a `WeightingState` to a new one.

Stages know no rule and no policy.
"""
