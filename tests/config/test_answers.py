"""How long a deployment may take can be written for it, for its entry and for all, in our words and LiteLLM's."""

import pytest

from crplugins.handlers.deadlines import NO_DEADLINES, Deadlines
from tests.config.conftest import Load, Refuse

MODEL = "model_list: [{model_name: m, litellm_params: {model: openai/m, api_key: sk%s}%s}]\n"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (MODEL % (", timeout: 9", ""), Deadlines(9)),
        (MODEL % (", timeout: null", ""), NO_DEADLINES),
        (MODEL % (", request_timeout: 9", ""), Deadlines(9)),
        (MODEL % (", request_timeout: 9, timeout: 8", ""), Deadlines(8)),
        (MODEL % (", stream_timeout: 3, stall_timeout: 4", ""), Deadlines(first_token_of_stream=3, stall=4)),
        (MODEL % ("", ", first_token_timeout: 3"), Deadlines(first_token=3)),
        (MODEL % (", timeout: 9, stall_timeout: 4", ", timeout: 7"), Deadlines(7, stall=4)),
        (MODEL % ("", "") + "timeout: 60\nstall_timeout: 5\n", Deadlines(60, stall=5)),
        (MODEL % (", timeout: 9", "") + "timeout: 60\nfirst_token_timeout: 5\n", Deadlines(9, first_token=5)),
        (MODEL % ("", "") + "router_settings: {timeout: 60, stream_timeout: 5}\n", Deadlines(60, None, 5)),
        (MODEL % ("", "") + "litellm_settings: {request_timeout: 60}\n", Deadlines(60)),
        (
            MODEL % ("", "") + "litellm_settings: {request_timeout: 60}\nrouter_settings: {timeout: 50}\n",
            Deadlines(50),
        ),
        (MODEL % ("", "") + "request_timeout: 40\nrouter_settings: {timeout: 50}\n", Deadlines(40)),
        (MODEL % ("", "") + "timeout: 40\nrouter_settings: {timeout: 50}\n", Deadlines(40)),
        (MODEL % ("", "") + "router_settings: {timeout: os.environ/SECONDS}\n", Deadlines(50)),
    ],
)
def test_the_word_that_is_nearest_to_a_deployment_counts(load: Load, text: str, meant: Deadlines) -> None:
    config = load(text, {"SECONDS": "50"})
    (deployment,) = config.deployments()
    assert deployment.deadlines == meant
    assert deployment.parameters == {}
    assert all(warning.endswith("says the same") for warning in config.warnings)


@pytest.mark.parametrize("seconds", ["-1", "true", "[30]"])
def test_what_is_no_time_in_a_section_of_litellm_is_named_and_stops_nothing(load: Load, seconds: str) -> None:
    config = load(MODEL % ("", "") + f"router_settings: {{timeout: {seconds}}}\n")
    assert config.deployments()[0].deadlines == NO_DEADLINES
    assert config.warnings == ("router_settings.timeout is ignored: it is no number of seconds",)


@pytest.mark.parametrize("seconds", ["0", "-1", ".inf", ".nan", "1e30", "true", "soon"])
@pytest.mark.parametrize("name", ["timeout", "first_token_timeout", "stall_timeout", "stream_timeout"])
def test_what_is_no_time_is_refused_by_its_name(refuse: Refuse, name: str, seconds: str) -> None:
    (line,) = refuse(MODEL % (f", {name}: {seconds}", ""))
    assert f"model_list[0].litellm_params.{name}: must be " in line
