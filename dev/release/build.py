"""Builds of the last commit, and environments that hold nothing but one of them.

A build never sees the working tree: what is not committed is in no release. Two builds differ in everything that must
not matter (folder, umask, time zone, language, and whether the wheel is built from the sdist), and must be equal.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CONSTRAINTS = ROOT / "constraints.txt"


class CommandError(Exception):
    """A command failed; the text ends with what it said."""


def run(*command: str, cwd: Path = ROOT, env: dict[str, str] | None = None, umask: int = -1) -> str:
    """Run a command and return what it printed.

    :raises CommandError: if it fails.
    """
    done = subprocess.run(  # noqa: S603 -- argv is ours
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        umask=umask,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        said = "\n".join(done.stdout.strip().splitlines()[-30:])
        raise CommandError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return done.stdout


def has_uv() -> bool:
    """Whether uv is there and starts; a version manager's shim can be on PATH and still fail."""
    try:
        return subprocess.run(["uv", "--version"], capture_output=True).returncode == 0  # noqa: S607
    except OSError:
        return False


@dataclass(frozen=True)
class Built:
    """One build of the wheel and the sdist."""

    wheel: Path
    sdist: Path

    def sums(self) -> dict[str, str]:
        """Return the SHA-256 of each, by file name."""
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (self.wheel, self.sdist)}


def commit_time() -> str:
    """Return the time of the last commit, in unix seconds."""
    return run("git", "log", "-1", "--format=%ct").strip()


def tracked() -> list[str]:
    """Return the files of the last commit."""
    return run("git", "ls-tree", "-r", "--name-only", "HEAD").splitlines()


def uncommitted() -> list[str]:
    """Return the files that differ from the last commit, and so are not looked at."""
    return [line[3:] for line in run("git", "status", "--porcelain").splitlines()]


def check_out(folder: Path) -> Path:
    """Write the last commit's files into a folder, and return it."""
    done = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True)  # noqa: S607
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def build(work: Path, name: str, *, umask: int, zone: str, wheel_from_sdist: bool) -> Built:
    """Build wheel and sdist from the last commit.

    :param work: a folder for this and other builds.
    :param name: of the checkout below it.
    :param wheel_from_sdist: build the wheel from the sdist, as an index's users do; else from the tree.
    """
    tree, out = work / name / "tree", work / name / "dist"
    old = os.umask(umask)
    try:
        check_out(tree)
    finally:
        os.umask(old)
    command = [sys.executable, "-m", "build", "--outdir", str(out)]
    # The build's own tools are pinned, too: hatchling writes its version into the wheel.
    env = {"SOURCE_DATE_EPOCH": commit_time(), "TZ": zone, "PIP_CONSTRAINT": str(CONSTRAINTS)}
    if has_uv():
        command += ["--installer", "uv"]
        env["UV_CONSTRAINT"] = str(CONSTRAINTS)
    if not wheel_from_sdist:
        command += ["--wheel", "--sdist"]
    run(*command, str(tree), env=env, umask=umask)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return Built(wheel, sdist)


def build_twice(work: Path) -> tuple[Built, Built]:
    """Return two builds that must be equal: one from the sdist, one from the tree, and all else differs as well."""
    first = build(work, "one", umask=0o022, zone="UTC", wheel_from_sdist=True)
    second = build(work, "another folder", umask=0o077, zone="Asia/Seoul", wheel_from_sdist=False)
    return first, second


def reproduction_problems(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """Return which files two builds do not agree on; each maps a file's name to its checksum."""
    return [
        f"{name} is not reproducible: {first.get(name, 'not built')} and {second.get(name, 'not built')}"
        for name in sorted({*first, *second})
        if first.get(name) != second.get(name)
    ]


def empty_environment(folder: Path, wheel: Path) -> Path:
    """Make a virtual environment with the wheel and what it needs, no extras and no pip, and return its Python."""
    python = folder / "bin" / "python"
    if has_uv():
        run("uv", "venv", "--quiet", "--python", sys.executable, str(folder))
        install = ["uv", "pip", "install", "--quiet", "--python", str(python)]
    else:
        run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
    run(*install, "--constraint", str(CONSTRAINTS), str(wheel))
    return python


def keep(built: Built, folder: Path) -> None:
    """Put a build into a folder that is made anew: nothing of an earlier one may be published with it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in (built.wheel, built.sdist):
        shutil.copy2(file, folder)
