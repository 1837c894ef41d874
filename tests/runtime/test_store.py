"""Bundles on a device: whole or not at all, signed, switched in one step, taken back."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import random
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pose_runtime.bundle import Bundle, load_bundle
from pose_runtime.errors import BundleError, EngineError
from pose_runtime.store import BundleStore, Installed, Serving, durable, signature, switch
from pose_runtime.store import archive as archives
from pose_runtime.store import store as store_module
from pose_runtime.store.archive import pack
from pose_runtime.store.signature import PublicKey, configured_key, generate_key, sign
from store_crashes import write


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "root")


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    return {name: write(tmp_path / "sources", name) for name in "abc"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    pytest.importorskip("cryptography")
    (tmp_path / "keys").mkdir()
    generate_key(tmp_path / "keys" / "mine")
    return tmp_path / "keys" / "mine"


def public(key: Path) -> PublicKey:
    return PublicKey(key.with_name(f"{key.name}.pub"))


def nothing(bundle: Bundle) -> None:
    """A proof."""


def serve(store: BundleStore, source: Path) -> Installed:
    """Install, activate and confirm."""
    one = store.install(source)
    assert store.activate(one, prove=nothing)
    with store.begin_serving() as serving:
        assert serving.confirm()
    return one


def snapshot(root: Path) -> dict[str, bytes | str]:
    """All that is there but locks."""
    found: dict[str, bytes | str] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path)] = str(path.readlink())
        elif path.is_file() and not path.name.endswith(".lock"):
            found[str(path)] = path.read_bytes()
    return found


def contents(store: BundleStore) -> list[str]:
    """Names of all that is there but locks."""
    return [path.name for path in store.root.iterdir() if not path.name.endswith(".lock")]


def again(store: BundleStore) -> BundleStore:
    """The store as another process sees it."""
    return BundleStore(store.root, key=store.key)


# ---- installing ----------------------------------------------------------------------------------------------------


def test_a_bundle_is_installed_as_it_is(store: BundleStore, sources: dict[str, Path]) -> None:
    one = store.install(sources["a"])
    digest = load_bundle(sources["a"]).digest
    assert one.name == f"a-{digest[:12]}"
    assert one.path == store.root / f"{one.name}.pose"
    assert store.load(one).digest == digest
    assert store.installed() == [one]
    assert (store.current(), store.previous()) == (None, None)
    assert store.install(sources["a"]) == one
    assert store.install(one.path).name == f"{one.name}-{digest[:12]}"  # under the name that it was given by
    assert stat.S_IMODE(one.path.stat().st_mode) == stat.S_IMODE(sources["a"].stat().st_mode)


def test_a_network_that_comes_with_jetpose(store: BundleStore) -> None:
    one = store.install("lightweight-tiny")
    assert one.name.startswith("lightweight-tiny-")
    assert store.load(one).manifest == load_bundle("lightweight-tiny").manifest


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz"])
def test_an_archive(store: BundleStore, sources: dict[str, Path], tmp_path: Path, ending: str) -> None:
    packed = tmp_path / f"sent{ending}"
    pack(load_bundle(sources["a"]), packed)
    first = packed.read_bytes()
    pack(load_bundle(sources["a"]), packed)
    assert packed.read_bytes() == first
    assert store.load(store.install(packed)).digest == load_bundle(sources["a"]).digest
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize("options", [["-cf"], ["-czf"], ["--format=pax", "-cf"], ["--format=gnu", "-cf"]])
def test_what_tar_makes(store: BundleStore, sources: dict[str, Path], tmp_path: Path, options: list[str]) -> None:
    packed = tmp_path / ("a.tar.gz" if "-czf" in options else "a.tar")
    subprocess.run(["tar", *options, packed, "-C", sources["a"].parent, "./a.pose"], check=True)
    assert store.install(packed).name.startswith("a-")


def test_a_damaged_source_leaves_nothing(store: BundleStore, sources: dict[str, Path]) -> None:
    store.install(sources["b"])
    before = snapshot(store.root)
    (sources["a"] / "reference.onnx").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"reference\.onnx: changed or damaged"):
        store.install(sources["a"])
    with pytest.raises(BundleError, match="no such folder"):
        store.install(sources["a"] / "nowhere")
    with pytest.raises(BundleError, match="No such file"):
        store.install("nowhere.tar")
    assert snapshot(store.root) == before


def test_a_source_that_changes_while_it_is_copied(
    store: BundleStore, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_then_change(path: Path) -> Bundle:
        bundle = load_bundle(path)
        (sources["a"] / "reference.onnx").write_bytes(b"swapped after the check")
        return bundle

    monkeypatch.setattr(store_module, "load_bundle", load_then_change)
    with pytest.raises(BundleError, match=r"reference\.onnx: changed or damaged"):
        store.install(sources["a"])
    assert snapshot(store.root) == {}


def test_a_damaged_bundle_is_installed_anew(store: BundleStore, sources: dict[str, Path]) -> None:
    one = serve(store, sources["a"])
    for damage in (lambda: (one.path / "reference.onnx").write_bytes(b""), (one.path / "manifest.json").unlink):
        damage()
        with pytest.raises(BundleError):
            store.load(one)
        assert store.install(sources["a"]) == one
        assert store.load(one).file_bytes("reference.onnx") == b"a" * 5000
        assert store.current() == one


def test_a_folder_under_another_bundles_name_is_refused(store: BundleStore, sources: dict[str, Path]) -> None:
    one, other = store.install(sources["a"]), store.install(sources["b"])
    two = Installed(other.name, other.path)
    other.path.rename(store.root / "aside")
    one.path.rename(two.path)
    with pytest.raises(BundleError, match="holds another bundle"):
        store.load(two)


def test_names(store: BundleStore, sources: dict[str, Path]) -> None:
    one, other = store.install(sources["a"]), store.install(sources["b"])
    digest = load_bundle(sources["a"]).digest
    for name in (one.name, f"{one.name}.pose", f"{one.name}.pose/", "a", "a-", digest, digest[:12], digest[:4]):
        assert store.find(name) == one
    assert store.find("b") == other
    for name in ("", "x", "../a", "/", ".", digest[:4] + "zzzz"):
        with pytest.raises(BundleError, match=r"is not installed in|could be any of"):
            store.find(name)
    packed = write(store.root.parent / "elsewhere", "aa")
    store.install(packed)
    with pytest.raises(BundleError, match=r"a: could be any of a-\w+, aa-\w+; give more of the name"):
        store.find("a")


def test_odd_folder_names(store: BundleStore, sources: dict[str, Path], tmp_path: Path) -> None:
    odd = tmp_path / ("..\n é " + "x" * 200)
    sources["a"].rename(odd)
    assert switch.NAME.match(store.install(odd).name)
    assert len(store.installed()) == 1


# ---- hostile archives ----------------------------------------------------------------------------------------------

Members = Callable[[tarfile.TarFile], None]


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for field, value in fields.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(data))


def many(tar: tarfile.TarFile) -> None:
    for number in range(archives.MAX_MEMBERS + 1):
        add(tar, f"a.pose/{number}")


def twice(tar: tarfile.TarFile) -> None:
    add(tar, "a.pose/x")
    add(tar, "./a.pose/x")


def file_then_folder(tar: tarfile.TarFile) -> None:
    add(tar, "a.pose/x")
    add(tar, "a.pose/x/y")


def folder_then_file(tar: tarfile.TarFile) -> None:
    add(tar, "a.pose/x/y")
    add(tar, "a.pose/x")


def two(tar: tarfile.TarFile) -> None:
    add(tar, "a.pose/x")
    add(tar, "b.pose/x")


def no_bundle(tar: tarfile.TarFile) -> None:
    add(tar, "a.pose.sig", b"s")


def empty(tar: tarfile.TarFile) -> None:
    pass


def long_header(tar: tarfile.TarFile) -> None:
    add(tar, "a.pose/x", pax_headers={"comment": "x" * 200_000})


def header_chain(tar: tarfile.TarFile) -> None:
    """Thousands of global headers, each of which extends the next."""
    raw = bytearray(tarfile.TarInfo("x").tobuf())
    raw[156:157] = b"g"
    raw[148:156] = b"        "
    raw[148:156] = f"{sum(raw):06o}\0 ".encode()
    assert tar.fileobj
    tar.fileobj.write(bytes(raw) * 3000)
    tar.offset = tar.fileobj.tell()


def one(name: str, **fields: object) -> Members:
    return lambda tar: add(tar, name, **fields)  # type: ignore[arg-type]


HOSTILE: dict[str, tuple[Members, str]] = {
    "absolute": (one("/etc/x"), "no name that a bundle has"),
    "parent": (one("a.pose/../x"), "no name that a bundle has"),
    "parent first": (one("../a.pose/x"), "no name that a bundle has"),
    "hidden": (one("a.pose/.x"), "no name that a bundle has"),
    "deep": (one("a.pose/w/x/y/z"), "no name that a bundle has"),
    "beside": (one("x"), "no name that a bundle has"),
    "newline": (one("a.pose/x\ny"), r"member a.pose/x\\ny: no name"),
    "link": (one("a.pose/x", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "no regular file"),
    "hard link": (one("a.pose/x", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "no regular file"),
    "link of a folder": (one("a.pose", type=tarfile.SYMTYPE, linkname="/etc"), "no regular file"),
    "device": (one("a.pose/x", type=tarfile.CHRTYPE), "no regular file"),
    "pipe": (one("a.pose/x", type=tarfile.FIFOTYPE), "no regular file"),
    "file for the folder": (one("a.pose"), "is a file, wanted a folder"),
    "sparse": (one("a.pose/x", pax_headers={"GNU.sparse.size": "9", "GNU.sparse.map": "0,1"}), "no regular file"),
    "long signature": (one("a.pose.sig", data=bytes(65)), "got 65 bytes, wanted at most 64"),
    "negative": (one("a.pose/x", pax_headers={"size": "-5"}), "no whole archive|got -5 bytes"),
    "huge": (one("a.pose/x", pax_headers={"size": str(1 << 40)}), "got 1099511627776 bytes, wanted at most"),
    "many": (many, "has over 600 members"),
    "twice": (twice, "stands in it twice"),
    "file, then folder": (file_then_folder, "stands in it twice"),
    "folder, then file": (folder_then_file, "stands in it twice"),
    "two bundles": (two, r"holds a\.pose and b\.pose, wanted one bundle"),
    "no bundle": (no_bundle, "holds no bundle"),
    "empty": (empty, "holds no bundle"),
    "long header": (long_header, "a header of 200"),
    "header chain": (header_chain, "no whole archive"),
    "no manifest": (one("a.pose/x", data=b"x"), "manifest.json: No such file"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives(store: BundleStore, tmp_path: Path, case: str) -> None:
    members, message = HOSTILE[case]
    packed = tmp_path / "bad.tar"
    with tarfile.open(packed, "w", format=tarfile.PAX_FORMAT) as tar:
        members(tar)
    with pytest.raises(BundleError, match=message) as caught:
        store.install(packed)
    assert "\n" not in str(caught.value)
    assert snapshot(store.root) == {}
    assert contents(store) == []


def test_other_files(store: BundleStore, tmp_path: Path) -> None:
    packed = tmp_path / "a.tar"
    for data in (b"", b"x", b"\x1f\x8b", b"\x1f\x8b\x08" + bytes(100), random.Random(0).randbytes(5000), bytes(100)):
        packed.write_bytes(data)
        with pytest.raises(BundleError, match=r"a\.tar: no whole archive|a\.tar: holds no bundle"):
            store.install(packed)
    packed.unlink()
    os.mkfifo(packed)
    with pytest.raises(BundleError, match=r"a\.tar: no regular file"):
        store.install(packed)
    assert contents(store) == []


def test_a_bomb_stops_at_the_bound(
    store: BundleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: dict[str, Path]
) -> None:
    packed = tmp_path / "bomb.tar.gz"
    with gzip.open(packed, "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 20))
    monkeypatch.setattr(archives, "MAX_BYTES", 1 << 20)
    with pytest.raises(BundleError, match="unpacks to over 1048576 bytes"):
        store.install(packed)
    with tarfile.open(tmp_path / "large.tar", "w") as tar:
        for number in range(3):
            add(tar, f"a.pose/{number}", bytes(400_000))
    with pytest.raises(BundleError, match="unpacks to over 1048576 bytes"):
        store.install(tmp_path / "large.tar")
    assert contents(store) == []
    pack(load_bundle(sources["a"]), packed)
    store.install(packed)


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_no_damage_passes(sources: dict[str, Path], tmp_path: Path, ending: str) -> None:
    """Cut or changed anywhere, an archive is refused, or it holds the very bundle: what differs is in its headers."""
    root = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path)
    store = BundleStore(root)
    good, bad = tmp_path / f"good{ending}", tmp_path / f"bad{ending}"
    pack(load_bundle(sources["a"]), good)
    data, rng = good.read_bytes(), random.Random(7)
    digest, refused = load_bundle(sources["a"]).digest, 0
    end = data.rindex(b"a" * 100) if ending == ".tar" else len(data)
    for number in range(300):
        changed = bytearray(data[: rng.randrange(end)] if number % 3 == 0 else data)
        if number % 3:
            for _ in range(rng.choice((1, 1, 4, 50))):
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        bad.write_bytes(changed)
        try:
            found = store.install(bad)
        except BundleError:
            refused += 1
        else:
            assert number % 3
            assert store.load(found).digest == digest
            store.remove(found)
        assert contents(store) == []
    assert 150 < refused <= 300


# ---- the disk ------------------------------------------------------------------------------------------------------

FULL = """
import resource, signal, sys
from pathlib import Path
from pose_runtime.errors import BundleError
from pose_runtime.store import BundleStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store, limit = BundleStore(sys.argv[1]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    store.install(sys.argv[2])
except BundleError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["folder", "archive", "compressed"])
def test_a_full_disk_leaves_nothing(store: BundleStore, sources: dict[str, Path], tmp_path: Path, kind: str) -> None:
    serve(store, sources["b"])
    before = snapshot(store.root)
    source = sources["a"]
    if kind != "folder":
        source = tmp_path / ("a.tar" if kind == "archive" else "a.tar.gz")
        pack(load_bundle(sources["a"]), source)
    done = script(FULL, store.root, source, 3000)
    assert done.endswith("File too large\n")
    assert done.count("\n") == 1
    assert snapshot(store.root) == before
    assert again(store).begin_serving().bundle.manifest.network.name == "b"


