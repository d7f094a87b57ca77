# SPDX-License-Identifier: Apache-2.0
"""The steps that rules are composed of: each takes the votes so far and returns them changed.

Stages know no rule and no policy.
"""
