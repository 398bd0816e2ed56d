#!/usr/bin/env bash
# A Cloud TPU slice of any number of hosts: runs the same command on every host.
#
#   TPU=my-slice ZONE=us-central2-b bash experiments/launch/tpu_slice.sh \
#     --flagfile=experiments/presets/mnist.flags --batch_size=8192 --run=/mnt/shared/runs/mnist
#
# --run must be a folder that all hosts share (Filestore, or a bucket mounted by Cloud Storage FUSE). Each host
# needs the code in ~/gan_jax, set up by: make setup EXTRAS=dev,tpu. To predict memory and time without a TPU:
# python -m experiments.pod --topology=v5e:16x16 ...
set -euo pipefail
: "${TPU:?the name of the slice}" "${ZONE:?its zone}"
GCLOUD=${GCLOUD:-gcloud}

# JAX gets the coordinator from the metadata server of Cloud TPU. A pre-empted host gets SIGTERM, all hosts save
# a checkpoint, and the same command resumes when the slice is back.
command="cd ~/gan_jax && .venv/bin/python -m experiments.train$(printf ' %q' "$@")"
exec "$GCLOUD" compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$command"
