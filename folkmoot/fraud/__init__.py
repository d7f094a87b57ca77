# SPDX-License-Identifier: Apache-2.0
"""Challenges: what is wrong with an anchor, the proof of it, and the watcher that looks for it.

`examine` finds what is wrong in a round and `proof` makes the call data; both are functions of bytes. Around them
are the chain (`record`), the files (`round_files`, `mirrors`), the transaction (`challenge`) and the daemon (`watch`).
Nothing here asks the coordinator for anything but files, and any mirror has those.
"""
