# SPDX-License-Identifier: Apache-2.0
"""What operators see of a coordinator: its log and its numbers.

Nothing here decides anything or writes to the database; whatever fails here costs a line or a number, never a round.
"""
