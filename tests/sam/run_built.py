"""Runs events through built handlers: `python -I -S run_built.py FUNCTION_FOLDER LAYER_FOLDER HANDLER < events`.

It runs in a bare interpreter of the runtime's version: all it finds is the standard library and the two folders.
"""

import importlib
import json
import sys

sys.path[:0] = [sys.argv[1], f"{sys.argv[2]}/python"]
module, _, name = sys.argv[3].rpartition(".")
handler = getattr(importlib.import_module(module), name)
outside = sorted(
    path
    for loaded in list(sys.modules.values())
    if (path := getattr(loaded, "__file__", None)) and "site-packages" in path
)
json.dump({"answers": [handler(event, None) for event in json.load(sys.stdin)], "outside": outside}, sys.stdout)