def script(code: str, *args: object) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, *(["-c", code] if "\n" in code else [code]), *map(str, args)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def no_space(*args: object, **kwargs: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_trial_that_cannot_be_written_down_does_not_begin(
    store: BundleStore, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(store, sources["a"])
    store.activate(store.install(sources["b"]), prove=nothing)
    with monkeypatch.context() as full:
        full.setattr(switch, "replace_file", no_space)
        for _ in range(2):
            serving = again(store).begin_serving()
            assert serving.bundle.manifest.network.name == "a"
            assert serving.note
            assert "is not tried: its trial cannot be written down (No space left on device)" in serving.note
            assert not serving.on_trial
    assert again(store).begin_serving().bundle.manifest.network.name == "b"


def test_going_back_on_a_full_disk(
    store: BundleStore, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(store, sources["a"])
    store.activate(store.install(sources["b"]), prove=nothing)
    again(store).begin_serving()  # and its process dies
    monkeypatch.setattr(switch, "replace_link", no_space)
    for _ in range(2):
        serving = again(store).begin_serving()
        assert serving.bundle.manifest.network.name == "a"
        assert serving.note
        assert "until the next start only" in serving.note


def test_a_full_disk_while_giving_up(
    store: BundleStore, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(store, sources["a"])
    store.activate(store.install(sources["b"]), prove=nothing)
    serving = store.begin_serving()
    with monkeypatch.context() as full:
        full.setattr(switch, "replace_link", no_space)
        with pytest.raises(BundleError, match="No space left"):
            serving.give_up("no result")
        assert network(store.begin_serving()) == "a"
    assert network(store.begin_serving()) == "a"
    assert [one.name[0] for one in (store.current(), store.previous()) if one] == ["a"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=128k", "none"]
    if os.geteuid() != 0 or subprocess.run(["mount", *options, disk], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_is_full(small_disk: Path, sources: dict[str, Path], tmp_path: Path) -> None:
    store = BundleStore(small_disk / "root")
    serve(store, sources["a"])
    store.activate(store.install(sources["b"]), prove=nothing)
    with (small_disk / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(512)):
            pass
    before = snapshot(store.root)
    with pytest.raises(BundleError, match="No space left on device"):
        store.install(write(tmp_path / "more", "c"))
    assert snapshot(store.root) == before
    serving = again(store).begin_serving()
    assert network(serving) == "a"  # the trial cannot be written down
    (small_disk / "fill").unlink()
    assert network(again(store).begin_serving()) == "b"


def test_a_disk_that_is_read_only(small_disk: Path, sources: dict[str, Path]) -> None:
    store = BundleStore(small_disk / "root")
    serve(store, sources["a"])
    store.activate(store.install(sources["b"]), prove=nothing)
    third = store.install(sources["c"])
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for _ in range(2):
        serving = again(store).begin_serving()
        assert network(serving) == "a"
        assert "Read-only file system" in str(serving.note)
        serving.close()
    for change in (lambda: store.install(sources["c"]), store.rollback, lambda: store.remove(third)):
        with pytest.raises(BundleError, match=r"Read-only file system|may not be written"):
            change()
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert network(again(store).begin_serving()) == "b"


def test_a_full_disk_while_confirming(
    store: BundleStore, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(store, sources["a"])
    store.activate(store.install(sources["b"]), prove=nothing)
    with again(store).begin_serving() as serving:
        with monkeypatch.context() as full:
            full.setattr(switch, "replace_file", no_space)
            with pytest.raises(BundleError, match="No space left"):
                serving.confirm()
        assert serving.on_trial
        assert serving.confirm()
    assert again(store).begin_serving().note is None


def test_a_store_that_may_not_be_written(store: BundleStore, sources: dict[str, Path], tmp_path: Path) -> None:
    """The service still takes what serves; a change is refused before anything is built."""
    serve(store, sources["a"])
    store.install(sources["b"])
    code = """
import os, sys
from pathlib import Path
from pose_runtime.errors import BundleError
from pose_runtime.store import BundleStore
store = BundleStore(sys.argv[1])
store.load(store.find("b"))  # imports all that it takes, perhaps from where only root may read
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(store.begin_serving().bundle.manifest.network.name)
for change in (lambda: store.activate(store.find("b"), prove=print), store.rollback,
               lambda: store.install(Path(sys.argv[2])), lambda: store.remove(store.find("b"))):
    try:
        change()
    except BundleError as error:
        print(error)
"""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "root"
        store.root.rename(root)
        for path in (root, *root.iterdir()):
            if not path.is_symlink():
                path.chmod(0o555 if path.is_dir() else 0o444)
        lines = script(code, root, sources["b"]).splitlines()
        root.chmod(0o755)
    assert lines[0] == "a"
    assert lines[1] == f"{root}: may not be written; run this as the user who owns it"
    assert len(lines) == 5
    assert all("ermission denied" in line or "no bundle to go back to" in line for line in lines[2:])


# ---- switching and trials ------------------------------------------------------------------------------------------


def network(serving: Serving) -> str:
    return serving.bundle.manifest.network.name


def test_a_link_gives_the_bundle_that_it_led_to(store: BundleStore, sources: dict[str, Path]) -> None:
    one = serve(store, sources["a"])
    bundle = load_bundle(store.root / "current")
    assert bundle.path == one.path.resolve()
    serve(store, sources["b"])
    assert bundle.file_bytes("reference.onnx") == b"a" * 5000
    assert load_bundle(store.root / "current").file_bytes("reference.onnx") == b"b" * 5000


def test_loading_by_the_link_while_it_switches(store: BundleStore, sources: dict[str, Path]) -> None:
    serve(store, sources["a"])
    serve(store, sources["b"])
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            store.rollback()

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        seen = set()
        for _ in range(200):
            bundle = load_bundle(store.root / "current")
            seen.add(bundle.file_bytes("reference.onnx")[:1])
            assert bundle.file_bytes("reference.onnx")[:1].decode() == bundle.manifest.network.name
    finally:
        stop.set()
        swapper.join()
    assert seen == {b"a", b"b"}


def test_the_old_one_serves_until_the_new_one_is_proven(store: BundleStore, sources: dict[str, Path]) -> None:
    old, new = serve(store, sources["a"]), store.install(sources["b"])
    proven = []

    def prove(bundle: Bundle) -> None:
        assert again(store).current() == old
        assert bundle.file_bytes("reference.onnx") == b"b" * 5000
        with pytest.raises(BundleError, match="a process uses it"):
            again(store).remove(new)
        proven.append(bundle.digest)

    assert store.activate(new, prove=prove)
    assert proven == [load_bundle(new.path).digest]
    assert (store.current(), store.previous()) == (new, old)


def test_what_is_not_proven_never_serves(store: BundleStore, sources: dict[str, Path]) -> None:
    serve(store, sources["a"])
    new = store.install(sources["b"])
    before = snapshot(store.root)

    def refuse(bundle: Bundle) -> None:
        raise EngineError("OKS 0.1")

    with pytest.raises(EngineError):
        store.activate(new, prove=refuse)
    (new.path / "reference.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="changed or damaged"):
        store.activate(new, prove=nothing)
    (new.path / "reference.onnx").write_bytes(b"b" * 5000)
    assert snapshot(store.root) == before


def test_a_trial_that_is_confirmed(store: BundleStore, sources: dict[str, Path]) -> None:
    old = serve(store, sources["a"])
    new = store.install(sources["b"])
    assert store.activate(new, prove=nothing)
    assert not store.activate(new, prove=nothing)
    with store.begin_serving() as serving:
        assert (serving.on_trial, serving.installed, network(serving)) == (True, new, "b")
        assert serving.confirm()
        assert not serving.on_trial
        assert serving.confirm()  # still it
        assert not serving.give_up("too late")
    assert store.last_switch() is None
    assert (store.current(), store.previous()) == (new, old)
    assert (store.root / "previous").readlink() == Path(old.path.name)
    for _ in range(3):
        assert again(store).begin_serving().note is None


def test_a_trial_that_is_given_up(store: BundleStore, sources: dict[str, Path]) -> None:
    oldest, old = serve(store, sources["c"]), serve(store, sources["a"])
    store.activate(store.install(sources["b"]), prove=nothing)
    with store.begin_serving() as serving:
        assert serving.give_up("no result within 30 s")
        with store.begin_serving() as back:
            assert (network(back), back.on_trial, back.note) == ("a", False, None)
        assert not serving.confirm()
    assert (store.current(), store.previous()) == (old, oldest)
    last = store.last_switch()
    assert last
    assert (last.state, last.reason) == ("failed", "no result within 30 s")


def test_a_process_that_dies_in_a_trial(store: BundleStore, sources: dict[str, Path]) -> None:
    serve(store, sources["a"])
    store.activate(store.install(sources["b"]), prove=nothing)
    assert network(store.begin_serving()) == "b"
    assert network(store.begin_serving()) == "b"  # a second reload of the same process
    assert network(again(store).begin_serving("other")) == "b"  # another service tries it, too
    serving = again(store).begin_serving()
    assert network(serving) == "a"
    assert serving.note
    assert "failed its trial (pose-run ended before it had confirmed it); back to a-" in serving.note
    assert not store.begin_serving("other").on_trial


def test_the_first_bundle_has_nothing_to_go_back_to(store: BundleStore, sources: dict[str, Path]) -> None:
    with pytest.raises(BundleError, match="no bundle is active; pose-bundle install one"):
        store.begin_serving()
    with pytest.raises(BundleError, match="no bundle to go back to"):
        store.rollback()
    one = store.install(sources["a"])
    store.activate(one, prove=nothing)
    for _ in range(3):
        serving = again(store).begin_serving()
        assert serving.on_trial
        assert network(serving) == "a"
    assert not serving.give_up("no result")
    assert store.current() == one
    assert store.begin_serving().confirm()


def test_a_damaged_bundle_on_trial(store: BundleStore, sources: dict[str, Path]) -> None:
    serve(store, sources["a"])
    new = store.install(sources["b"])
    store.activate(new, prove=nothing)
    (new.path / "reference.onnx").write_bytes(b"")
    serving = store.begin_serving()
    assert network(serving) == "a"
    assert serving.note
    assert "changed or damaged" in serving.note
    store.install(sources["a"])
    (store.root / "current" / "reference.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="changed or damaged"):
        store.begin_serving()  # no trial: nothing is decided here


def test_rollback_and_forward(store: BundleStore, sources: dict[str, Path]) -> None:
    one, two = serve(store, sources["a"]), serve(store, sources["b"])
    assert store.rollback() == one
    assert (store.current(), store.previous()) == (one, two)
    assert not store.begin_serving().on_trial
    assert store.rollback() == two
    assert (store.current(), store.previous()) == (two, one)
    (one.path / "reference.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="changed or damaged"):
        store.rollback()
    assert store.current() == two


def test_an_update_of_an_update_on_trial(store: BundleStore, sources: dict[str, Path]) -> None:
    one = serve(store, sources["a"])
    store.activate(store.install(sources["b"]), prove=nothing)
    serving = store.begin_serving()
    three = store.install(sources["c"])
    store.activate(three, prove=nothing)
    assert (store.current(), store.previous()) == (three, one)  # never to one that nobody confirmed
    assert not serving.confirm()
    assert store.activate(one, prove=nothing)
    assert store.current() == one
    assert not store.begin_serving().on_trial


def test_what_is_needed_stays(store: BundleStore, sources: dict[str, Path], tmp_path: Path) -> None:
    oldest, old = serve(store, sources["c"]), serve(store, sources["a"])
    new = store.install(sources["b"])
    store.activate(new, prove=nothing)
    for one, reason in ((new, "it serves"), (old, "it is the one to go back to"), (oldest, "the one to go back to")):
        with pytest.raises(BundleError, match=f"is not removed: .*{reason}"):
            store.remove(one)
    others = [store.install(write(tmp_path / "more", f"more{number}")) for number in range(5)]
    for number, one in enumerate(others):
        os.utime(one.path, (number, number))
    serving = Serving(store, others[0], store.load(others[0]), None, None, durable.use(others[0].path))
    assert store.prune(2) == [others[2], others[1]]
    assert store.prune(2) == []
    serving.close()
    serving.close()
    assert store.prune(0) == [others[4], others[3], others[0]]
    assert store.installed() == sorted([oldest, old, new], key=lambda one: one.name)


def test_links_that_lead_elsewhere(store: BundleStore, sources: dict[str, Path]) -> None:
    one = serve(store, sources["a"])
    link = store.root / "current"
    for target in ("/etc", "../x", ".", one.name):
        link.unlink()
        link.symlink_to(target)
        if target != one.name:
            with pytest.raises(BundleError, match="current: is no link to a bundle of this store"):
                store.begin_serving()
    link.unlink()
    link.write_text("x")
    with pytest.raises(BundleError, match="current: is no link"):
        store.current()


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", b'{"id":"1","to":"../x-000000000000","back_to":null}', b"[" * 9999]
)
def test_a_damaged_record(store: BundleStore, sources: dict[str, Path], data: bytes) -> None:
    serve(store, sources["a"])
    (store.root / "switch.json").write_bytes(data)
    with pytest.raises(BundleError, match=r"switch\.json: cannot be read: .*remove it"):
        store.begin_serving()
    (store.root / "switch.json").unlink()
    assert store.begin_serving().note is None


def test_a_lock_is_not_waited_for_for_ever(
    store: BundleStore, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(store, sources["a"])
    monkeypatch.setattr(store_module, "_SWITCH_WAIT_S", 0.05)
    with durable.locked(store.root / ".lock", 1.0), pytest.raises(BundleError, match="held by another process for"):
        store.begin_serving()
    store.begin_serving()


# ---- power loss ----------------------------------------------------------------------------------------------------


def test_a_kill_before_each_step_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    in_memory = Path("/dev/shm")  # the kernel keeps what a killed process wrote: here fsync is only a step
    with tempfile.TemporaryDirectory(dir=in_memory if os.access(in_memory, os.W_OK) else tmp_path) as folder:
        counts = json.loads(script(str(Path(__file__).parents[1] / "store_crashes.py"), "steps", folder))
    assert len(counts) == 11
    assert all(count > 10 for count in counts.values()), counts


def test_kills_at_random_times_leave_the_old_or_the_new(tmp_path: Path) -> None:
    seen = json.loads(script(str(Path(__file__).parents[1] / "store_crashes.py"), "random", tmp_path))
    assert sum(seen.values()) == 50
    assert sum(count > 0 for count in seen.values()) > 1, seen


def test_each_step_is_on_the_disk_before_the_next(
    store: BundleStore, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut also loses what was not flushed: a file before it gets its name, names before the next step."""
    root, steps, flushed = store.root, [], set()
    real_sync, real_replace, real_put = os.fsync, Path.replace, store_module.put_folder

    def sync(descriptor: int) -> None:
        real_sync(descriptor)
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        flushed.add(path)
        steps.append(("flush", Path(path).name))

    def replace(self: Path, target: Path) -> Path:
        assert self.is_symlink() or str(self) in flushed, f"{self} gets its name before it is flushed"
        steps.append(("name", target.name))
        return real_replace(self, target)

    def put(folder: Path, target: Path, *, overwrite: bool) -> None:
        missing = [path for path in (folder, *folder.rglob("*")) if str(path) not in flushed]
        assert missing == []
        steps.append(("name", target.name[0]))
        real_put(folder, target, overwrite=overwrite)

    serve(store, sources["a"])
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(store_module, "put_folder", put)
    one = store.install(sources["b"])
    pack(load_bundle(sources["c"]), root.parent / "c.tar")
    store.install(root.parent / "c.tar")
    store.activate(one, prove=nothing)
    with store.begin_serving() as serving:
        serving.confirm()
    flat = [name for _, name in steps]
    for index, (what, name) in enumerate(steps):
        if what == "name" and name != "c.tar":
            assert steps[index + 1] == ("flush", "root"), (name, steps[index + 1])
    assert [name for what, name in steps if what == "name"] == (
        ["b", "c.tar", "c", "switch.json", "current", "switch.json", "switch.json", "previous"]
    )
    assert flat


# ---- signatures ----------------------------------------------------------------------------------------------------


def test_a_signed_bundle(store: BundleStore, sources: dict[str, Path], keys: Path, tmp_path: Path) -> None:
    store.key = public(keys)
    with pytest.raises(BundleError, match=r"is not signed; .*mine\.pub is configured, so it must be"):
        store.install(sources["a"])
    assert contents(store) == []
    path = sign(load_bundle(sources["a"]), keys)
    assert path == sources["a"].with_name("a.pose.sig")
    assert len(path.read_bytes()) == 64
    one = store.install(sources["a"])
    assert one.signature_path.read_bytes() == path.read_bytes()
    assert store.activate(one, prove=nothing)
    assert store.begin_serving().confirm()
    pack(load_bundle(sources["a"]), tmp_path / "a.tar.gz")
    other = BundleStore(tmp_path / "other", key=store.key)
    assert other.install(tmp_path / "a.tar.gz").name == one.name
    other.remove(other.find("a"))
    assert contents(other) == []


def signed(folder: Path, key: Path) -> Path:
    sign(load_bundle(folder), key)
    return folder


def test_openssl_takes_the_signature(sources: dict[str, Path], keys: Path) -> None:
    signature_file = sign(load_bundle(sources["a"]), keys)
    try:
        done = subprocess.run(
            ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", f"{keys}.pub", "-sigfile", signature_file,
             "-in", sources["a"] / "manifest.json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("no openssl here")
    assert "Signature Verified Successfully" in done.stdout, done.stderr


def test_wrong_signatures(store: BundleStore, sources: dict[str, Path], keys: Path) -> None:
    store.key = public(keys)
    generate_key(keys.with_name("other"))
    path = sign(load_bundle(sources["a"]), keys.with_name("other"))
    of_b = sign(load_bundle(sources["b"]), keys).read_bytes()
    good = sign(load_bundle(sources["c"]), keys).read_bytes()
    flipped = bytes([good[0] ^ 1]) + good[1:]
    for data, message in (
        (path.read_bytes(), "its signature is not by the key"),
        (of_b, "its signature is not by the key"),
        (bytes(64), "its signature is not by the key"),
        (flipped, "its signature is not by the key"),
        (b"", "got 0 bytes, wanted the 64"),
        (good[:63], "got 63 bytes, wanted the 64"),
        (good + b"x", "got over 64 bytes"),
    ):
        path.write_bytes(data)
        with pytest.raises(BundleError, match=message):
            store.install(sources["a"])
    path.unlink()
    path.mkdir()
    with pytest.raises(BundleError, match=r"a\.pose\.sig: Is a directory"):
        store.install(sources["a"])
    assert contents(store) == []


def test_a_key_that_comes_later(store: BundleStore, sources: dict[str, Path], keys: Path) -> None:
    """What was installed without one is not activated, nor rolled back to, nor served, until it is signed."""
    serve(store, sources["a"])
    serve(store, sources["b"])
    three = store.install(sources["c"])
    store.key = public(keys)
    with pytest.raises(BundleError, match="is not signed"):
        store.activate(three, prove=nothing)
    with pytest.raises(BundleError, match="is not signed"):
        store.rollback()
    with pytest.raises(BundleError, match="is not signed"):
        store.begin_serving()
    store.install(signed(sources["b"], keys))
    assert network(store.begin_serving()) == "b"


def test_a_bundle_that_is_swapped_after_it_was_verified(
    store: BundleStore, sources: dict[str, Path], keys: Path
) -> None:
    store.key = public(keys)
    one = store.install(signed(sources["a"], keys))
    evil = load_bundle(sources["b"])

    def swap(bundle: Bundle) -> None:
        for name in ("manifest.json", "reference.onnx"):
            (one.path / name).write_bytes((evil.path / name).read_bytes())
        with pytest.raises(BundleError, match="changed or damaged"):
            bundle.file_bytes("reference.onnx")  # never bytes that were not signed
        with pytest.raises(BundleError, match="changed since the bundle was loaded"):
            public(keys).verify(bundle, one.signature_path.read_bytes())

    store.activate(one, prove=swap)
    with pytest.raises(BundleError, match="holds another bundle"):
        store.begin_serving()


def test_keys(tmp_path: Path, keys: Path, sources: dict[str, Path]) -> None:
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.with_name("mine.pub").stat().st_mode) == 0o644
    secret = keys.read_bytes()
    with pytest.raises(BundleError, match="mine: exists already; a key is never overwritten"):
        generate_key(keys)
    assert keys.read_bytes() == secret
    with pytest.raises(BundleError, match="No such file"):
        generate_key(tmp_path / "nowhere" / "key")
    keys.chmod(0o640)
    with pytest.raises(BundleError, match=r"others may use this private key \(mode 640\): chmod 600 it"):
        sign(load_bundle(sources["a"]), keys)
    keys.chmod(0o600)
    for wrong in (keys.with_name("mine.pub"), sources["a"] / "manifest.json", Path("/dev/null"), tmp_path):
        with pytest.raises(BundleError) as caught:
            sign(load_bundle(sources["a"]), wrong)
        assert "\n" not in str(caught.value)
    for wrong in (keys, sources["a"] / "manifest.json", Path("/dev/zero"), tmp_path / "none"):
        with pytest.raises(BundleError):
            PublicKey(wrong)


def test_another_kind_of_key(tmp_path: Path, keys: Path, sources: dict[str, Path]) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

    key = generate_private_key(SECP256R1())
    private, public_file = tmp_path / "ec", tmp_path / "ec.pub"
    private.touch(0o600)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    public_file.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )  # fmt: skip
    with pytest.raises(BundleError, match="got another kind of key, wanted ed25519"):
        sign(load_bundle(sources["a"]), private)
    with pytest.raises(BundleError, match="got another kind of key, wanted ed25519"):
        PublicKey(public_file)


def test_the_devices_key(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "etc" / "bundle-key.pub"
    monkeypatch.setattr(signature, "SYSTEM_KEY", there)
    assert configured_key(None) is None
    there.parent.mkdir()
    there.write_bytes(keys.with_name("mine.pub").read_bytes())
    found = configured_key(None)
    assert found
    assert found.path == there
    there.write_bytes(b"")
    with pytest.raises(BundleError, match="no public key in PEM"):
        configured_key(None)
    there.unlink()
    there.symlink_to("nowhere")  # a key is meant, so it is never quietly none
    with pytest.raises(BundleError, match="No such file"):
        configured_key(None)


def test_nothing_heavy_is_loaded_without_a_key() -> None:
    heavy = ("cryptography", "onnxruntime", "tensorrt", "pycuda", "av")
    code = f"import sys\nfrom pose_runtime.store import BundleStore\nprint([m for m in {heavy} if m in sys.modules])"
    assert script(code) == "[]\n"


def test_without_the_package(
    tmp_path: Path, store: BundleStore, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    serve(store, sources["a"])
    with pytest.raises(BundleError, match=r"signatures need the package cryptography: pip install 'jetpose\[live\]'"):
        generate_key(tmp_path / "key")
