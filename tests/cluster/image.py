"""The trainer's image without a registry and without copying 6 GB: a stand-in, complete in seconds.

What the real image's Dockerfile installs is on this machine already: Python, and the virtual
environment with torch. An image is made of two layers:

1. *base*: an empty root (links of a merged /usr, users). Where containerd has unpacked it, the
   machine's libraries and this Python are *hard-linked* into it at the paths they have here, and
   the virtual environment at the path of the Dockerfiles (a pod's volumes may hide the one it has
   here): 60,000 links, about 2 s, no space. (Where /tmp is another file system than the
   environment, they are copied: minutes, 6 GB.)
2. *code*: the present state of ``operator/`` and ``trainer-image/``.

So pods run the trainer's real code with the real TRL and torch, restricted and as uid 1000, with no
volume or pod field that a user's pods would lack. The same image has the operator and the agent
service: ``command: [llmzero, operator]``. A container's writes go to its own overlay; they
never reach the linked files.

Why not otherwise: importing a real archive takes 135 s and 22 GB on the way; hostPath volumes are
forbidden to restricted pods; a claim on a volume of the machine's root works, but then each pod
needs mounts that no user's manifest has.
"""

import io
import os
import shutil
import stat
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.node import docker_archive
from tests.cluster.process import StartFailed

REPOSITORY = Path(__file__).parents[2]
TRAINER = "llmzero-trainer:dev"
ARCHIVE_ENV = "LLMZERO_TEST_TRAINER_ARCHIVE"
USER = 1000
CODE = {"operator/llmzero": "llmzero", "trainer-image/llmzero_trainer": "llmzero_trainer"}
ENVIRONMENT, PACKAGES = Path("/opt/llmzero"), Path("/opt/code")
"""Where the Dockerfiles put them."""
PYTHON = str(ENVIRONMENT / "bin/python")
PROGRAM = f"#!{PYTHON}\nfrom llmzero.cli.main import main\n\nmain()\n"
MARK = ".base-of-this-machine"


def load_trainer(cluster: Cluster) -> None:
    """Makes :data:`TRAINER` known to the node of a cluster of level ``node``: the stand-in, or the
    image that the variable names (``make images`` writes build/images/llmzero-trainer.tar)."""
    if built := os.environ.get(ARCHIVE_ENV):
        cluster.load_image(Path(built))
        return
    cluster.load_image(trainer_archive())
    layers = cluster.folder.glob(f"containerd/*overlayfs/snapshots/*/fs/{MARK}")
    root = next(layers, None)
    if root is None:
        raise StartFailed("containerd did not unpack the trainer's base layer")
    link_tree(Path(sys.prefix), root.parent / str(ENVIRONMENT).lstrip("/"))
    for source, skip in machine_parts():
        link_tree(source, root.parent / str(source).lstrip("/"), skip)


def trainer_archive() -> bytes:
    """Both layers, the first without what is linked into it later."""
    config: dict[str, object] = {
        "Entrypoint": [PYTHON, "-m", "llmzero_trainer"],
        "User": f"{USER}:{USER}",
        "WorkingDir": "/tmp",
        "Env": [
            f"PATH={PACKAGES}/bin:{ENVIRONMENT}/bin:/usr/bin:/bin",
            f"PYTHONPATH={PACKAGES}",
            "PYTHONDONTWRITEBYTECODE=1",
            "PYTHONUNBUFFERED=1",
            "HF_HUB_OFFLINE=1",
        ],
    }
    return docker_archive(TRAINER, [_base_layer(), _code_layer()], config)


def machine_parts() -> Iterator[tuple[Path, frozenset[str]]]:
    """What is linked at its own path, and the names left out of it."""
    standard_library = Path(sysconfig.get_path("stdlib"))
    prefix = Path(sys.base_prefix)
    libraries = Path("/usr/lib") / (sysconfig.get_config_var("MULTIARCH") or "")
    nothing: frozenset[str] = frozenset()
    yield standard_library, frozenset({"site-packages", "test", "idlelib", "turtledemo"})
    yield from ((p, nothing) for p in (prefix / "lib").glob("libpython*"))
    for part in {libraries, Path("/usr/lib64"), Path("/usr/bin"), prefix / "bin"}:
        yield part, nothing
    for file in ("/etc/ld.so.cache", "/usr/sbin/ldconfig"):  # ctypes asks where a library is
        yield Path(file), nothing


def link_tree(source: Path, target: Path, skip: frozenset[str] = frozenset()) -> None:
    """Hard links below ``target`` to the files below ``source``, but for ``skip`` in its top level.

    Set-uid files are left out; files of another file system are copied. What is missing is no
    error: machines differ.
    """
    try:
        mode = source.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISDIR(mode):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() and not target.is_symlink():
            _link(str(source), str(target), mode)
        return
    target.mkdir(parents=True, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.name in skip:
                continue
            if entry.is_dir(follow_symlinks=False):
                link_tree(source / entry.name, target / entry.name)
            else:
                mode = entry.stat(follow_symlinks=False).st_mode
                _link(entry.path, str(target / entry.name), mode)


def _link(source: str, target: str, mode: int) -> None:
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISREG(mode) and not mode & (stat.S_ISUID | stat.S_ISGID):
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)


def _base_layer() -> bytes:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name in ("usr", "tmp", "proc", "sys", "dev", "run", "etc", "var", "home", "data"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for name in ("bin", "sbin", "lib", "lib64"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(entry)
        for name, text in (
            ("etc/passwd", f"root:x:0:0::/:/bin/sh\ntrainer:x:{USER}:{USER}::/home:/bin/sh\n"),
            ("etc/group", f"root:x:0:\ntrainer:x:{USER}:\n"),
            (MARK, ""),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return layer.getvalue()


def _code_layer() -> bytes:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, package in CODE.items():
            tar.add(REPOSITORY / name, arcname=f"{PACKAGES}/{package}".lstrip("/"))
        entry = tarfile.TarInfo(f"{PACKAGES}/bin/llmzero".lstrip("/"))
        entry.size, entry.mode = len(PROGRAM), 0o755
        tar.addfile(entry, io.BytesIO(PROGRAM.encode()))
    return layer.getvalue()
