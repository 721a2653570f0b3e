#!/usr/bin/env bash
# Everything that a GPU has to tell about this project, in at most eight minutes:
#   bash benchmarks/gpu.sh [FOLDER]          writes gpu.json and gpu.md (default: runs/gpu)
#   bash benchmarks/gpu.sh --tiny [FOLDER]   a dry run on the CPU, in a minute
# PYTHON names another interpreter. Results so far are kept when a part fails or runs out of time.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" benchmarks/gpu.py "$@"
