# SPDX-License-Identifier: Apache-2.0
"""Write the history of a federation for other tools: CSV, HTML, TensorBoard and MLflow.

Rounds are plain records, from a coordinator or from the chain and a mirror. Each format has a writer. The export does
not check the records; `folkmoot audit` checks a federation.
"""
