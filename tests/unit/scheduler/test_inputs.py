"""What is checked before a render is accepted."""

import math

import pytest

from services.chassis.errors import InvalidInput, Violation
from services.chassis.images import ImageRefused
from services.scheduler.domain.inputs import Rule, broken_rules, inputs_without_effect


async def violations(house, **body) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refused:
        await house.create(**body)
    return {v.field: v.description for v in refused.value.violations}


async def test_everything_that_is_wrong_is_said_at_once(open_house):
    async with open_house() as house:
        found = await violations(
            house,
            prompt="",
            width=100,
            num_frames=7.5,
            guidance_scale=math.nan,
            promt="a cat",
            gpu_type=3,
        )
        assert found == {
            "prompt": "must not be empty",
            "width": "must be a multiple of 64",
            "num_frames": "must be a whole number",
            "guidance_scale": "must be a finite number",
            "promt": "is not an input of this version; did you mean 'prompt'?",
            "gpu_type": "must be a non-empty string",
        }


@pytest.mark.parametrize(
    ("body", "field", "description"),
    [
        ({"prompt": None}, "prompt", "is required: Prompt"),
        ({"prompt": 5}, "prompt", "must be a string"),
        ({"prompt": "x" * 21}, "prompt", "must have at most 20 characters"),
        ({"width": 32}, "width", "must be at least 64"),
        ({"width": 2048}, "width", "must be at most 1024"),
        ({"width": "512"}, "width", "must be a whole number"),
        ({"width": True}, "width", "must be a whole number"),
        ({"guidance_scale": math.inf}, "guidance_scale", "must be a finite number"),
        ({"num_frames": 96}, "num_frames", "must be one more than a multiple of 4"),
        ({"num_frames": 121, "causal_block_size": 5}, "num_frames", "must fill its blocks"),
        ({"zzzz": 1}, "zzzz", "is not an input of this version; leave it out"),
        ({"prompt": {"a": [math.nan]}}, "prompt.a[0]", "must be a finite number"),
        ({"model": ""}, "model", "must be a non-empty string"),
        ({"request_id": "x" * 201}, "request_id", "must have at most 200 characters"),
    ],
)
async def test_each_wrong_input_is_named_with_its_remedy(open_house, body, field, description):
    async with open_house() as house:
        assert (await violations(house, **body))[field] == description


async def test_a_body_for_another_model_than_the_path_is_refused(open_house):
    async with open_house() as house:
        with pytest.raises(InvalidInput, match="must be 'beta' as in the path"):
            await house.assembly.scheduler.create(
                "ann", {"model": "alpha", "prompt": "x"}, path_slug="beta", idempotency_key=None
            )


async def test_what_was_left_out_is_filled_in_and_whole_numbers_are_whole(open_house):
    async with open_house() as house:
        render = await house.create(width=64.0)
        inputs = await house.store.inputs(render.id)
        assert inputs == {
            "prompt": "a cat",
            "width": 64,
            "num_frames": 97,
            "guidance_scale": 6.0,
            "seed": render.seed,
        }
        assert isinstance(inputs["width"], int)


async def test_a_seed_is_kept_or_drawn(open_house):
    async with open_house() as house:
        assert (await house.create(seed=17)).seed == 17
        drawn = {(await house.create()).seed for _ in range(3)}
        assert len(drawn) == 3


async def test_an_input_without_effect_is_listed_in_the_warnings(open_house):
    async with open_house() as house:
        render = await house.create(negative_prompt="blur")
        assert render.warnings == ("'negative_prompt' has no effect: this pipeline reads none",)


