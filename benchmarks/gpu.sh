#!/usr/bin/env bash
# Fills every GPU row of benchmarks/README.md, in less than ten minutes on one H200:
#
#     bash benchmarks/gpu.sh            measures, one JSON a result in benchmarks/results/, and writes the tables
#     bash benchmarks/gpu.sh --list     prints the commands and runs none of them
#
# Models have random weights, which cost what trained ones do. A result that no time is left for is named and left out;
# running the script again measures what has no file yet. PYTHON names the interpreter.
set -euo pipefail

readonly RESULTS=benchmarks/results
readonly LIMIT=590 # seconds for all of it
readonly BUDGET=30 # seconds of measuring for each result of bench
readonly LOADING=18 # seconds before that: Python, random weights
readonly STEPS_BUDGET=8 # seconds of measuring for each method's training steps
readonly STEPS_LOADING=25 # seconds beside that: Python, random weights, several copies of them
readonly PYTHON=${PYTHON:-python}
readonly HEAD="method.head.width=1024 method.head.blocks=4 method.head.start_time=1.0 method.head.unit_codes=false"
readonly COMMON="device=cuda modes=eager,graph,compiled,compiled-graph batches=1,8,64 largest=true repeats=9 budget=$BUDGET"

# Name, and the words of its teacher.
readonly MODELS=(
    "var-d16 teacher=var teacher.preset=d16"
    "llamagen-b teacher=llamagen teacher.preset=c2i-B"
    "var-d20 teacher=var teacher.preset=d20"
    "llamagen-l teacher=llamagen teacher.preset=c2i-L"
)

# The same of training steps, of DD1 and of DD2 in one process.
readonly TRAINED=(var-d16 llamagen-b var-d20 llamagen-l var-d24)

commands() {
    local precision model name
    for precision in bf16 fp32; do
        for model in "${MODELS[@]}"; do
            name=${model%% *}
            echo "-m ardistill bench ${model#* } method=dd2 $HEAD $COMMON precision=$precision" \
                "out=$RESULTS/gpu-$name-$precision.json"
        done
    done
    for name in "${TRAINED[@]}"; do
        echo "benchmarks/training.py method=dd1,dd2 teacher=$name device=cuda batch=32 precision=bf16 repeats=5" \
            "budget=$STEPS_BUDGET out=$RESULTS/training/gpu-$name-bf16.json"
    done
}

if [[ ${1-} == --list ]]; then
    commands | sed "s|^|python |"
    exit
fi
if (($#)); then
    echo "gpu.sh knows --list alone, not $1" >&2
    exit 2
fi

cd "$(dirname "$0")/.."
mkdir -p "$RESULTS/training"
failed=0
while read -r -a words; do
    out=${words[-1]#out=}
    seconds=$((BUDGET + LOADING))
    [[ ${words[0]} != -m ]] && seconds=$((2 * STEPS_BUDGET + STEPS_LOADING))
    if [[ -e $out ]]; then
        echo "$out is there; delete it to measure again"
    elif ((SECONDS + seconds > LIMIT)); then
        echo "$out: no time is left; run the script again" >&2
        failed=1
    else
        echo "== $out, after $SECONDS s"
        "$PYTHON" "${words[@]}" </dev/null || failed=1
    fi
done < <(commands)
"$PYTHON" benchmarks/tables.py
echo "$SECONDS s in all"
exit "$failed"
