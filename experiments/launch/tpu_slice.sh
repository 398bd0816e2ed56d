#!/usr/bin/env bash
# A Cloud TPU slice of any number of hosts: the same command on every one of them.
#
#   TPU=my-slice ZONE=us-central2-b bash experiments/launch/tpu_slice.sh \
#     --flagfile=experiments/presets/mnist.flags --batch_size=8192 --run=/mnt/shared/runs/mnist
#
# --run must be a folder that all hosts share (Filestore, or a bucket mounted by Cloud Storage FUSE). The code
# lies in ~/gan_jax on each host, set up there by: make setup EXTRAS=dev,tpu. What the slice will need and
# cost is known beforehand, without one: python -m experiments.pod --topology=v5e:16x16 ...
set -euo pipefail
: "${TPU:?the name of the slice}" "${ZONE:?its zone}"
GCLOUD=${GCLOUD:-gcloud}

# No coordinator is named: JAX asks the metadata server of Cloud TPU who the others are. A pre-empted host gets
# SIGTERM, all hosts save, and the same line goes on when the slice is back.
command="cd ~/gan_jax && .venv/bin/python -m experiments.train$(printf ' %q' "$@")"
exec "$GCLOUD" compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$command"
