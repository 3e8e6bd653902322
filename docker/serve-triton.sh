#!/usr/bin/env bash
# Starts Triton in its container with the arguments that trident-serve gives the embedded one. Settings come from the
# environment; further arguments of tritonserver may follow.
#   TRIDENT_REPOSITORY   the model repository, a folder or an address such as s3://bucket/models
#   TRIDENT_CONFIG_NAME  serve each model that has a configs/<name>.pbtxt with it: container where it is not set, or gpu
set -euo pipefail

# Nobody is told the key, yet Triton takes it in no other way than as an argument, which /proc shows to whoever sees the
# container's processes: these APIs are closed to the network, not to them.
key=$(od --address-radix=n --format=x1 --read-bytes=16 /dev/urandom | tr --delete ' \n')
closed="shared-memory,trace,logging:trident-admin=${key}"

arguments=(
  --disable-auto-complete-config
  --model-repository="${TRIDENT_REPOSITORY:-/models}"
  --model-config-name="${TRIDENT_CONFIG_NAME:-container}"
  --model-control-mode=none
  --exit-on-error=true
  --strict-readiness=true
  --exit-timeout-secs=10
  --http-address=0.0.0.0
  --grpc-address=0.0.0.0
  --metrics-address=0.0.0.0
  --http-port=8000
  --grpc-port=8001
  --metrics-port=8002
  # A client's channel is made anew every minute or two: so it finds replicas that were added since.
  --grpc-max-connection-age=60000
  --grpc-max-connection-age-grace=60000
  --http-restricted-api="${closed}"
  --grpc-restricted-protocol="${closed}"
)
# Triton does not notice when the process of a Python model ends: it calls itself ready, and every request of the model
# fails. Such a process stays a zombie, for Triton waits for none; whoever started the container starts a new one.
(
  while sleep "${TRIDENT_WATCH_SECONDS:-2}" && grep --quiet --no-messages ") [^ZX] " "/proc/$$/stat"; do
    if grep --quiet --no-messages "(triton_python_b[^)]*) Z $$ " /proc/[0-9]*/stat; then
      echo "The process of a Python model has ended: Triton is stopped." >&2
      kill -TERM "$$"
      exit
    fi
  done
) &
# exec: signals reach Triton itself, which finishes what it has begun.
exec tritonserver "${arguments[@]}" "$@"
