# The gateway as a container: build with any OCI builder, run as a sidecar in the application's network namespace.
#
# Both base images are arguments, so that a bank can name its own. The runtime image needs a C library and nothing else: no
# shell, no curl, no certificates (the public roots are compiled in; a private one comes with upstream.ca_file).
ARG BUILDER_IMAGE=rust:1-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${BUILDER_IMAGE} AS builder
WORKDIR /build
# Where the crates' sources lie on the builder does not stand in the binary, and the tree is always /build, so that a build
# from the same sources with the same tools gives the same bytes (tests/supply/reproducible).
ENV RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-/root/.cargo}=/cargo" \
    CFLAGS="-ffile-prefix-map=${CARGO_HOME:-/root/.cargo}=/cargo"
# First the dependencies alone, so that a change of our own code does not build them again.
COPY Cargo.toml Cargo.lock ./
# Cargo.toml names them, so cargo wants to see them; they are not built.
COPY benches/*.rs benches/
RUN mkdir src && echo 'fn main() {}' > src/main.rs && echo > src/lib.rs \
    && cargo build --release --locked --no-default-features \
    && rm -r src
COPY src src
# Newer than what was built above, whatever the files' dates say.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked --no-default-features

FROM ${RUNTIME_IMAGE}
LABEL org.opencontainers.image.title="otk-gateway" \
      org.opencontainers.image.description="A caching, verifying reverse proxy for the UAE KYC OTK service" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /build/target/release/otk-gateway /usr/local/bin/otk-gateway
# Numeric, so that an orchestrator can see that it is not root. Nothing is written: the root file system may be read-only.
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=2s --start-period=2s CMD ["/usr/local/bin/otk-gateway", "health"]
ENTRYPOINT ["/usr/local/bin/otk-gateway"]
CMD ["serve", "--config", "/etc/otk-gateway/gateway.toml"]
