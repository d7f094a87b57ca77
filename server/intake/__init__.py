# SPDX-License-Identifier: Apache-2.0
"""What happens to an update that arrives: the checks, then acceptance or a refusal with its reason.

The checks of the bytes are `folkmoot.protocol.update_checks`'; here is what needs the round's state, the chain or the
clock.
"""
