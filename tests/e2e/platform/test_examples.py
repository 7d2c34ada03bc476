"""The example requests of the models, at their full size, through the whole platform."""

import pytest

SVD = "stabilityai-stable-video-diffusion"
SKYREELS = "skywork-skyreels-v2"
WAN = "wan-ai-wan-2-1"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slug", "expected", "steps"),
    [(SVD, (25, 1024, 576, 7.0), 25), (SKYREELS, (97, 960, 544, 24.0), 40), (WAN, (81, 832, 480, 16.0), 50)],
)
def test_the_example_as_it_stands_becomes_its_video(platform, rest, followed, facts, slug, expected, steps):
    response = rest.post(f"/v1/inference/{slug}", json=platform.example(slug))
    assert response.status_code == 200, response.text
    render = response.json()
    assert render["status"] == "succeeded", render
    assert (render["progress"]["done_steps"], render["progress"]["total_steps"]) == (steps, steps)
    video = rest.get(render["output"]["video_url"])
    assert video.headers["content-type"] == "video/mp4"
    assert len(video.content) == render["output"]["size_bytes"]
    assert facts(video.content) == expected
    output = render["output"]
    assert (output["num_frames"], output["width"], output["height"], output["fps"]) == expected
    warned = " ".join(render["warnings"])
    if slug == SVD:
        assert "'prompt' has no effect" in warned
        assert "aspect" in warned
    elif slug == SKYREELS:
        assert "'addnoise_condition' has no effect" in warned
    if slug == WAN:
        assert "estimated_cost_usd" not in render, "nobody has published how fast it is"
    else:
        assert render["estimated_cost_usd"] > 0
    events = followed(render["id"])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    reported = {event["progress"]["done_steps"] for event in events if event["phase"] == "denoising"}
    assert reported >= set(range(1, steps + 1)), "every real step is an event"
    fractions = [event["progress"]["fraction"] for event in events]
    assert fractions == sorted(fractions)
    phases = list(dict.fromkeys(event["phase"] for event in events))
    assert phases[-6:] == ["encoding", "denoising", "decoding", "muxing", "storing", "done"]
