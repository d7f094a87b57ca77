# SPDX-License-Identifier: Apache-2.0
"""From a round's updates to one integer weight an update, and to their mean (docs/protocol.md section 8).

Every rule has the same shape: the exact facts of the round (``facts``) go in, one small integer weight an update comes
out (``rules``), and the aggregate is the weighted sum (``weighted_sum``) or that of clamped values (``clamped_sum``);
``form`` says which. So a verdict is a number that anyone can recompute, and two fraud proofs cover every rule. To add a
rule, write a module with a function of the ``Rule`` type and name it in ``registry``.
"""
