"""An object store that is treated badly while renders run."""

import time
from random import Random

from tests.faults.ground import Ground, expect
from tests.faults.outages import stored_late
from tests.faults.reading import attempts_of
from tests.faults.services import Load


def killed_while_storing(at: Ground, luck: Random) -> float:
    """Renders are accepted as before, wait with what they have made, and end well in the same attempt once it is back.

    Nothing is lost. Recovery is until the first has ended.
    """
    accepted: list[str] = []

    def meanwhile() -> None:
        with Load(at) as load:
            load.wait_for(accepted=4)
        expect(not load.wrong, f"requests were answered {load.wrong}")
        accepted.extend(load.accepted)
        time.sleep(at.size(quick=0, full=8))

    server = at.object_server
    recovered = stored_late(at, luck, hurt=server.kill, meanwhile=meanwhile, heal=server.start)
    at.ended(*accepted, seconds=60 + len(accepted))
    return recovered


def refuses_half(at: Ground, luck: Random) -> None:
    """Every other request to it is answered 503. A render whose worker is killed goes on and makes the same video.

    Nothing is lost.
    """
    body = at.body("long", seed=at.seed(luck))
    expected = at.undisturbed(body)
    at.afterwards(at.spoiler.nothing)
    before = at.spoiler.refused
    at.spoiler.refuse(50)
    running = at.submit(body)
    at.denoising(running, 0.6)
    others = [at.submit(at.body("small", seed=seed)) for seed in range(at.size(quick=2, full=20))]
    at.kill(at.worker_of(running))
    attempts_of(at.ended(running), ["lost", "succeeded"])
    at.same_video(running, expected)
    at.ended(*others)
    expect(at.spoiler.refused > before, "nothing was refused")


def slow(at: Ground, luck: Random) -> None:
    """Every request to it takes a second and a half. Steps take as long as before: nothing waits but the last file.

    Nothing is lost.
    """
    body = at.body("long", seed=at.seed(luck))
    expected = at.undisturbed(body)
    usual = at.ended(at.submit(body))["timing"]["denoise_ms"]
    at.afterwards(at.spoiler.nothing)
    at.spoiler.delay(100)
    ended = at.ended(at.submit(body))
    attempts_of(ended, ["succeeded"])
    took = ended["timing"]["denoise_ms"]
    at.remarks.append(f"denoising took {took / usual:.2f} of what it usually takes")
    expect(took < usual + 1_000, f"denoising took {took} ms, and usually {usual} ms")
    at.same_video(ended["id"], expected)
