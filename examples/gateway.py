"""A gateway in ten lines: `uvicorn gateway:app --port 4000`, then ask it with the OpenAI SDK."""

import os

from crplugins import Gateway

app = Gateway(
    model_list=[{"model_name": "echo", "litellm_params": {"model": "demo/echo"}}],
    keys=[{"id": "team-a", "secret": os.environ.get("TEAM_A_KEY", "sk-team-a-change-me")}],
)
