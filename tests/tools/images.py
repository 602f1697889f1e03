"""``make images``: both images with buildah, and what is in them as CycloneDX (an SBOM).

    python -m tests.tools.images [operator] [trainer] [--base IMAGE] [--out DIRECTORY] [--archive]

No daemon is needed. As root in a sandbox set BUILDAH_ISOLATION=chroot. LLMZERO_CA names a
certificate bundle of a proxy, which the build trusts and the image does not hold. What is not known here is handed to buildah.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = {"operator": ("operator", "agent", "report", "tpe"), "trainer": ("trainer",)}
FILES = {"operator": "operator/Dockerfile", "trainer": "trainer-image/Dockerfile"}
NAMES = {"operator": "llmzero", "trainer": "llmzero-trainer"}
BASE = "python:3.12-slim-bookworm"
AUTHORITY = "/run/authority.crt"


def build(image: str, base: str, arguments: list[str]) -> None:
    """Raises CalledProcessError where the build fails; buildah has said why."""
    program = shutil.which("buildah")
    if program is None:
        raise SystemExit("images: buildah was not found: install it (Debian: buildah)")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    command = [program, "build", "--layers", "-f", FILES[image], "-t", f"{NAMES[image]}:dev"]
    command += ["--ignorefile", f"{FILES[image]}.dockerignore"]
    command += ["--build-arg", f"BASE={base}"]
    command += ["--build-arg", f"REVISION={commit.stdout.strip() or 'unknown'}"]
    authority = os.environ.get("LLMZERO_CA")
    if authority:
        command += ["--volume", f"{authority}:{AUTHORITY}:ro"]
        for name in ("SSL_CERT_FILE", "PIP_CERT"):
            command += ["--build-arg", f"{name}={AUTHORITY}"]
    subprocess.run([*command, *arguments, "."], cwd=ROOT, check=True)


def write_archive(image: str, target: Path) -> None:
    """The built image as a docker archive, for ``ctr images import`` and ``docker load``.

    Raises CalledProcessError where buildah cannot write it.
    """
    target.unlink(missing_ok=True)  # buildah does not write over one
    name = f"{NAMES[image]}:dev"
    target_name = f"docker-archive:{target}:docker.io/library/{name}"
    subprocess.run(["buildah", "push", "--quiet", f"localhost/{name}", target_name], check=True)


def write_sbom(image: str, target: Path) -> None:
    """The pinned packages of the image's extras with their hashes, as CycloneDX JSON.

    Raises CalledProcessError where the pins cannot be resolved.
    """
    uv = str(Path(sys.prefix) / "bin/uv")
    resolve = [uv, "pip", "compile", "pyproject.toml", "--constraint", "constraints.txt"]
    for extra in EXTRAS[image]:
        resolve += ["--extra", extra]
    resolve += ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-header"]
    pinned = subprocess.run(
        [*resolve, "--no-annotate", "--quiet"], cwd=ROOT, check=True, capture_output=True
    )
    describe = [str(Path(sys.prefix) / "bin/cyclonedx-py"), "requirements", "-"]
    describe += ["--pyproject", "pyproject.toml", "--output-reproducible"]
    subprocess.run(
        [*describe, "--output-file", str(target)], cwd=ROOT, input=pinned.stdout, check=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="images", description=__doc__)
    parser.add_argument("images", nargs="*", default=[*FILES], help=" and ".join(FILES))
    parser.add_argument("--base", default=os.environ.get("BASE", BASE))
    parser.add_argument("--out", type=Path, default=ROOT / "build/images", help="for the SBOMs")
    parser.add_argument("--sbom-only", action="store_true")
    parser.add_argument("--archive", action="store_true", help="also write NAME.tar")
    given, more = parser.parse_known_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for image in given.images:
        if image not in FILES:
            parser.error(f"image: found {image}; there are {' and '.join(FILES)}")
        begun = time.monotonic()
        target = given.out / f"{NAMES[image]}.cdx.json"
        write_sbom(image, target)
        if not given.sbom_only:
            build(image, given.base, more)
            if given.archive:
                write_archive(image, given.out / f"{NAMES[image]}.tar")
        print(f"{NAMES[image]}: {time.monotonic() - begun:.0f} s, {target}")


if __name__ == "__main__":
    main()
