"""The examples and links of the exchange's operations: one payment from its address to its credit."""

from typing import Any

from coordinator.http.openapi import Illustration

_PAYMENT_ID = "0199a3c2-1d08-7e6a-93b4-7f5c1e2d8a60"
_ADDRESS = "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"

_ASKED: dict[str, Any] = {
    "payment_id": _PAYMENT_ID,
    "user_id": "0199a3b2-71c4-7f08-9e55-6d0b3a8c4f12",
    "aitbc_amount": "12.5",
    "btc_amount": "0.000125",
    "amount_sat": 12500,
    "address": _ADDRESS,
    "uri": f"bitcoin:{_ADDRESS}?amount=0.000125",
    "status": "pending",
    "flags": [],
    "confirmations": 0,
    "confirmations_required": 2,
    "received_sat": 0,
    "transactions": [],
    "credited_aitbc": "0",
    "created_at": "2026-01-31T11:20:00.000000Z",
    "expires_at": "2026-01-31T12:20:00.000000Z",
    "confirmed_at": None,
}
_OUTPUT = {
    "txid": "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
    "vout": 1,
    "amount_sat": 12500,
    "block_height": 934102,
}
_SEEN = _ASKED | {"status": "processing", "received_sat": 12500, "transactions": [_OUTPUT | {"block_height": None}]}
_CREDITED = _SEEN | {
    "status": "confirmed",
    "confirmations": 2,
    "transactions": [_OUTPUT],
    "credited_aitbc": "12.5",
    "confirmed_at": "2026-01-31T11:47:12.530118Z",
}
_TAKEN_BACK = _ASKED | {"status": "expired", "flags": ["reversed"]}
_OF_PAYMENT = {"parameters": {"payment_id": "$response.body#/payment_id"}}


def _listing(operation_id: str) -> Illustration:
    return Illustration(
        answers={
            200: {
                "the first of several pages": {"items": [_CREDITED], "next_cursor": _PAYMENT_ID},
                "none": {"items": [], "next_cursor": None},
            }
        },
        links={operation_id: {"parameters": {"cursor": "$response.body#/next_cursor"}}},
    )


PAYMENT_ILLUSTRATIONS = {
    "get_rates": Illustration(answers={200: {"today": {"btc_to_aitbc": "100000", "aitbc_to_btc": "0.00001"}}}),
    "create_payment": Illustration(
        bodies={
            "so many AITBC": {"aitbc_amount": "12.5"},
            "for so much bitcoin": {"btc_amount": "0.000125"},
        },
        answers={201: {"what to pay where": _ASKED}},
        links={"get_payment": _OF_PAYMENT, "get_qr_code": _OF_PAYMENT},
    ),
    "get_payment": Illustration(
        answers={200: {"seen": _SEEN, "credited": _CREDITED, "taken back": _TAKEN_BACK}},
    ),
    "list_payments": _listing("list_payments"),
    "list_all_payments": _listing("list_all_payments"),
    "get_qr_code": Illustration(
        answers={200: {"the beginning": '<svg xmlns="http://www.w3.org/2000/svg" width="360" height="360">'}}
    ),
}
