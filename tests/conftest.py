"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# The same examples every time, however slow the machine is.
settings.register_profile(
    "forge", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("forge")
