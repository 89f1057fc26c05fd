import os

from hypothesis import HealthCheck, settings

# HYPOTHESIS_PROFILE=long looks harder. No deadline: machines are busy, and each example is bounded anyway.
# The autouse fixtures of the test suite hold nothing that an example could change.
settings.register_profile(
    "default", max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("long", settings.get_profile("default"), max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
