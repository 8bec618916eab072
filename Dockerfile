# gatepass as a sidecar. Two stages: nothing that builds is in what runs.
ARG BASE=docker.io/library/debian:trixie-slim

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY proxy ./proxy
RUN python3 -m venv /opt/gatepass && /opt/gatepass/bin/pip install --no-cache-dir '.[spiffe]'

FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 65532 --no-create-home gatepass \
    && install -d -o gatepass -g gatepass -m 0700 /var/lib/gatepass \
    && install -d -o gatepass -g gatepass -m 0755 /run/gatepass
COPY --from=build /opt/gatepass /opt/gatepass
COPY rules /etc/gatepass/rules
ENV PATH=/opt/gatepass/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GATEPASS_STATE=/var/lib/gatepass
USER 65532:65532
WORKDIR /etc/gatepass
VOLUME /var/lib/gatepass
EXPOSE 8470
# The root file system can be read-only: only the state directory is written, and /run/gatepass if a Unix
# socket or the CA is put there, for a volume that the agents' containers mount too.
ENTRYPOINT ["gatepass"]
# Reads /etc/gatepass/gatepass.yaml if one is mounted; without, the shipped rules deny everything.
CMD ["serve"]
