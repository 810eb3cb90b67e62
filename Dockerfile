# `timbre serve` in a small image that runs as nobody in particular. From the root of a checkout:
#
#     docker build -t timbre .
#     docker run --rm -p 127.0.0.1:8080:8080 --read-only --cap-drop=ALL \
#         -v "$PWD/runs:/srv/timbre/runs:ro" timbre serve quickstart/latest:mel.logistic.s1 --windows --addr 0.0.0.0:8080
#
# Inside it listens on every address, which is the container's alone: who may reach it is said by -p. See docs/serving.md.

FROM rust:1.95-slim-trixie AS build
WORKDIR /src
# What the build reads and no more, so that nothing else makes it begin anew.
COPY Cargo.toml Cargo.lock ./
COPY stand-ins stand-ins
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
# SIGTERM lets it finish what is in hand.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["timbre"]
CMD ["serve", "quickstart/latest:mel.logistic.s1", "--windows", "--addr", "0.0.0.0:8080"]
