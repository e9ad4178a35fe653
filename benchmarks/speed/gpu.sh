#!/bin/sh
# All that wants a GPU: the library's traps there, maps equal to a CPU's, costs beside inference, the share of the time
# in which scoring keeps the device busy, and an epoch of the paper's recipe in mixed precision.
#
#     benchmarks/speed/gpu.sh [FOLDER]             on a GPU; results in FOLDER, runs/gpu by default
#     DEVICE=cpu benchmarks/speed/gpu.sh [FOLDER]  a dry run on a CPU, in small
set -eu
out=${1:-runs/gpu}
export DEVICE="${DEVICE:-cuda}"
if [ "$DEVICE" = cpu ]; then
    accelerator=cpu quick=--quick size=64 limit=16 arch=slim_resnet18
else
    accelerator=gpu quick='' size=600 limit=2000 arch=resnet34
fi
mkdir -p "$out"

python -m pytest -q -p no:cacheprovider tests/test_traps.py | tee "$out/traps.txt"
python -m benchmarks.speed.on_device --device "$DEVICE" --out "$out" $quick | tee "$out/on_device.txt"

# One epoch of the paper's recipe on synthetic films; the time is in steps.json.
python -m benchmarks train --preset synthetic --out "$out/run" --limit "$limit" --arch "$arch" --image-size "$size" \
    --epochs 1 --precision bf16-mixed --accelerator "$accelerator" --quiet

# Scoring, while the driver is asked once a second how busy the device is.
if [ "$DEVICE" = cuda ]; then
    nvidia-smi --query-gpu=utilization.gpu,memory.used --format=csv,noheader,nounits --loop=1 >"$out/busy.csv" &
    watch=$!
fi
python -m benchmarks score --out "$out/run" --methods fast --score-batch-size 16 --allow-weak \
    --accelerator "$accelerator" --quiet
if [ "$DEVICE" = cuda ]; then
    kill "$watch"
    awk -F, '{ busy += $1 } END { printf "device busy for %.0f %% of the time\n", busy / NR }' "$out/busy.csv"
fi
python -m benchmarks report --out "$out/run" --methods fast --quiet
cat "$out/run/steps.json"
