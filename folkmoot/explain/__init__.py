# SPDX-License-Identifier: Apache-2.0
"""Why an update counted as it did: reasons in words, with the numbers of the verdict, and an account's record.

Decides nothing. Everything shown follows from published verdicts.
"""
