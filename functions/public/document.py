"""Writes openapi.json, which the public function serves without importing the others: `make openapi`."""

import json
import sys
from pathlib import Path

import admin.app
import client.app
import exchange.app
import miner.app
import public.app
import receipts.log
import receipts.verification
import users.app
import users.ledger
from coordinator.http.openapi import merged_document
from public.illustrations import ILLUSTRATIONS
from public.log_illustrations import LOG_ILLUSTRATIONS
from public.payment_illustrations import PAYMENT_ILLUSTRATIONS

DOCUMENT = Path(__file__).with_name("openapi.json")


def document_text() -> str:
    routers = (
        client.app.router,
        miner.app.router,
        users.app.entrance,
        users.app.router,
        users.ledger.router,
        exchange.app.public,
        exchange.app.router,
        admin.app.router,
        receipts.verification.router,
        receipts.log.router,
        public.app.router,
        public.app.keys,
    )
    illustrations = {**ILLUSTRATIONS, **LOG_ILLUSTRATIONS, **PAYMENT_ILLUSTRATIONS}
    return json.dumps(merged_document(*routers, illustrations=illustrations), indent=1) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document_text())
    sys.stdout.write(f"{DOCUMENT.name} written\n")
