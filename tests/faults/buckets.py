"""An object store that is treated badly while renders run."""

import time
from random import Random

from tests.faults.ground import Ground, expect
from tests.faults.reading import attempts_of
from tests.faults.services import Load


def killed_while_storing(at: Ground, luck: Random) -> float:
    """Renders are accepted as before, wait with what they have made, and end well in the same attempt once it is back.

    Nothing is lost. Recovery is until the first has ended.
    """
    bodies = [at.body("medium", seed=at.seed(luck)) for _ in range(2)]
    expected = [at.undisturbed(body) for body in bodies]
    at.object_server.kill()
    at.afterwards(at.object_server.start)
    renders = []
    for body in bodies:
        renders.append(at.submit(body))
        at.reached(renders[-1], lambda body: body["phase"] == "storing", what="storing", seconds=40)
    with Load(at) as load:
        load.wait_for(accepted=4)
    expect(not load.wrong, f"requests were answered {load.wrong}")
    time.sleep(at.size(quick=0, full=8))
    at.object_server.start()
    back_at = time.time()
    attempts_of(at.ended(renders[0]), ["succeeded"])
    recovered = time.time() - back_at
    attempts_of(at.ended(renders[1]), ["succeeded"])
    for render_id, sha256 in zip(renders, expected, strict=True):
        at.same_video(render_id, sha256)
    at.ended(*load.accepted, seconds=60 + len(load.accepted))
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
