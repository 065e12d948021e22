"""The examples and links of the OpenAPI document, by operation id: one job from its submission to its receipt."""

from collections.abc import Mapping
from typing import Any

from coordinator.http.openapi import Illustration

_JOB_ID = "0199a3c4-5a1e-7c3b-8f52-3d9b7a1c2e4f"
_ADMIN_ID = "0199a3af-9c11-7b52-8d3e-6a0b4f8c2d71"
_OTHER_JOB_ID = "0199a3c4-7b3d-7e10-a2c4-1f0e9d8c7b6a"
_CLIENT_ID = "0199a3b0-0d4c-7a86-9e1b-5c2f7d3a4b10"
_MINER_ID = "0199a3b1-44f0-7d29-b6a7-8e4c1d2f3a55"
_USER_ID = "0199a3b2-71c4-7f08-9e55-6d0b3a8c4f12"
_RECEIPT_ID = "0199a3c4-6c20-7f44-9b1d-2a7c5e8f0d33"
_LEASE_TOKEN = "cK0uJ3oV5mUq8m7u3cWmPw"  # noqa: S105  (made for this page)
_SUBMITTED, _STARTED, _COMPLETED, _EXPIRES = (
    f"2026-01-31T{time}Z" for time in ("12:00:00.000000", "12:00:00.412503", "12:00:02.087114", "13:00:00.000000")
)

_PARAMETERS = {"prompt": "The capital of France is", "max_tokens": 16}
_RESULT = {"text": "Paris."}
_PROGRESS = {"percent": 40, "message": "token 6 of 16"}
_CANCELLED = {"code": "CANCELLED", "message": "The client cancelled the job."}
_CANCELLED_BY_OPERATOR = {"code": "CANCELLED", "message": "An operator cancelled the job."}

