# SPDX-License-Identifier: Apache-2.0
"""Run code that nobody here has read: what it may reach, and how the Linux kernel enforces it.

`rules` says what a process may read, write and connect to, and its limits. `kernel` puts the rules into force in the
process itself. `monitor` answers, outside of the process, what the kernel asks about it, and ends it at a limit.
`process` starts a program under rules. This package does not know what the programs do: no Flower, no protocol, no
federation, no key. It needs nothing but the kernel and Python's standard library.
"""
