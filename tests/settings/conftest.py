from tests.config.conftest import load, refuse  # noqa: F401  # fixtures