_PENDING_JOB: dict[str, Any] = {
    "id": _JOB_ID,
    "client_id": _CLIENT_ID,
    "job_type": "llm_inference",
    "parameters": _PARAMETERS,
    "constraints": {},
    "priority": 5,
    "status": "pending",
    "progress": {"percent": 0, "message": None},
    "attempts": 0,
    "max_attempts": 3,
    "miner_id": None,
    "error": None,
    "max_price": None,
    "price": None,
    "ttl_seconds": 3600,
    "timeout_seconds": 600,
    "created_at": _SUBMITTED,
    "updated_at": _SUBMITTED,
    "started_at": None,
    "completed_at": None,
    "expires_at": _EXPIRES,
}
_RUNNING_JOB = _PENDING_JOB | {
    "status": "running",
    "progress": _PROGRESS,
    "attempts": 1,
    "miner_id": _MINER_ID,
    "updated_at": _STARTED,
    "started_at": _STARTED,
}
_CANCELLED_JOB = _PENDING_JOB | {
    "status": "failed",
    "error": _CANCELLED,
    "updated_at": _COMPLETED,
    "completed_at": _COMPLETED,
}
_RECEIPT = {
    "id": _RECEIPT_ID,
    "job_id": _JOB_ID,
    "miner_id": _MINER_ID,
    "client_id": _CLIENT_ID,
    "result": _RESULT,
    "result_sha256": "78d266d4efb36ec21fb5353b2eb5a6e9801b0febe8b13ace049f374d93ec82b4",
    "parameters_sha256": "5dbb0b2bc90cf53a9e2f7a4b01d093bfcbbe804fce8acc1e05ad9df0609ecdce",
    "units": 3,
    "unit_type": "tokens",
    "price": "0",
    "started_at": _STARTED,
    "completed_at": _COMPLETED,
    # Shorter than a real one, which carries all that is listed above.
    "proof": "eyJhbGciOiJFZDI1NTE5IiwidHlwIjoiSldTIn0.eyJpc3MiOiJhaXRiYy1jb29yZGluYXRvciIsInZlcnNpb24iOjF9."
    "2vI8m3o0yqkYb0w3TqfZJ1s4b6yHn9oQk5r7XcPLd0eUuGmA1iWxVtS_hRzNfKpBjD-CqEaFgHlMwOyTsXvZAQ",
    "created_at": _COMPLETED,
}
_MINER = {
    "id": _MINER_ID,
    "address": "ait1f39fd6e51aad88f6f4ce6ab8827279cfffb92266",
    "endpoint": None,
    "capabilities": ["text_embedding", {"job_type": "llm_inference", "models": ["llama3.2"]}],
    "hardware": {"gpus": [{"name": "NVIDIA GeForce RTX 4090", "memory_mb": 24564}], "cuda": "12.4"},
    "region": "eu",
    "price": "0",
    "concurrency": 2,
    "name": "rack 7",
    "status": "active",
    "last_heartbeat": _SUBMITTED,
    "created_at": _SUBMITTED,
    "heartbeat_interval_seconds": 30,
    "heartbeat_timeout_seconds": 90,
    "lease_seconds": 60,
}
_WATCHED_MINER = _MINER | {
    "owner_id": "0199a3b0-5f6a-7e08-a3c9-2b7d1e4f8a96",
    "disabled": False,
    "report": {"status": "busy", "metrics": {"gpu_load": 0.97}},
}
_WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
_NONCE = "4f1c0b6e9d2a47538c7e1f0a6b3d9c25"
_CHALLENGE = {
    "wallet_address": _WALLET,
    "message": "api.example.org wants you to sign in with your Ethereum account:\n"
    f"{_WALLET}\n\n"
    "Log in to the AITBC coordinator. This costs nothing and moves no coins.\n\n"
    "URI: https://api.example.org\nVersion: 1\nChain ID: 1\n"
    f"Nonce: {_NONCE}\nIssued At: {_SUBMITTED}\nExpiration Time: 2026-01-31T12:05:00.000000Z",
    "nonce": _NONCE,
    "expires_at": "2026-01-31T12:05:00.000000Z",
}
_USER = {
    "id": _CLIENT_ID,
    "wallet_address": _WALLET.lower(),
    "created_at": _SUBMITTED,
    "last_login_at": _SUBMITTED,
}
_API_KEY = {
    "id": "0199a3c7-2b18-7f63-9a4d-5e8c1b7f3d20",
    "role": "client",
    "name": "notebook",
    "created_at": _SUBMITTED,
    "last_used_at": None,
}
_BITCOIN_WALLET = "tb1q0xcqpzrky6eff2g52qdye53xkk9jxkvraulyla"
# Of another message, so that it logs nobody in.
_SIGNATURES = {
    _WALLET: "0x2fb7c5d5f1e0b9a8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4"
    "1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b1c2d1b",
    _BITCOIN_WALLET: "AkcwRAIgZRfIY3p7/DoVTty6YZbWS71bc5Vct9p9Fia83eRmw2QCICK/ENGfwLtptFluMGs2KsqoNSk89pO7F29zJLUx9a/s"
    "ASECx/EgAxlkQpQ9hYjgGu6EBCPMVPwVIVJqO4XCsMvViHI=",
}
_BALANCE = {"currency": "AITBC", "available": "8.5", "held": "2", "total": "10.5"}
_USER_WITH_BALANCE = {
    "id": _USER_ID,
    "wallet_address": "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
    "created_at": _SUBMITTED,
    "last_login_at": _SUBMITTED,
    **_BALANCE,
}
_TRANSACTION = {
    "id": "0199a3c4-6c21-7a10-8f3d-5b9e2d7c1a46",
    "kind": "settlement",
    "amount": "-0.5",
    "job_id": _JOB_ID,
    "payment_id": None,
    "created_at": _COMPLETED,
}
_INACTIVE = {"status": "inactive"}
_DISABLED = _INACTIVE | {"disabled": True}
_ENTRIES = {
    "miner.enable": (_MINER_ID, "0199a3c6-1d42-7c90-b8e5-7f3a2c6d9e04", {}, "12:02:03.118420"),
    "miner.disable": (_MINER_ID, "0199a3c5-9b07-7a3f-8c61-4e2d5b8f1a73", {"was": "active"}, "12:01:29.991312"),
    "user.adjust": (
        _USER_ID,
        "0199a3c4-9b31-7e26-8d4a-1c7f3e5b9a08",
        {"amount": "10", "reason": "welcome"},
        "12:00:44.512207",
    ),
    "job.cancel": (_JOB_ID, "0199a3c4-6227-7d15-9a0c-3c8e6f2b7d48", {"was": "pending"}, "12:00:02.087114"),
}
_REGISTERED = ("address", "capabilities", "hardware", "region", "price", "concurrency", "name")
_POLL = {
    "a job": {
        "items": [
            {
                "id": _JOB_ID,
                "job_type": "llm_inference",
                "parameters": _PARAMETERS,
                "constraints": {},
                "attempt": 1,
                "lease_token": _LEASE_TOKEN,
                "lease_expires_in_seconds": 60,
                "timeout_seconds": 600,
                "price": "0",
                "redelivered": False,
            }
        ],
        "poll_after_seconds": 0.1,
    },
    "nothing to do": {"items": [], "poll_after_seconds": 4.2},
}
_ANSWERED = {"job_id": _JOB_ID, "status": "completed", "receipt": _RECEIPT}

