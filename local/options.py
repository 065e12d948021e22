"""What the emulator is told on the command line, in the environment and in .env."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

DOTENV = Path(".env")
# Where the volume is unless LOCAL_VOLUME or --volume says otherwise.
VOLUME = Path(".local")
_REGTEST = "regtest"


@dataclass(frozen=True)
class Options:
    host: str
    port: int
    volume: Path
    template: Path
    max_environments: int
    reload: bool
    quiet: bool
    # Whether payments are taken on a Bitcoin node of one's own.
    regtest: bool


def read_environment() -> dict[str, str]:
    """The process's environment over what `.env` says."""
    from_file = {name: value for name, value in dotenv_values(DOTENV).items() if value is not None}
    return {**from_file, **os.environ}


def read_options(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m local",
        description="Serves the functions of template.yaml on this machine, as Lambda and API Gateway would.",
    )
    parser.add_argument("--host", default=environment.get("API_HOST") or "127.0.0.1", help="API_HOST; %(default)s")
    parser.add_argument(
        "--port", type=_port, default=environment.get("API_PORT") or "8000", help="API_PORT, 0 for any; %(default)s"
    )
    parser.add_argument(
        "--volume", type=Path, default=environment.get("LOCAL_VOLUME") or VOLUME, help="LOCAL_VOLUME; %(default)s"
    )
    parser.add_argument("--template", type=Path, default=Path("template.yaml"), help="%(default)s")
    parser.add_argument("--max-environments", type=_positive, default=32, help="of one function; %(default)s")
    parser.add_argument("--no-reload", action="store_true", help="do not watch the code for changes")
    parser.add_argument("--quiet", action="store_true", help="print no line for each request")
    parser.add_argument(
        "--bitcoin",
        type=_bitcoin,
        default=environment.get("BITCOIN") or "",
        metavar="regtest",
        help="BITCOIN; install and start a node of Bitcoin's regtest network, and take payments on it",
    )
    given = parser.parse_args(arguments)
    return Options(
        host=given.host,
        port=given.port,
        volume=Path(given.volume),
        template=given.template,
        max_environments=given.max_environments,
        reload=not given.no_reload,
        quiet=given.quiet,
        regtest=given.bitcoin == _REGTEST,
    )


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _bitcoin(text: str) -> str:
    if text not in ("", _REGTEST):
        raise argparse.ArgumentTypeError(
            f"only {_REGTEST} can be started, not {text!r}; see BITCOIN_NETWORK for others"
        )
    return text


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)