@pytest.mark.parametrize(
    ("rule", "inputs", "holds"),
    [
        (("at_most_field", "low", "high"), {"low": 1, "high": 1}, True),
        (("at_most_field", "low", "high"), {"low": 2, "high": 1}, False),
        (("less_than_field", "low", "high"), {"low": 1, "high": 1}, False),
        (("required_when_greater", "overlap", "frames", "base"), {"frames": 97, "base": 97}, True),
        (("required_when_greater", "overlap", "frames", "base"), {"frames": 101, "base": 97}, False),
        (("required_when_greater", "overlap", "frames", "base"), {"frames": 101, "base": 97, "overlap": 17}, True),
        (("required_with", "ar_step", "block"), {"ar_step": 0}, True),
        (("required_with", "ar_step", "block"), {"ar_step": 5}, False),
        (("required_with", "ar_step", "block"), {"ar_step": 5, "block": 5}, True),
        (("mode_fits", "mode", "lag", "block"), {"lag": 5, "block": 5}, True),
        (("mode_fits", "mode", "lag", "block"), {"mode": "causal", "lag": 0, "block": 5}, True),
        (("mode_fits", "mode", "lag", "block"), {"mode": "causal", "lag": 0, "block": 1}, False),
        (("mode_fits", "mode", "lag", "block"), {"mode": "causal", "lag": 0}, False),
        (("mode_fits", "mode", "lag", "block"), {"mode": "sync", "lag": 0}, True),
        (("mode_fits", "mode", "lag", "block"), {"mode": "sync", "lag": 1}, False),
        (("mode_fits", "mode", "lag", "block"), {"mode": "sync", "lag": 0, "block": 5}, False),
        (("mode_fits", "mode", "lag", "block"), {"mode": "async_full", "lag": 5, "block": 5}, True),
        (("mode_fits", "mode", "lag", "block"), {"mode": "async_full", "lag": 0}, False),
        (("fills_blocks", "frames", "block"), {"frames": 97, "block": 5}, True),
        (("fills_blocks", "frames", "block"), {"frames": 121, "block": 5}, False),
        (("fills_blocks", "frames", "block"), {"frames": 97}, True),
        (("windows_fill_blocks", "n", "w", "o", "b"), {"n": 97, "w": 97, "o": 16, "b": 5}, True),
        (("windows_fill_blocks", "n", "w", "o", "b"), {"n": 257, "w": 97, "o": 17, "b": 5}, True),
        (("windows_fill_blocks", "n", "w", "o", "b"), {"n": 257, "w": 97, "o": 37, "b": 4}, False),
        (("four_k_plus_one", "frames"), {"frames": 1}, True),
        (("four_k_plus_one", "frames"), {"frames": 25}, True),
        (("four_k_plus_one", "frames"), {"frames": 24}, False),
    ],
)
def test_rules_over_several_fields(rule, inputs, holds):
    kind, *fields = rule
    found = broken_rules([Rule(kind, tuple(fields), "text")], inputs)
    assert found == ([] if holds else [Violation(fields[0], "text")])


@pytest.mark.parametrize(
    ("rule", "given", "warned"),
    [
        (("when_greater", "noise", "frames", "base"), {"noise": 20, "frames": 97, "base": 97}, True),
        (("when_greater", "noise", "frames", "base"), {"noise": 20, "frames": 101, "base": 97}, False),
        (("when_greater", "noise", "frames", "base"), {"noise": 0, "frames": 97, "base": 97}, False),
        (("when_greater", "noise", "frames", "base"), {"frames": 97, "base": 97}, False),
        (("when_guided", "noise", "guidance"), {"noise": 20, "guidance": 1}, True),
        (("when_guided", "noise", "guidance"), {"noise": 20, "guidance": 6}, False),
    ],
)
def test_an_input_that_changes_nothing_beside_the_others_is_warned_of(rule, given, warned):
    kind, *fields = rule
    warnings = inputs_without_effect(
        [Rule(kind, tuple(fields), "changes nothing")], given, given, {"noise": {"default": 0}}
    )
    assert warnings == (("'noise' has no effect: changes nothing",) if warned else ())


async def test_an_image_that_cannot_be_used_is_named_like_any_other_input(open_house):
    async with open_house() as house:
        found = await violations(house, image="https://example.org/cat.png", width=1)
        assert found == {"image": "must be a data URI: data:image/png;base64,…", "width": "must be at least 64"}


async def test_a_render_keeps_the_image_itself_in_place_of_what_named_it(open_house):
    class Elsewhere:
        """Has one image for one account."""

        async def resolved(self, value, account):
            if (value, account) != ("forge-upload://upl_1", "ann"):
                raise ImageRefused("names an upload that is not there")
            return "data:image/png;base64,AAAA"

    async with open_house(images=Elsewhere()) as house:
        render = await house.create(image="forge-upload://upl_1")
        assert (await house.store.inputs(render.id))["image"] == "data:image/png;base64,AAAA"
        assert "image" not in render.shape
        found = await violations(house, image="forge-upload://upl_2", width=1)
        assert found == {"image": "names an upload that is not there", "width": "must be at least 64"}