# From an answer with a job to the calls about this job, and so on.
_OF_JOB: Mapping[str, Any] = {"parameters": {"job_id": "$response.body#/id"}}
_JOB_LINKS = dict.fromkeys(("get_job", "get_job_status", "get_job_result", "list_job_receipts", "cancel_job"), _OF_JOB)
_OF_MINER: Mapping[str, Any] = {"parameters": {"X-Miner-Id": "$response.body#/id"}}
_OF_WATCHED_MINER: Mapping[str, Any] = {"parameters": {"miner_id": "$response.body#/id"}}
_OF_USER: Mapping[str, Any] = {"parameters": {"user_id": "$response.body#/id"}}
_LEASED = {"lease_token": "$response.body#/items/0/lease_token"}
_LEASE_LINKS: Mapping[str, Mapping[str, Any]] = {
    "report_progress": {
        "parameters": {"job_id": "$response.body#/items/0/id"},
        "requestBody": {**_LEASED, "percent": 50},
    },
    "post_result": {"requestBody": {**_LEASED, "job_id": "$response.body#/items/0/id", "result": _RESULT}},
}


def _listing(operation_id: str, item: Mapping[str, Any]) -> Illustration:
    return Illustration(
        answers={
            200: {
                "the first of several pages": {"items": [item], "next_cursor": item["id"]},
                "none": {"items": [], "next_cursor": None},
            }
        },
        links={operation_id: {"parameters": {"cursor": "$response.body#/next_cursor"}}},
    )


