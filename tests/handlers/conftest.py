from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest
from starlette.types import ASGIApp

from crplugins.cli.bounds import Bounds
from crplugins.cli.connections import BoundedHTTP, OpenConnections
from tests import gateway_setup
from tests.conftest import Serve, serving

BOUNDS = Bounds(head_bytes=65536, head_seconds=60, body_seconds=60, connections=1000)


def pushing(app: ASGIApp, **options: Any) -> AbstractAsyncContextManager[str]:
    """`serving` with the connections of `crplugins serve`, to which streams are pushed; to uvicorn's own they are sent."""
    return serving(app, http=partial(BoundedHTTP, connections=OpenConnections(BOUNDS)), **options)


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Serve:
    """uvicorn, or the server of `crplugins serve` where a test asks for `pushing`."""
    return pushing if getattr(request, "param", "sending") == "pushing" else serving


@pytest.fixture
def behind(serve: Any) -> gateway_setup.Behind:
    return gateway_setup.behind(serve)
