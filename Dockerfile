# Two targets: `control-plane` and `agent`. Neither runs as root; neither image holds a key or a password.
FROM denoland/deno:debian-2.9.6 AS base
WORKDIR /app
# Only what runs: no tests, no repository. The lock file makes every build the same.
COPY deno.json deno.lock ./
COPY shared/ shared/
COPY migrations/ migrations/
COPY control-plane/ control-plane/
COPY agent/ agent/
# The workspace names its member `tests`; its imports are not installed.
COPY tests/deno.json tests/deno.json
COPY tests/support/lint_plugin.ts tests/support/lint_plugin.ts
RUN deno install --frozen --entrypoint control-plane/main.ts control-plane/admin_recover.ts agent/main.ts \
  && chown -R deno:deno /app

FROM base AS control-plane
# PostgreSQL's initdb looks its user up by name: the image's own `deno` user has one.
RUN install -d -m 0700 -o deno -g deno /data
USER deno
ENV ROOKERY_DATA=/data ROOKERY_LISTEN=0.0.0.0:8080
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["deno", "eval", "Deno.exit((await fetch('http://127.0.0.1:8080/readyz')).ok ? 0 : 1)"]
# deno itself is the process that gets SIGTERM, so that the drain happens.
CMD ["deno", "run", "--cached-only", "--allow-net", "--allow-env", "--allow-read", "--allow-write", \
  "--allow-run", "--allow-sys", "control-plane/main.ts"]

FROM base AS agent
RUN install -d -m 0700 -o deno -g deno /state
USER deno
VOLUME /state
HEALTHCHECK --interval=60s --timeout=10s \
  CMD ["deno", "run", "--cached-only", "--no-prompt", "--allow-read=/state", "--allow-write=/state", \
  "agent/main.ts", "status", "--state", "/state"]
# No env, no run, no sys, no ffi. Enrol once with: docker run … agent enroll --url … --token … --state /state
ENTRYPOINT ["deno", "run", "--cached-only", "--no-prompt", "--allow-net", \
  "--deny-net=169.254.169.254,[fd00:ec2::254]", "--allow-read=/state", "--allow-write=/state", \
  "agent/main.ts"]
CMD ["run", "--state", "/state"]
