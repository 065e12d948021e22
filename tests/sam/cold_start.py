"""Starts a built function as Lambda does: `python -I -S -B cold_start.py FUNCTION_FOLDER LAYER_FOLDER WHAT < EVENT`.

It runs in a bare interpreter of the runtime's version: all it finds is the standard library and the two folders, named
in full. WHAT is a handler, such as client.app.handler, which is then called with the event unless that is null; or
modules, separated by commas. Its last line of output is JSON: milliseconds, how often the garbage collector ran until
then and whether it runs from then on, and what was imported from the two folders.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

folders = (sys.argv[1], f"{sys.argv[2]}/python")
event = json.load(sys.stdin)


def measured(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    began, began_cpu = time.perf_counter(), time.process_time()
    done = work()
    return done, {"ms": (time.perf_counter() - began) * 1000, "cpu_ms": (time.process_time() - began_cpu) * 1000}


def load() -> Any:
    module, _, attribute = sys.argv[3].rpartition(".")
    if attribute == "handler":
        return getattr(import_module(module), attribute)
    return [import_module(name) for name in sys.argv[3].split(",")]


def collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


sys.path[:0] = folders
collected = collections()
handler, init = measured(load)
collected = collections() - collected
collecting = gc.isenabled()
modules = sorted(
    name
    for name, module in list(sys.modules.items())
    if str(getattr(module, "__file__", None) or "").startswith(folders)
)
answer, first = measured(lambda: handler(event, None)) if event is not None else (None, None)
told = {"init": init, "collected": collected, "collecting": collecting, "modules": modules, "first": first}
print("\n" + json.dumps({**told, "answer": answer}), flush=True)
# As Lambda freezes it: what writes the counters must not say on its way out that it could not.
os._exit(0)
