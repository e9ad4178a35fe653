#!/bin/sh
# All that wants a GPU: the library's traps there, maps equal to a CPU's, costs beside inference, an epoch of the paper's
# recipe in mixed precision, and the share of the time in which scoring keeps the device busy.
#
#     benchmarks/speed/gpu.sh [FOLDER]             on a GPU; results in FOLDER, runs/gpu by default; the documentation
#                                                  shows those in docs/results/gpu: *.json and *.txt of them
#     DEVICE=cpu benchmarks/speed/gpu.sh [FOLDER]  a dry run on a CPU, in small
set -eu
out=${1:-runs/gpu}
export DEVICE="${DEVICE:-cuda}"
if [ "$DEVICE" = cpu ]; then
    accelerator=cpu quick=--quick limit='--limit 16' recipe='--arch slim_resnet18 --image-size 64'
else
    accelerator=gpu quick='' limit='' recipe=''
fi
mkdir -p "$out"
failed=0

# All against autograd, and what sets traps; a compiler may warn of what it is made of.
tests='tests/test_extract_aggregate.py tests/test_attribution.py tests/test_traps.py'
tests="$tests tests/test_modes.py tests/test_compiled.py tests/test_precision.py"
python -m pytest -q -n auto -p no:cacheprovider -W ignore::DeprecationWarning $tests >"$out/tests.txt" 2>&1 || failed=1
tail -n 1 "$out/tests.txt" | tee "$out/passed.txt"
python -m benchmarks.speed.on_device --device "$DEVICE" --out "$out" $quick >"$out/on_device.txt" || failed=1
cat "$out/on_device.txt"

# One epoch of the paper's recipe on the synthetic films (resnet34, 600 px); the times are in steps.json.
python -m benchmarks data --preset synthetic --out "$out/films" $limit --quiet
python -m benchmarks train --preset object-cxr --data "$out/films/data" --weights none --out "$out/run" $limit $recipe \
    --epochs 1 --precision bf16-mixed --accelerator "$accelerator" --quiet

# Scoring, while the driver is asked once a second how busy the device is; what counts is the time from its first use on.
if [ "$DEVICE" = cuda ]; then
    nvidia-smi --query-gpu=utilization.gpu,memory.used --format=csv,noheader,nounits --loop=1 >"$out/busy.csv" &
    watch=$!
fi
python -m benchmarks score --out "$out/run" --methods fast --score-batch-size 16 --allow-weak \
    --accelerator "$accelerator" --quiet
if [ "$DEVICE" = cuda ]; then
    kill "$watch"
    awk -F, '$1 > 0 { begun = 1 } begun { busy += $1; n++ } END { printf "%.0f %% of %d seconds\n", busy / n, n }' \
        "$out/busy.csv" | tee "$out/busy.txt"
fi
python -m benchmarks report --out "$out/run" --methods fast --quiet
cp "$out/run/steps.json" "$out/steps.json"
cat "$out/steps.json"
exit "$failed"
