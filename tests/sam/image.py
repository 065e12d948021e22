"""An image that stands in for Lambda's own Python where no registry is reached: Debian's Python and AWS's client."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# What SAM CLI asks for. It adds AWS's runtime interface emulator, which it has with it, and the layers.
REPOSITORY, TAG = "public.ecr.aws/lambda/python", "3.13-x86_64"
_SUITE = "trixie"
_PACKAGES = "python3,libstdc++6,ca-certificates"
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
_BOOTSTRAP = Path(__file__).with_name("runtime") / "bootstrap"
_REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "lambda.txt"
_PIP = (
    "--quiet",
    "--no-compile",
    "--disable-pip-version-check",
    "--no-deps",
    "--require-hashes",
    "--only-binary=:all:",
)
_PLATFORM = ("--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64", "--python-version", "3.13")


def root_filesystem() -> Path:
    """A tar of it, made the first time and then kept in the user's cache."""
    ingredients = "".join((_SUITE, _PACKAGES, *_LEFT_OUT, _BOOTSTRAP.read_text(), _REQUIREMENTS.read_text()))
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "aitbc-coordinator"
    kept = cache / f"lambda-python-{hashlib.sha256(ingredients.encode()).hexdigest()[:16]}.tar"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as unfinished:
            made = _make(Path(unfinished) / kept.name, Path(unfinished) / "added")
            for outdated in cache.glob("lambda-python-*.tar"):
                outdated.unlink()
            made.rename(kept)
    return kept


def _make(tar: Path, added: Path) -> Path:
    runtime = added / "var" / "runtime"
    for folder in (runtime, added / "var" / "task", added / "opt"):
        folder.mkdir(parents=True)
    shutil.copy(_BOOTSTRAP, runtime)
    (runtime / _BOOTSTRAP.name).chmod(0o755)
    pip = (sys.executable, "-m", "pip", "install", *_PIP, *_PLATFORM, "--target", runtime, "-r", _REQUIREMENTS)
    subprocess.run(pip, check=True)
    slim = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    debian = ("mmdebstrap", "--quiet", "--variant=essential", f"--include={_PACKAGES}", *slim)
    subprocess.run([*debian, f"--customize-hook=sync-in {added} /", _SUITE, tar], check=True)
    return tar
