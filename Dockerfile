# Two targets: `control-plane` and `agent`. Neither runs as root; neither image holds a key or a password.
FROM denoland/deno:debian-2.9.6 AS base
WORKDIR /app
# Only what runs: no tests, no repository.
COPY deno.json deno.lock ./
COPY shared/ shared/
COPY migrations/ migrations/
COPY control-plane/ control-plane/
COPY agent/ agent/
# The workspace names its member `tests`, and the lint plugin in it.
COPY tests/deno.json tests/deno.json
COPY tests/support/lint_plugin.ts tests/support/lint_plugin.ts
# First the lock file must fit the whole workspace; then the tests' own packages are left out. Versions and checksums of
# all others still come from the lock file. What is installed stays root's: the programs only read it.
RUN deno install --frozen --lockfile-only \
  && echo '{}' > tests/deno.json \
  && deno install --entrypoint control-plane/main.ts control-plane/admin_recover.ts \
  control-plane/health_check.ts control-plane/database/run_migrations.ts agent/main.ts

FROM base AS control-plane
# PostgreSQL's initdb looks its user up by name: the image's own `deno` user has one.
RUN install -d -m 0700 -o deno -g deno /data
USER deno
# Where people and agents reach it, only you know; it does not start without:
#   docker run -v rookery:/data -p 8080:8080 -e ROOKERY_PUBLIC_URL=https://rookery.example.com …
ENV ROOKERY_DATA=/data ROOKERY_LISTEN=0.0.0.0:8080
VOLUME /data
EXPOSE 8080
# It asks this very container, where no certificate is made for the name: hence the flag. Nothing secret is sent.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["deno", "run", "--cached-only", "--no-prompt", "--allow-net", "--allow-env", \
  "--unsafely-ignore-certificate-errors", "control-plane/health_check.ts"]
# deno itself is the process that gets SIGTERM, so that the drain happens.
CMD ["deno", "run", "--cached-only", "--allow-net", "--allow-env", "--allow-read", "--allow-write", \
  "--allow-run", "--allow-sys", "control-plane/main.ts"]

FROM base AS agent
RUN install -d -m 0700 -o deno -g deno /state
USER deno
VOLUME /state
# It proves that the agent is enrolled and its folder readable, no more: how it fares, the text of `status` tells, and
# whether it works, the control plane knows
# (GET /api/v1/agents). An agent that the control plane sent away ends, and its container with it.
HEALTHCHECK --interval=60s --timeout=10s \
  CMD ["deno", "run", "--cached-only", "--no-prompt", "--allow-read=/state", "--allow-write=/state", \
  "agent/main.ts", "status", "--state", "/state"]
# No env, no run, no sys, no ffi; it reads its own sources only to start session threads, which then read nothing. Enrol once with: docker run … agent enroll --url … --token … --state /state
ENTRYPOINT ["deno", "run", "--cached-only", "--no-prompt", "--allow-net", \
  "--deny-net=169.254.169.254,[fd00:ec2::254]", "--allow-read=/state,agent,shared", \
  "--allow-write=/state", "agent/main.ts"]
CMD ["run", "--state", "/state"]
