#!/usr/bin/env bash
# Packages for a GPU machine that has PyTorch, torchvision and timm but no package index:
#   bash benchmarks/gpu_wheels.sh wheels       here, with a package index
#   pip install --no-index --no-deps --target /tmp/site wheels/*.whl && export PYTHONPATH=/tmp/site
# The second line runs there, before benchmarks/gpu.sh. All are pure Python, for any version.
set -euo pipefail
python3 -m pip download --no-deps --only-binary=:all: -d "${1:?the folder to write to}" \
	yacs ftfy wcwidth open_clip_torch
