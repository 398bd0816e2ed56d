#!/usr/bin/env bash
# One host with several GPUs: one process sees all of them and needs no coordinator.
#
#   bash experiments/launch/multi_gpu.sh --flagfile=experiments/presets/mnist.flags --run=runs/mnist
#
# Set up once with: make setup EXTRAS=dev,cuda. CUDA_VISIBLE_DEVICES chooses GPUs; --devices=4 the first four.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-.venv/bin/python}

# --num_processes=1 disables the detection of a cluster.
exec "$PYTHON" -m experiments.train --num_processes=1 "$@"
