"""pose-bundle: the bundles of a device, and which of them serves."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.cli._build_progress import build_progress
from pose_runtime.cli._common import BundleArgument, CacheOption, Version, new_app, one_line, print_error, run_app
from pose_runtime.cli.check import print_check
from pose_runtime.engines import cuda_ordinal
from pose_runtime.errors import BundleError, PoseError
from pose_runtime.manifest import GraphRole
from pose_runtime.store import BundleStore, Installed
from pose_runtime.store import signature as signatures
from pose_runtime.store.archive import pack as pack_bundle
from pose_runtime.store.proof import prove_bundle

app = new_app()

_RELOAD_S = 120.0  # a reload builds nothing, but it waits for the service to take it

StoreOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of installed bundles.",
        show_default="/var/lib/jetpose/bundles, else ~/.local/share/jetpose/bundles",
        metavar="DIR",
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        help="Public key that bundles must be signed with.",
        show_default=f"{signatures.SYSTEM_KEY}, if it is there",
        metavar="FILE",
    ),
]
NameArgument = Annotated[
    str, typer.Argument(help="Name of an installed bundle, or how it or its SHA-256 begins.", metavar="NAME")
]
ReloadOption = Annotated[
    list[str] | None,
    typer.Option(help="Then have systemd reload this unit; may be repeated.", metavar="UNIT"),
]


@app.callback()
def bundles(version: Version = False) -> None:
    """Install, sign and switch the bundles of a device."""


@app.command()
def install(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder NAME.pose/, a .tar or .tar.gz of one, or a network that comes with jetpose.", metavar="SOURCE"
        ),
    ],
    store: StoreOption = None,
    key: KeyOption = None,
    keep: Annotated[
        int | None, typer.Option(min=0, help="Then remove all but N of the bundles that are not in use.", metavar="N")
    ] = None,
) -> None:
    """Copy a bundle into the store, verified. It does not serve yet.

    Prints its name.
    """
    opened = _open(store, key)
    with _as_owner(opened.root):
        print(opened.install(source).name)
        for one in [] if keep is None else opened.prune(keep):
            print(f"removed {one.name}", file=sys.stderr)


@app.command()
def activate(
    name: NameArgument,
    store: StoreOption = None,
    key: KeyOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N, as the service's.", metavar="NAME")] = "auto",
    graph: Annotated[GraphRole | None, typer.Option(help="Graph, if the service is told to run one.")] = None,
    cache: CacheOption = None,
    reload: ReloadOption = None,
) -> None:
    """Build and prove a bundle's engine while the present bundle serves, then switch to it, on trial.

    The service takes it when it is reloaded, or at its next start. It goes back by itself if the bundle gives no
    healthy results.
    """
    cuda_ordinal(device)
    opened = _open(store, key)

    def prove(bundle: Bundle) -> None:
        with build_progress() as on_progress:
            checks = prove_bundle(bundle, device, graph=graph, cache=cache, on_progress=on_progress)
        for check in checks:
            print_check(check)

    with _as_owner(opened.root):
        one, former = opened.find(name), opened.current()
        switched = opened.activate(one, prove=prove)
        on_trial = switched and opened.last_switch() is not None
    was = f", was {former.name}" if former else ""
    print(f"{one.name} is current{was if switched else ' already'}")
    _take(reload, on_trial)


@app.command()
def wait(
    name: NameArgument,
    store: StoreOption = None,
    within: Annotated[float, typer.Option(min=0, max=86400, help="That services have.", metavar="SECONDS")] = 300.0,
) -> None:
    """Wait until a service has confirmed a bundle that is on trial; exit 1 if it failed, or nobody did in time."""
    opened = BundleStore(store)
    with _as_owner(opened.root):
        one = opened.find(name)
        opened.wait_for_verdict(one, within)
    print(f"{one.name} serves")


@app.command()
def rollback(store: StoreOption = None, key: KeyOption = None, reload: ReloadOption = None) -> None:
    """Switch back to the bundle that served before; a second time leads forward again."""
    opened = _open(store, key)
    with _as_owner(opened.root):
        former = opened.current()
        one = opened.rollback()
    was = f", was {former.name}" if former else ""
    print(f"{one.name} is current{was}")
    _take(reload, False)


@app.command("list")
def list_bundles(
    store: StoreOption = None,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify all installed bundles, and print them; exit 1 if one is damaged, or not signed as it must be."""
    opened = _open(store, key)
    found = [_described(opened, one) for one in opened.installed()]
    trial = opened.last_switch()
    if as_json:
        tree = {"root": str(opened.root), "bundles": found, "last_switch": trial}
        print(msgspec.json.format(msgspec.json.encode(tree), indent=2).decode())
    else:
        _print_table([("bundle", "network", "state", "signature"), *(_row(one) for one in found)] if found else [])
        for one in found:
            if one["problem"]:
                print(one_line(f"{one['name']}: {one['problem']}"))
        if trial and trial.state == "failed":
            print(one_line(f"{trial.to} failed its trial: {trial.reason}"))
        if not found:
            print(f"no bundle in {opened.root}", file=sys.stderr)
    if any(one["problem"] for one in found):
        raise typer.Exit(1)


