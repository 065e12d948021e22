"""Users buy AITBC with bitcoin."""

import coordinator.http.starting  # noqa: F401  (before all else)

# isort: split
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy import Connection

from coordinator.core.database import database
from coordinator.core.schemas import Id, Page, PageQuery
from coordinator.http.app import create_app, lambda_handler
from coordinator.http.idempotency import Once, Reply
from coordinator.http.responses import errors
from coordinator.http.route import Caller, PublicRoute, UserRoute
from coordinator.payments import service
from coordinator.payments.addresses import OneAddress
from coordinator.payments.check import prepare_shared_address, refresh
from coordinator.payments.errors import (
    AmountMismatch,
    AmountOutOfRange,
    ExchangeDisabled,
    ExchangeUnavailable,
    PaymentNotFound,
    TooManyPayments,
)
from coordinator.payments.qr import qr_code
from coordinator.payments.schemas import PaymentCreate, PaymentRead, RatesRead

public = APIRouter(prefix="/v1/exchange", tags=["exchange"], route_class=PublicRoute)
router = APIRouter(prefix="/v1/exchange", tags=["exchange"], route_class=UserRoute)

PaymentId = Annotated[Id, Path(description="The payment's id.")]


@public.get("/rates", response_description="The rate of the moment.")
async def get_rates() -> RatesRead:
    """Get the rate.

    A payment keeps the one that it was made at until it expires.
    """
    return service.rates()


@router.post(
    "/create-payment",
    status_code=201,
    response_model=PaymentRead,
    response_description="What to pay where.",
    responses=errors(AmountMismatch, AmountOutOfRange, TooManyPayments, ExchangeDisabled, ExchangeUnavailable),
)
async def create_payment(body: PaymentCreate, user: Caller, once: Once) -> Response:
    """Ask for an address to pay bitcoin to.

    Name how many AITBC to buy, or how many bitcoin to pay: 1000 satoshis at least, 21 bitcoin at most. Pay just what
    the answer says: where payments share an address, some satoshis are added by which yours is known. Whatever comes
    to the address and is confirmed is credited: at the payment's rate up to its amount if it comes in time, else at
    the rate of the day. At most ten payments may be open.
    """
    source = service.require_exchange()
    if isinstance(source, OneAddress):
        prepare_shared_address(source.address)

    def reply(tx: Connection) -> Reply:
        return Reply(service.create(tx, user.id, body))

    return once.write(reply)


@router.get("/payment-status/{payment_id}", response_description="The payment.", responses=errors(PaymentNotFound))
async def get_payment(payment_id: PaymentId, user: Caller) -> PaymentRead:
    """Follow a payment.

    The chain is asked for it while you wait, every ten seconds at most. If it can't be asked, the answer is as of the
    last time that it could.
    """
    refresh(user.id, payment_id)
    return database().read(lambda tx: service.find(tx, user.id, payment_id))


@router.get("/payments", response_description="A page of payments.")
async def list_payments(user: Caller, query: Annotated[PageQuery, Query()]) -> Page[PaymentRead]:
    """List the user's payments, newest first.

    As they were when the chain was last asked, which is each minute while they are open. Give `next_cursor` as
    `cursor` for the next page.
    """
    return database().read(lambda tx: service.page(tx, query, user_id=user.id))


class Svg(Response):
    media_type = "image/svg+xml"


@router.get(
    "/payments/{payment_id}/qr.svg",
    response_class=Svg,
    response_description="The QR code.",
    responses=errors(PaymentNotFound),
)
async def get_qr_code(payment_id: PaymentId, user: Caller) -> Response:
    """Get a payment's QR code.

    Its `uri`, as a picture that wallets scan.
    """
    payment = database().read(lambda tx: service.find(tx, user.id, payment_id))
    return Svg(qr_code(payment.uri))


app = create_app(public, router)
handler = lambda_handler(app)
