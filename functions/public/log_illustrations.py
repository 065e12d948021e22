"""The examples and links of the transparency log's operations: a log of three receipts."""

from coordinator.http.openapi import Illustration

_ROOT = "fd7758b7ba1fe6104fbe99eada5cb6543a633240c8e8c2f674eb5001b1c4b941"
_LEAF = "7c33f19f8180eee5303f2a5ebb01efecef028caa82e82076c2df914245102469"
_NAME = "aitbc-coordinator/receipts/6f0c1c4e-2a57-4d0b-9a49-1d3f4f8f5b7e"
_NOTE = (
    f"{_NAME}\n3\n/XdYt7of5hBPvpnq2ly2VDpjMkDI6ML2dOtQAbHEuUE=\n\n"
    f"\u2014 {_NAME} jeRd3qhHz5LJsKXkvNOhSOtLBvgBflal0hWB2eak28AxAaNuIH6+TJkL71o/nQ49QpxN84pxzAg4d9MKXkuYfn/Scgs=\n"
)

LOG_ILLUSTRATIONS = {
    "get_checkpoint": Illustration(
        answers={
            200: {
                "of three receipts": {
                    "checkpoint": _NOTE,
                    "tree_size": 3,
                    "root_hash": _ROOT,
                    "created_at": "2026-01-31T12:00:03.219844Z",
                }
            }
        },
    ),
    "get_inclusion": Illustration(
        answers={
            200: {
                "the last of three": {
                    "log_index": 2,
                    "tree_size": 3,
                    "leaf_hash": _LEAF,
                    "path": ["b137985ff484fb600db93107c77b0365c80d78f5b429ded0fd97361d077999eb"],
                    "checkpoint": _NOTE,
                }
            }
        },
    ),
    "get_consistency": Illustration(
        answers={
            200: {
                "from one receipt to three": {
                    "from": 1,
                    "to": 3,
                    "path": ["57eb35615d47f34ec714cacdf5fd74608a5e8e102724e80b24b287c0c27b6a31", _LEAF],
                }
            }
        },
    ),
}
