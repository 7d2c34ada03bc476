"""Models of which nobody has published how fast they are, so that nothing is known of what they cost."""


class NoEstimates:
    async def of(self, slug, model_version, shape=None):
        return {}


async def test_a_model_that_nobody_can_estimate_runs_where_the_fleet_says_first_and_costs_nobody_knows_what(open_house):
    async with open_house(estimates=NoEstimates()) as house:
        render = await house.finished(await house.create())
        assert render.status == "succeeded"
        assert (render.target.gpu_type, render.target.region) == ("H200", "eu-north2")
        assert render.estimated_cost_usd is None
