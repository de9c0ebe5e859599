"""What happens when things go away under a running app or command: python -m tests.soak.faults [NAME …]

Each fault is brought about for real: files are removed, replaced and cut off under the app, sessions break off in the
middle of a run, the server is killed, and commands write to a disk that is full (a small tmpfs, in a mount namespace
of its own; Linux). After each the app must say in a sentence what is wrong, or work again, and no file may be half
written. Exit code 0 if all of that holds.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from dnl import ModelConfig, build_model
from dnl.checkpoints import load_checkpoint, save_checkpoint
from dnl.classes import CAMVID
from dnl.datasets import Streets
from tests.soak.kill_and_resume import SETTINGS, make_data
from tests.soak.server import ROOT, Server, free_port, serve
from tests.soak.visitor import Visitor


def small_checkpoint(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    model = build_model(ModelConfig("resnet18", 8, 11, attention_stride=8, gamma_init=0.5))
    model.label_set = CAMVID
    save_checkpoint(path, model, {"name": path.stem})


def alerts(visitor: Visitor) -> str:
    return " ".join(alert.body for alert in visitor.of_type("alert"))


def require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def require_no_traceback(server: Server) -> None:
    require("Traceback" not in server.log, f"the log has a traceback:\n{server.log[-3000:]}")


# --- under a running app ---------------------------------------------------------------------------------------------


async def checkpoint_taken_away(folder: Path) -> None:
    """Deleted, cut off in place, and replaced by another, while a visitor looks at it."""
    zoo = folder / "zoo"
    zoo.mkdir()
    small_checkpoint(zoo / "mine.safetensors", 0)
    whole = (zoo / "mine.safetensors").read_bytes()
    with serve(folder, DNL_CHECKPOINTS=str(zoo)) as server:
        async with Visitor(server.address) as visitor:
            await visitor.rerun()
            await visitor.choose("Model", "mine")
            before = visitor.component("dnl_lens").bytes
            (zoo / "mine.safetensors").write_bytes(whole[: len(whole) // 2])
            await visitor.rerun()
            require("mine cannot be shown" in alerts(visitor), f"a cut-off file: {alerts(visitor)!r}")
            (zoo / "mine.safetensors").write_bytes(b"")
            await visitor.rerun()
            require("mine cannot be shown" in alerts(visitor), f"an emptied file: {alerts(visitor)!r}")
            small_checkpoint(zoo / "mine.safetensors", 1)
            await visitor.rerun()
            require(visitor.component("dnl_lens").bytes != before, "another file, but the same attention")
            (zoo / "mine.safetensors").unlink()
            await visitor.rerun()
            require(bool(list(visitor.of_type("bidi_component"))), "no lens once the file is deleted")
        require_no_traceback(server)


async def data_folder_vanishes(folder: Path) -> None:
    """$DNL_DATA is renamed, comes back with fewer files, and comes back whole."""
    data = folder / "camvid"
    make_data(data)
    for split, count in (("train", 4), ("val", 1)):  # large enough to be looked at
        for scene in Streets(split, count):
            Image.fromarray(scene.image).save(data / split / f"{scene.name}.png")
            Image.fromarray(scene.labels).save(data / f"{split}annot" / f"{scene.name}.png")
    with serve(folder, DNL_DATA=str(data)) as server:
        async with Visitor(server.address) as visitor:
            await visitor.rerun()
            await visitor.choose("Image", "CamVid")
            await visitor.choose("Split", "train")
            require("$DNL_DATA" not in alerts(visitor), f"a whole folder: {alerts(visitor)!r}")
            data.rename(folder / "elsewhere")
            await visitor.rerun()
            require("$DNL_DATA" in alerts(visitor), f"a folder that is gone: {alerts(visitor)!r}")
            (folder / "elsewhere").rename(data)
            await visitor.rerun()
            require("$DNL_DATA" not in alerts(visitor), f"a folder that is back: {alerts(visitor)!r}")
            for file in (data / "trainannot").iterdir():
                file.write_bytes(file.read_bytes()[:200])
            await visitor.rerun()
            require("could not be read" in alerts(visitor), f"labels that are cut off: {alerts(visitor)!r}")
        require_no_traceback(server)


async def sessions_break_off(folder: Path) -> None:
    """Visitors who leave or reload in the middle of a run; those who come after find a working page."""
    with serve(folder) as server:
        for wait in (0.0, 0.1, 0.3, 1.0, 2.0):
            async with Visitor(server.address) as visitor:
                running = asyncio.create_task(visitor.rerun())
                await asyncio.sleep(wait)
                running.cancel()
        async with Visitor(server.address) as visitor:
            await visitor.rerun()
            visitor.component("dnl_lens")
        require_no_traceback(server)


async def server_is_killed(folder: Path) -> None:
    """SIGKILL in mid-run; started again, it serves at once, and leaves no temporary files of its own."""
    port = free_port()
    with serve(folder, port) as server:
        async with Visitor(server.address) as visitor:
            running = asyncio.create_task(visitor.rerun())
            await asyncio.sleep(1)
            server.process.kill()
            running.cancel()
    with serve(folder, port) as server:
        async with Visitor(server.address) as visitor:
            await visitor.rerun()
            visitor.component("dnl_lens")


# --- on a full disk --------------------------------------------------------------------------------------------------


def on_full_disk(disk: Path, size: str, arguments: list[str]) -> subprocess.CompletedProcess:
    """Run `python -m …` with a tmpfs of `size` mounted at `disk`; what is left there is listed as its last line."""
    script = f'mount -t tmpfs -o size={size} tmpfs "$0" && "$@"; code=$?; echo; ls -A1 "$0" | tr "\\n" " "; exit $code'
    prefix = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    return subprocess.run(
        [*prefix, "sh", "-c", script, str(disk), sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


def require_refusal(what: str, done: subprocess.CompletedProcess, *left: str) -> None:
    """It failed in a sentence that names the disk, and no file but those of `left` is there."""
    words = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
    require(done.returncode == 1 and "No space left" in words, f"{what}: exit {done.returncode}, {done.stderr[-2000:]}")
    require("Traceback" not in done.stderr, f"{what}: {done.stderr}")
    found = set(done.stdout.strip().splitlines()[-1].split()) if done.stdout.strip() else set()
    require(found <= set(left), f"{what} left {found - set(left)} behind")


async def disk_is_full(folder: Path) -> None:
    """Training, evaluating, figures, reports and captures on a disk without room."""
    disk, data = folder / "disk", folder / "camvid"
    disk.mkdir()
    make_data(data)
    small_checkpoint(folder / "small.safetensors", 0)
    run_files = ("environment.json", "seeds.json", "config.json", "metrics.jsonl", "curves.csv")
    sets = [part for setting in (*SETTINGS, "epochs=2") for part in ("--set", setting)]
    train = ["dnl.train", "--recipe", "camvid_dnl", "--data", str(data), "--out", str(disk), *sets]
    require_refusal("training", on_full_disk(disk, "64k", train), *run_files)
    scores = ["dnl.evaluate", "--checkpoint", str(folder / "small.safetensors"), "--dataset", "camvid"]
    scores += ["--data", str(data), "--json", str(disk / "scores.json")]
    # Smaller than a page there is nothing to mount: the disk is filled first.
    recipe = {
        "checkpoints": [{"name": str(folder / "small.safetensors")}],
        "rows": [{"image": STREET, "pixel": [9, 9]}],
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    figure = ["analysis.figures", str(folder / "recipe.json"), str(disk / "figure.png")]
    require_refusal("a figure", on_full_disk(disk, "8k", figure))
    report = ["analysis.report", "--checkpoint", str(folder / "small.safetensors"), "--dataset", "camvid"]
    report += ["--data", str(data), "--out", str(disk), "--workers", "1"]
    require_refusal("a report", on_full_disk(disk, "8k", report), "records")
    full = on_full_disk(disk, "4k", ["tests.soak.faults", "--fill", str(disk), "--", *scores])
    require_refusal("scores", full, "filler")
    require("mIoU" in full.stdout, "the scores were lost with the file")


STREET = {"source": "street", "index": 0}


def fill_and_run(disk: Path, arguments: list[str]) -> int:
    """Fill the disk to its last byte, then run `python -m …`."""
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT).returncode


def killed_while_writing(folder: Path) -> None:
    """SIGKILL at random moments of saving the same checkpoint again and again: it is whole each time."""
    path = folder / "small.safetensors"
    small_checkpoint(path, 0)
    script = f"from tests.soak.faults import *\nwhile True: small_checkpoint(Path({str(path)!r}), 1)"
    for wait in (3.0, 3.3, 3.7, 4.1, 4.6):
        process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
        time.sleep(wait)
        process.kill()
        process.wait()
        load_checkpoint(path)


FAULTS = {
    fault.__name__: fault
    for fault in (checkpoint_taken_away, data_folder_vanishes, sessions_break_off, server_is_killed, disk_is_full)
} | {"killed_while_writing": killed_while_writing}


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults under a running app or command.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAULTS)}; all if none is given")
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        return fill_and_run(options.fill, options.names)
    failures = 0
    for name in options.names or FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = FAULTS[name](Path(folder))
                if asyncio.iscoroutine(result):
                    asyncio.run(result)
                print(f"{name}: survived", flush=True)
            except Exception as error:
                failures += 1
                print(f"{name}: {type(error).__name__}: {error}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
