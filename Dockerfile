# syntax=docker/dockerfile:1
# One image for each service, all from one build: no shell, no package manager, a user without rights, nothing to write to but the data
# folder. `docker buildx bake` builds them all, see docker-bake.hcl; `docker build --target rest-api .` builds one.
#
# Pin both bases by digest for a release: --build-arg RUST_IMAGE=rust@sha256:… --build-arg BASE_IMAGE=debian@sha256:…
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim
# of the major version of the server that is backed up
ARG POSTGRES_IMAGE=pgvector/pgvector:pg17

FROM ${RUST_IMAGE} AS build
# the C parts: aws-lc wants cmake, mimalloc a compiler
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ make perl && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# SBOM scanners of BuildKit look at this stage too, where Cargo.lock is
ARG BUILDKIT_SBOM_SCAN_STAGE=true
# The same sources give the same bytes: locked versions, no path of this stage, no build id, no time but that of the commit.
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \
    CARGO_INCREMENTAL=0 \
    CARGO_TERM_COLOR=never \
    RUSTFLAGS="--remap-path-prefix=/src=embermesh --remap-path-prefix=/usr/local/cargo=cargo -C link-arg=-Wl,--build-id=none"
# By the profile that `make profile` leaves, where it was run: a fifth less CPU. The same profile gives the same bytes. It holds for the
# toolchain that made it, and for a named target.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    if [ -e profile/embermesh.profdata ]; then \
        export RUSTFLAGS="$RUSTFLAGS -Cprofile-use=/src/profile/embermesh.profdata"; \
    fi && \
    host=$(rustc -vV | sed -n 's/^host: //p') && \
    cargo build --locked --profile dist --workspace --bins --target "$host" && \
    mkdir -p /out && \
    for binary in embermesh embermesh-gateway embermesh-provider-router embermesh-cost-ledger embermesh-vector-store embermesh-admin; do \
        cp "target/$host/dist/$binary" /out/ || exit 1; \
    done

# What a binary needs around it: the C library, authorities of TLS, a user, and curl for health checks.
FROM ${BASE_IMAGE} AS root
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/*
COPY scripts/image-root.sh /usr/local/bin/
COPY --from=build /out/ /out/
RUN for binary in /out/*; do image-root.sh "/root-of/${binary##*/}" "$binary" /usr/bin/curl || exit 1; done && \
    mkdir -p /data/embermesh

# The weights of the local model, for the two images that may run it.
FROM python:3.13-slim-bookworm AS model
COPY scripts/fetch-model-weights.sh /src/scripts/
RUN /src/scripts/fetch-model-weights.sh /minilm

# What all images have in common.
FROM scratch AS service
LABEL org.opencontainers.image.title="Embermesh" \
      org.opencontainers.image.description="Embedding gateway and vector memory of an agent fleet" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/usr/bin \
    EMBERMESH__DATA_DIR=/var/lib/embermesh \
    EMBERMESH__LOGGING__FORMAT=json
STOPSIGNAL SIGTERM
COPY --from=root --chown=65532:65532 /data/ /var/lib/

FROM service AS provider-router
COPY --from=root /root-of/embermesh-provider-router /
ENV EMBERMESH__SERVER__LISTEN=0.0.0.0:8082
USER 65532:65532
VOLUME ["/var/lib/embermesh"]
EXPOSE 8082
HEALTHCHECK --interval=30s --timeout=10s --retries=3 CMD ["curl", "-fsS", "http://localhost:8082/health/live"]
ENTRYPOINT ["/usr/bin/embermesh-provider-router"]

FROM provider-router AS provider-router-minilm
COPY --from=model /minilm /opt/minilm
ENV EMBERMESH__EMBEDDING__ROUTER__LOCAL_MODEL_DIR=/opt/minilm

FROM service AS cost-ledger
COPY --from=root /root-of/embermesh-cost-ledger /
ENV EMBERMESH__SERVER__LISTEN=0.0.0.0:8083
USER 65532:65532
VOLUME ["/var/lib/embermesh"]
EXPOSE 8083
HEALTHCHECK --interval=30s --timeout=10s --retries=3 CMD ["curl", "-fsS", "http://localhost:8083/health/live"]
ENTRYPOINT ["/usr/bin/embermesh-cost-ledger"]

FROM service AS vector-store
COPY --from=root /root-of/embermesh-vector-store /
ENV EMBERMESH__SERVER__LISTEN=0.0.0.0:8084
USER 65532:65532
VOLUME ["/var/lib/embermesh"]
EXPOSE 8084
HEALTHCHECK --interval=30s --timeout=10s --retries=3 CMD ["curl", "-fsS", "http://localhost:8084/health/live"]
ENTRYPOINT ["/usr/bin/embermesh-vector-store"]

# With the command line beside the service: `embermesh env` reads the first keys where there is no shell to do it.
FROM service AS admin
COPY --from=root /root-of/embermesh /
COPY --from=root /root-of/embermesh-admin /
ENV EMBERMESH__SERVER__LISTEN=0.0.0.0:8085 \
    EMBERMESH_DATA_DIR=/var/lib/embermesh
USER 65532:65532
VOLUME ["/var/lib/embermesh"]
EXPOSE 8085
HEALTHCHECK --interval=30s --timeout=10s --retries=3 CMD ["curl", "-fsS", "http://localhost:8085/health/live"]
ENTRYPOINT ["/usr/bin/embermesh-admin"]

# The command line alone: jobs, and `embermesh up --config …` on a database of one's own.
FROM service AS embermesh
COPY --from=root /root-of/embermesh /
ENV EMBERMESH__SERVER__LISTEN=0.0.0.0:8081 \
    EMBERMESH_DATA_DIR=/var/lib/embermesh
USER 65532:65532
VOLUME ["/var/lib/embermesh"]
EXPOSE 8081
ENTRYPOINT ["/usr/bin/embermesh"]

# The command line with what backups and restore drills need: PostgreSQL's programs with pgvector, and redis-cli. The one image that is not
# from scratch.
FROM ${POSTGRES_IMAGE} AS operations
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates redis-tools && rm -rf /var/lib/apt/lists/* && \
    useradd --uid 65532 --no-create-home --home-dir /var/lib/embermesh --shell /usr/sbin/nologin embermesh && \
    install -d -o 65532 -g 65532 /var/lib/embermesh
COPY --from=build /out/embermesh /usr/bin/
ENV EMBERMESH_DATA_DIR=/var/lib/embermesh \
    EMBERMESH_POSTGRES_DIR=/usr/lib/postgresql/$PG_MAJOR \
    EMBERMESH__LOGGING__FORMAT=json
STOPSIGNAL SIGTERM
USER 65532:65532
VOLUME ["/var/lib/embermesh"]
ENTRYPOINT ["/usr/bin/embermesh"]

# The gateway, under the name that compose.yaml and k8s/ know it by. Last, so that it is what `docker build .` gives.
FROM service AS rest-api
COPY --from=root /root-of/embermesh-gateway /
ENV EMBERMESH__SERVER__LISTEN=0.0.0.0:8081
USER 65532:65532
VOLUME ["/var/lib/embermesh"]
EXPOSE 8081
HEALTHCHECK --interval=30s --timeout=10s --retries=3 CMD ["curl", "-fsS", "http://localhost:8081/health/ready"]
ENTRYPOINT ["/usr/bin/embermesh-gateway"]
