# SPDX-License-Identifier: Apache-2.0
"""The aggregation rules, one a module: ``NAME``, ``PARAMETERS``, ``USES`` and ``weigh``.

`folkmoot.aggregation.registry` finds them by name. A rule is a composition of stages: a function from the
exact facts of a round to one small integer weight an update.
"""