@app.command()
def remove(name: NameArgument, store: StoreOption = None) -> None:
    """Remove a bundle that neither serves, nor is the one to go back to, nor is in use."""
    opened = BundleStore(store)
    with _as_owner(opened.root):
        one = opened.find(name)
        opened.remove(one)
    print(f"removed {one.name}")


@app.command()
def prune(
    keep: Annotated[int, typer.Option(min=0, help="How many of those that are not in use stay.", metavar="N")],
    store: StoreOption = None,
) -> None:
    """Remove the bundles that were installed first, except those that nobody may remove."""
    opened = BundleStore(store)
    with _as_owner(opened.root):
        for one in opened.prune(keep):
            print(f"removed {one.name}")


@app.command()
def keygen(
    path: Annotated[Path, typer.Argument(help="File of the private key; the public one gets .pub.", metavar="FILE")],
) -> None:
    """Make a pair of ed25519 keys: FILE, readable by you only, and FILE.pub for the devices."""
    public = signatures.generate_key(path)
    print(f"keep {path} to yourself; copy {public} to {signatures.SYSTEM_KEY} on each device")


@app.command()
def sign(
    bundle: BundleArgument,
    key: Annotated[Path, typer.Option(help="Private key, as keygen writes it.", metavar="FILE")],
) -> None:
    """Sign a bundle: writes NAME.pose.sig beside NAME.pose/."""
    print(signatures.sign(load_bundle(bundle), key))


@app.command()
def pack(
    bundle: BundleArgument,
    out: Annotated[
        Path | None, typer.Option(help="Archive; .tar.gz compresses.", show_default="NAME.tar here", metavar="FILE")
    ] = None,
) -> None:
    """Write a bundle, with its signature if it has one, into one file to send to a device."""
    loaded = load_bundle(bundle)
    archive = out or Path(f"{loaded.path.resolve().name.removesuffix('.pose')}.tar")
    if not archive.name.endswith((".tar", ".tar.gz", ".tgz")):
        raise typer.BadParameter(f"got {archive}, wanted NAME.tar or NAME.tar.gz", param_hint="--out")
    pack_bundle(loaded, archive)
    print(archive)


def _open(store: Path | None, key: Path | None) -> BundleStore:
    return BundleStore(store, key=signatures.configured_key(key))


@contextmanager
def _as_owner(root: Path) -> Iterator[None]:
    """Where root works on the service's store: as the service's user, who shall own what is made there, and who may
    have put links in its way.
    """
    if os.geteuid() != 0:
        yield
        return
    there = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    user, group = there.stat().st_uid, there.stat().st_gid
    if user == 0:
        yield
        return
    former_group, former_groups = os.getegid(), os.getgroups()
    try:
        groups = os.getgrouplist(pwd.getpwuid(user).pw_name, group)  # such as video and render, for the GPU
    except KeyError:  # a user without a name
        groups = [group]
    os.setgroups(groups)
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(former_group)
        os.setgroups(former_groups)


def _take(units: list[str] | None, on_trial: bool) -> None:
    """Reload the services, or say how."""
    if not units:
        trial = "; it goes back by itself if the bundle gives no healthy results" if on_trial else ""
        print(f"a running service takes it by: systemctl reload UNIT{trial}", file=sys.stderr)
        return
    failed = False
    for unit in units:
        try:
            _reload(unit)
        except PoseError as error:
            failed = True
            print_error(error)
    if failed:
        raise typer.Exit(1)


def _reload(unit: str) -> None:
    program = shutil.which("systemctl")
    if program is None:
        raise PoseError(f"{unit}: cannot be reloaded: there is no systemctl here")
    command = [program, "reload", "--", unit]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_RELOAD_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PoseError(f"{unit}: cannot be reloaded: {error}") from error
    if done.returncode:
        raise PoseError(f"{unit}: cannot be reloaded: {done.stderr.strip() or f'exit status {done.returncode}'}")
    print(f"reloaded {unit}")


def _described(store: BundleStore, one: Installed) -> dict[str, Any]:
    bundle, problem = None, None
    try:
        bundle = store.load(one)
    except BundleError as error:
        problem = str(error)
        with suppress(BundleError):
            bundle = load_bundle(one.path)  # whole, but not signed as it must be
    trial = store.last_switch()
    on_trial = trial is not None and trial.state == "trial" and trial.to == one.name
    signed = one.signature_path.exists()
    return {
        "name": one.name,
        "path": str(one.path),
        "sha256": bundle.digest if bundle else None,
        "network": bundle.manifest.network.name if bundle else None,
        "is_current": (is_current := store.current() == one),
        "is_on_trial": is_current and on_trial,
        "is_previous": store.previous() == one,
        "signed": signed,
        "verified": store.key is not None and problem is None,
        "problem": problem,
    }


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    state = "current" if one["is_current"] else "previous" if one["is_previous"] else ""
    state += ", on trial" * one["is_on_trial"]
    signature = "verified" if one["verified"] else "not checked" if one["signed"] else "none"
    return one["name"], one["network"] or "?", state or "-", "?" if one["problem"] else signature


def _print_table(rows: list[tuple[str, ...]]) -> None:
    for line in _lines([tuple(one_line(cell) for cell in row) for row in rows]):
        print(line)


def _lines(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def main() -> None:
    """Entry point of `pose-bundle`."""
    run_app(app)
