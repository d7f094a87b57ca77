# SPDX-License-Identifier: Apache-2.0
"""A language model as a task: encoding, texts, model and training. The task itself is `folkmoot.tasks.text.task`."""
