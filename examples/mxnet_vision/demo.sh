#!/bin/sh
# Steps 1 to 8 of README.md, in a folder and on ports of their own: `make demo`.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
mkdir "$work/model" "$work/store" "$work/temp"
export TEMP="$work/temp" TMPDIR="$work/temp" LOG_LOCATION="$work/logs" METRICS_LOCATION="$work/logs"
export MMS_CONFIG_FILE="$work/config.properties"

clean_up() {
    mxnet-model-server --stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

set -- $(python -c 'import socket
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(listener.getsockname()[1] for listener in listeners))')
inference="http://127.0.0.1:$1" management="http://127.0.0.1:$2"
printf 'inference_address=%s\nmanagement_address=%s\n' "$inference" "$management" > "$MMS_CONFIG_FILE"

# ask METHOD URL [FILE]: curl where there is one; a machine that has only Python has none.
ask() {
    if command -v curl > /dev/null; then
        curl -sS --fail-with-body -X "$1" "$2" ${3:+-T "$3"}
    else
        python -c 'import shutil, sys, urllib.request
method, url, *files = sys.argv[1:]
data = open(files[0], "rb").read() if files else None
headers = {"Content-Type": "application/octet-stream"} if data else {}
with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as answer:
    shutil.copyfileobj(answer, sys.stdout.buffer)' "$@"
    fi
}

echo "1-3. Model, signature and classes"
cp "$top/examples/mxnet_vision/signature.json" "$work/model"
python "$top/examples/mxnet_vision/get_model.py" "$work/model"
echo "4. Handler"
cp -r "$top"/model_service_template/* "$work/model"
echo "5. Archive"
model-archiver --model-name squeezenet_v1.1 --model-path "$work/model" --handler mxnet_vision_service:handle \
    --export-path "$work/store"
ls -l "$work/store/squeezenet_v1.1.mar"
echo "6. Server on $inference and $management"
mxnet-model-server --start --model-store "$work/store" --models squeezenet_v1.1.mar > "$work/server.out" 2>&1 ||
    { cat "$work/server.out"; exit 1; }
echo "7. Prediction for docs/images/kitten_small.jpg"
ask POST "$inference/predictions/squeezenet_v1.1" "$top/docs/images/kitten_small.jpg"
echo
echo "8. Clean up"
ask DELETE "$management/models/squeezenet_v1.1"
mxnet-model-server --stop
