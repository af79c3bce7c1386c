"""The limit of a model: its handler in a loop, without any server. Run as `python -m tests.benchmarks.loop`.

Arguments: folder of the model, handler, file with the body, seconds. Prints a line when the model is loaded, waits
for a line, so that several can begin together, and prints predictions a second and microseconds of CPU time for each.
"""

import sys
import time
from pathlib import Path

from mms.protocol.messages import InferenceRequest, Parameter, WorkerSpec
from mms.worker import mxnet_compat
from mms.worker.loader import load_service

WARM_UP = 5


def run(folder: Path, handler: str, body: bytes, seconds: float) -> tuple[float, float]:
    """Load a model, which is called like its folder, as a worker does, and ask it one thing over and over."""
    mxnet_compat.install()
    service = load_service(WorkerSpec(model_name=folder.name, model_dir=str(folder), handler=handler))
    request = InferenceRequest("loop", b"", [Parameter("body", "application/octet-stream", body)])
    for _ in range(WARM_UP):
        service.predict([request])
    print("ready", flush=True)
    sys.stdin.readline()
    count = 0
    begin, begin_cpu = time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - begin) < seconds:
        service.predict([request])
        count += 1
    return count / passed, (time.process_time() - begin_cpu) * 1e6 / count


if __name__ == "__main__":
    print(*run(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes(), float(sys.argv[4])))
