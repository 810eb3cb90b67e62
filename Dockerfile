# `timbre serve` in a small image with an unprivileged user. From the root of a checkout:
#
#     docker build -t timbre .
#     docker run --rm -p 127.0.0.1:8080:8080 --read-only --cap-drop=ALL \
#         -v "$PWD/runs:/srv/timbre/runs:ro" timbre serve quickstart/latest:mel.logistic.s1 --windows --addr 0.0.0.0:8080
#
# The server listens on all addresses of the container; -p decides who can reach it. See docs/serving.md.

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
# Only the files that the build reads, so that other changes do not invalidate the layer.
COPY Cargo.toml Cargo.lock ./
COPY stand-ins stand-ins
COPY crates crates
COPY benches benches
COPY data/*.toml data/
COPY experiments experiments
COPY src src
RUN cargo build --release --locked

FROM debian:trixie-slim
COPY --from=build /src/target/release/timbre /usr/local/bin/timbre
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin timbre
USER 10001:10001
WORKDIR /srv/timbre
EXPOSE 8080
# SIGTERM lets it finish requests in progress.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["timbre"]
CMD ["serve", "quickstart/latest:mel.logistic.s1", "--windows", "--addr", "0.0.0.0:8080"]
