"""The process that decodes images is alone, limited, and replaced when it fails."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.errors import CannotThumbnail, Unavailable
from homeserver.model.media import Method, Shape
from homeserver.services.media import imaging
from homeserver.services.media.imaging import Imager
from tests.support.media import encoded, picture
from tests.support.waiting import until

SMALL = Shape(32, 32, Method.CROP)


@pytest.fixture
async def imager() -> AsyncIterator[Imager]:
    """A process for images up to a million pixels, not yet started."""
    made = Imager(1_000_000)
    yield made
    await made.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A picture on disk."""
    path = tmp_path / "image"
    path.write_bytes(encoded(picture()))
    return path


def alive(process_id: int) -> bool:
    """Whether a process is there."""
    return Path(f"/proc/{process_id}").exists()


async def test_the_process_starts_when_it_is_needed_and_stays(imager: Imager, image: Path) -> None:
    assert imager.process_id is None
    await imager.render(image, SMALL)
    first = imager.process_id
    await imager.render(image, SMALL)
    assert imager.process_id == first is not None


async def test_a_process_that_dies_is_replaced(imager: Imager, image: Path) -> None:
    await imager.render(image, SMALL)
    first = imager.process_id
    assert first is not None
    os.kill(first, signal.SIGKILL)
    # Whether it was noticed before or only now, one job later all is well.
    try:
        await imager.render(image, SMALL)
    except CannotThumbnail:
        await imager.render(image, SMALL)
    assert imager.process_id != first


async def test_a_job_that_takes_too_long_is_given_up_and_its_process_ended(tmp_path: Path, image: Path) -> None:
    imager = Imager(1_000_000, budget_seconds=0.5)
    # Opening it waits for a writer who never comes.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    try:
        task = asyncio.create_task(imager.render(pipe, SMALL))
        await until(lambda: imager.process_id is not None)
        stuck = imager.process_id
        assert stuck is not None
        with pytest.raises(CannotThumbnail):
            await task
        assert not alive(stuck)
        assert imager.process_id is None
        imager._budget = 30
        assert (await imager.render(image, SMALL)).content_type == "image/jpeg"
    finally:
        await imager.close()


async def test_a_process_that_has_done_much_is_replaced(
    imager: Imager, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imaging, "JOBS_A_PROCESS", 2)
    await imager.render(image, SMALL)
    first = imager.process_id
    assert first is not None
    await imager.render(image, SMALL)
    assert not alive(first)
    await imager.render(image, SMALL)
    assert imager.process_id not in (None, first)


async def test_a_process_without_work_is_ended(imager: Imager, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaging, "IDLE_SECONDS", 0.05)
    await imager.render(image, SMALL)
    await until(lambda: imager.process_id is None)
    await imager.render(image, SMALL)


async def test_a_cancelled_job_leaves_nothing_to_be_mistaken_for_the_next(
    imager: Imager, image: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    task = asyncio.create_task(imager.render(pipe, SMALL))
    await until(lambda: imager.process_id is not None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert imager.process_id is None
    assert (await imager.render(image, SMALL)).data is not None


async def test_closing_ends_the_process(image: Path) -> None:
    imager = Imager(1_000_000)
    await imager.render(image, SMALL)
    process_id = imager.process_id
    assert process_id is not None
    await imager.close()
    assert not alive(process_id)


async def test_the_process_knows_no_secrets_and_has_limits(
    imager: Imager, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISTHMUS_REGISTRATION__SHARED_SECRET", "tell nobody")
    await imager.render(image, SMALL)
    process = Path(f"/proc/{imager.process_id}")
    assert b"tell nobody" not in (process / "environ").read_bytes()
    limits = (process / "limits").read_text()
    for name in ("Max address space", "Max cpu time", "Max file size"):
        line = next(line for line in limits.splitlines() if line.startswith(name))
        assert line[len(name) :].split()[0] != "unlimited", line
    # No files of the server are open in it: only its pipes and what swallows its output.
    opened = {os.readlink(link) for link in (process / "fd").iterdir()}
    assert all(target.startswith(("pipe:", "socket:", "/dev/null")) for target in opened), opened


async def test_memory_is_limited(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = image.with_name("greedy.py")
    text = imaging.SCRIPT.read_text(encoding="utf-8")
    script.write_text(
        text.replace("        image.load()  # to see", "        bytes(10**10)  # to see"), encoding="utf-8"
    )
    assert script.read_text(encoding="utf-8") != text
    monkeypatch.setattr(imaging, "SCRIPT", script)
    imager = Imager(1_000_000)
    try:
        with pytest.raises(CannotThumbnail):
            await imager.render(image, Shape(0, 0, Method.SCALE))
    finally:
        await imager.close()


async def test_a_full_queue_takes_no_more(imager: Imager, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaging, "MOST_WAITING", 2)
    waiting = [asyncio.create_task(imager.render(image, SMALL)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await imager.render(image, SMALL)
    await asyncio.gather(*waiting)