ILLUSTRATIONS = {
    "submit_job": Illustration(
        bodies={
            "a prompt": {"job_type": "llm_inference", "parameters": _PARAMETERS},
            "with constraints": {
                "job_type": "llm_inference",
                "parameters": {"prompt": "Hello", "model": "llama3.2"},
                "constraints": {"models": ["llama3.2"], "gpu": "RTX 4090", "min_vram_gb": 24, "cuda": "12"},
                "priority": 9,
                "ttl_seconds": 60,
            },
            "for no more than half an AITBC": {
                "job_type": "llm_inference",
                "parameters": _PARAMETERS,
                "max_price": "0.5",
            },
        },
        answers={201: {"pending": _PENDING_JOB}},
        links=_JOB_LINKS,
    ),
    "list_jobs": _listing("list_jobs", _RUNNING_JOB),
    "get_job": Illustration(answers={200: {"running": _RUNNING_JOB, "cancelled": _CANCELLED_JOB}}),
    "get_job_status": Illustration(
        answers={
            200: {
                "running": {
                    "id": _JOB_ID,
                    "status": "running",
                    "progress": _PROGRESS,
                    "attempts": 1,
                    "eligible_miners": 4,
                    "error": None,
                    "updated_at": _STARTED,
                }
            }
        },
    ),
    "get_job_result": Illustration(
        answers={
            200: {
                "completed": {
                    "job_id": _JOB_ID,
                    "status": "completed",
                    "result": _RESULT,
                    "receipt": _RECEIPT,
                    "error": None,
                },
                "failed": {
                    "job_id": _JOB_ID,
                    "status": "failed",
                    "result": None,
                    "receipt": None,
                    "error": _CANCELLED,
                },
            }
        },
    ),
    "list_job_receipts": Illustration(
        answers={
            200: {
                "completed": {"items": [_RECEIPT], "next_cursor": None},
                "not completed": {"items": [], "next_cursor": None},
            }
        },
    ),
    "cancel_job": Illustration(answers={200: {"cancelled": _CANCELLED_JOB}}, links=_JOB_LINKS),
    "register": Illustration(
        bodies={
            "a job type": {"address": _MINER["address"], "capabilities": ["llm_inference"]},
            "with hardware": {name: _MINER[name] for name in _REGISTERED},
        },
        answers={200: {"known": _MINER}, 201: {"new": _MINER}},
        links=dict.fromkeys(("heartbeat", "poll_jobs", "get_miner", "get_earnings", "deregister"), _OF_MINER),
    ),
    "heartbeat": Illustration(
        bodies={"of all leases": {}, "of some leases": {"inflight": [_JOB_ID], "metrics": {"gpu_load": 0.97}}},
        answers={
            200: {
                "one lease": {
                    "status": "active",
                    "server_time": _STARTED,
                    "heartbeat_interval_seconds": 30,
                    "leases": [{"job_id": _JOB_ID, "lease_token": _LEASE_TOKEN, "expires_in_seconds": 60}],
                    "cancelled_jobs": [_OTHER_JOB_ID],
                }
            }
        },
    ),
    "poll_jobs": Illustration(answers={200: _POLL}, links=_LEASE_LINKS),
    "poll_jobs_by_post": Illustration(answers={200: _POLL}, links=_LEASE_LINKS),
    "report_progress": Illustration(
        bodies={"40 percent": {"lease_token": _LEASE_TOKEN, **_PROGRESS}},
        answers={
            200: {
                "go on": {"lease_expires_in_seconds": 60, "cancelled": False},
                "stop": {"lease_expires_in_seconds": 0, "cancelled": True},
            }
        },
    ),
    "post_result": Illustration(
        bodies={
            "completed": {
                "job_id": _JOB_ID,
                "lease_token": _LEASE_TOKEN,
                "result": _RESULT,
                "metrics": {"units": 3, "unit_type": "tokens"},
            },
            "failed": {
                "job_id": _JOB_ID,
                "lease_token": _LEASE_TOKEN,
                "status": "failed",
                "error": {"code": "BACKEND_UNAVAILABLE", "message": "Out of memory.", "retryable": True},
            },
        },
        answers={
            200: {"again": _ANSWERED},
            201: {
                "completed": _ANSWERED,
                "back in the queue": {"job_id": _JOB_ID, "status": "pending", "receipt": None},
            },
        },
        links={"get_inclusion": {"parameters": {"receipt_id": "$response.body#/receipt/id"}}},
    ),
    "deregister": Illustration(answers={200: {"inactive": _MINER | _INACTIVE}}),
    "get_miner": Illustration(answers={200: {"active": _MINER}}),
    "get_earnings": Illustration(
        answers={
            200: {
                "the first of several pages": {
                    "total": "1",
                    "settled_jobs": 2,
                    "items": [
                        {"job_id": _JOB_ID, "receipt_id": _RECEIPT_ID, "amount": "0.5", "completed_at": _COMPLETED}
                    ],
                    "next_cursor": _RECEIPT_ID,
                }
            }
        },
        links={"get_earnings": {"parameters": {"cursor": "$response.body#/next_cursor"}}},
    ),
    "create_challenge": Illustration(
        bodies={
            "Ethereum": {"wallet_address": _WALLET},
            "AITBC": {"wallet_address": "ait1f39fd6e51aad88f6f4ce6ab8827279cfffb92266"},
            "Bitcoin": {"wallet_address": _BITCOIN_WALLET},
        },
        answers={201: {"Ethereum": _CHALLENGE}},
        links={
            "login": {
                "requestBody": {
                    "wallet_address": "$response.body#/wallet_address",
                    "nonce": "$response.body#/nonce",
                }
            }
        },
    ),
    "login": Illustration(
        bodies={
            name: {"wallet_address": wallet, "nonce": _NONCE, "signature": _SIGNATURES[wallet]}
            for name, wallet in (("Ethereum", _WALLET), ("Bitcoin", _BITCOIN_WALLET))
        },
        answers={
            200: {
                "a new user": {
                    "session_token": "rV3u0pQx7mJ8cWkZ2nYbT5aLd9sGfHe1oXiRqUwE4tM",
                    "expires_at": "2026-02-01T12:00:00.000000Z",
                    "created": True,
                    "user": _USER,
                }
            }
        },
    ),
    "logout": Illustration(answers={}),
    "get_user": Illustration(answers={200: {"logged in": _USER}}),
    "create_api_key": Illustration(
        bodies={
            "for jobs": {"role": "client", "name": "notebook"},
            "for miners": {"role": "miner", "name": "rack 7"},
        },
        answers={201: {"shown once": _API_KEY | {"api_key": "aitbc_tY7mVb2Qx0pLr9sKd4wZc8nHf1jGu5eAo3iRqXvB6kE"}}},
        links={"revoke_api_key": {"parameters": {"key_id": "$response.body#/id"}}},
    ),
    "list_api_keys": _listing("list_api_keys", _API_KEY),
    "revoke_api_key": Illustration(answers={}),
    "get_stats": Illustration(
        answers={
            200: {
                "some work": {
                    "jobs": {"pending": 3, "running": 2, "completed": 1840, "failed": 12},
                    "miners": {"active": 4, "inactive": 1},
                    "users": 7,
                    "payments": 5,
                    "oldest_pending_seconds": 2.318,
                    "average_job_seconds": 1.675,
                },
                "nothing yet": {
                    "jobs": {"pending": 0, "running": 0, "completed": 0, "failed": 0},
                    "miners": {"active": 0, "inactive": 0},
                    "users": 0,
                    "payments": 0,
                    "oldest_pending_seconds": None,
                    "average_job_seconds": None,
                },
            }
        },
    ),
    "list_all_jobs": _listing("list_all_jobs", _RUNNING_JOB),
    "cancel_any_job": Illustration(
        answers={200: {"cancelled": _CANCELLED_JOB | {"error": _CANCELLED_BY_OPERATOR}}},
        links={"requeue_job": _OF_JOB},
    ),
    "requeue_job": Illustration(
        answers={200: {"pending again": _PENDING_JOB | {"attempts": 1, "updated_at": _COMPLETED}}},
        links={"cancel_any_job": _OF_JOB},
    ),
    "list_miners": _listing("list_miners", _WATCHED_MINER),
    "disable_miner": Illustration(
        answers={200: {"disabled": _WATCHED_MINER | _DISABLED}},
        links={"enable_miner": _OF_WATCHED_MINER},
    ),
    "enable_miner": Illustration(
        answers={200: {"not heard yet": _WATCHED_MINER | _INACTIVE}},
        links={"disable_miner": _OF_WATCHED_MINER},
    ),
    "list_users": _listing("list_users", _USER_WITH_BALANCE),
    "adjust_user": Illustration(
        bodies={
            "give": {"amount": "10", "reason": "welcome"},
            "take": {"amount": "-2.5", "reason": "given twice by mistake"},
        },
        answers={201: {"adjusted": _USER_WITH_BALANCE}},
        links=dict.fromkeys(("get_balance", "list_transactions"), _OF_USER),
    ),
    "get_balance": Illustration(answers={200: {"some held for a job": {"user_id": _USER_ID, **_BALANCE}}}),
    "list_transactions": _listing("list_transactions", _TRANSACTION),
    "list_receipts": _listing("list_receipts", _RECEIPT),
    "verify_receipt": Illustration(
        bodies={
            "with all that it is about": {"proof": _RECEIPT["proof"], "result": _RESULT, "parameters": _PARAMETERS},
            "alone": {"proof": _RECEIPT["proof"]},
        },
        answers={
            200: {
                "valid": {
                    "valid": True,
                    "checks": {"signature": True, "known": True, "result": True, "parameters": True, "inclusion": True},
                    "receipt_id": _RECEIPT_ID,
                    "reason": None,
                },
                "no receipt": {
                    "valid": False,
                    "checks": {
                        "signature": False,
                        "known": False,
                        "result": None,
                        "parameters": None,
                        "inclusion": None,
                    },
                    "receipt_id": None,
                    "reason": "signature: the signature is not this key's",
                },
            }
        },
    ),
    "list_audit": Illustration(
        answers={
            200: {
                "some changes": {
                    "items": [
                        {
                            "id": entry_id,
                            "admin": _ADMIN_ID,
                            "action": action,
                            "subject": subject,
                            "details": details,
                            "created_at": f"2026-01-31T{time}Z",
                        }
                        for action, (subject, entry_id, details, time) in _ENTRIES.items()
                    ],
                    "next_cursor": None,
                }
            }
        },
    ),
    "get_health": Illustration(answers={200: {"it runs": {"status": "ok"}}}),
    "get_readiness": Illustration(answers={200: {"it can serve": {"status": "ready"}}}),
    "get_metrics": Illustration(
        answers={
            200: {
                "some of it": "# HELP active_jobs Jobs that are pending or running.\n"
                "# TYPE active_jobs gauge\n"
                "active_jobs 5\n"
            }
        }
    ),
    "get_receipt_keys": Illustration(
        answers={
            200: {
                "one key": {
                    "keys": [
                        {
                            "kty": "OKP",
                            "crv": "Ed25519",
                            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
                            "alg": "Ed25519",
                            "use": "sig",
                        }
                    ]
                }
            }
        },
    ),
}
