"""RequestGuard: refuses a request that its provider would refuse, in its words, before it costs anything upstream.

`tables.py` and `other_tables.py` have what a request must be in each protocol, made of `checks.py`; `parameters.py` and
`messages.py` are those of chat completions, `anthropic.py` that of Anthropic's; `refusals.py` has OpenAI's messages.
"""

import msgspec

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError, invalid_type
from crplugins.core.exchange import Exchange
from crplugins.core.form_body import FormBody
from crplugins.core.plugin import Plugin
from crplugins.plugins.guard.checks import text_of
from crplugins.plugins.guard.refusals import missing, missing_any, only_allowed_with, shortened, unknown_parameter
from crplugins.plugins.guard.tables import RequestTable, table_of

Fields = dict[str, msgspec.Raw]


class RequestGuard(Plugin):
    """Checks types, ranges, enums and counts of every parameter of the schemas of OpenAI and Anthropic.

    What other providers may support is forwarded: unknown parameters, other types of tools and of content parts,
    messages without content. (A known one in disguise, `MODEL`, is refused before: see `core.request_json`.)

    Args:
        strict: refuse those too, as OpenAI and Anthropic do.
    """

    reads_body: bool = True

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._tables: dict[str, RequestTable] = {}

    def on_request(self, exchange: Exchange) -> None:
        body, dialect = exchange.body, exchange.dialect.name
        assert body is not None
        table = self._tables.get(dialect)
        if table is None:
            table = self._tables[dialect] = table_of(dialect, strict=self._strict)
        if not isinstance(body, FormBody):
            _check_content_type(exchange)
        fields = body.fields
        if table.attached:
            _check_attached(body, table.attached)
        _check_model(fields)
        try:
            self._check(fields, table)
        except GatewayError as error:
            raise table.reword(error) from None

    def _check(self, fields: Fields, table: RequestTable) -> None:
        for names in table.required:
            if fields.keys().isdisjoint(names):
                raise missing(names[0]) if len(names) == 1 else missing_any(names)
        if self._strict:
            _check_names(fields, table)
        if table.first is not None:
            table.first(fields["messages"])
        has_fault = False
        try:
            _check_values(fields, table)
        except GatewayError:  # not raised anew here: one error would hold the other, and a circle of all of the request
            has_fault = True
        if has_fault:  # of several faults the first in the order of the table is reported
            _check_values({name: fields[name] for name in table.checks if name in fields}, table)
        for name, other in table.only_with:
            if name in fields and bytes(fields[name]) != b"null" and bytes(fields.get(other, b"null")) != b"true":
                raise only_allowed_with(name, other)


def _check_values(fields: Fields, table: RequestTable) -> None:
    find = table.checks.get
    for name, value in fields.items():
        if (check := find(name)) is not None:
            check(name, bytes(value))


def _check_names(fields: Fields, table: RequestTable) -> None:
    for name in fields:
        if name not in table.checks and name != "model" and not (name == "messages" and table.first is not None):
            raise unknown_parameter(shortened(name))


def _check_attached(body: Body, names: tuple[str, ...]) -> None:
    """Who sends an address in place of a recording or a picture, as some providers take it, sends no file."""
    files = body.files if isinstance(body, FormBody) else []
    if not files and body.fields.keys().isdisjoint(names):
        raise missing(names[0] if isinstance(body, FormBody) else names[-1])


def _check_content_type(exchange: Exchange) -> None:
    """A missing content type counts as JSON: the body is parsed anyway."""
    kind = (exchange.header(b"content-type") or "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        message = "Unsupported Content-Type. This endpoint accepts 'application/json'; please send that header."
        raise GatewayError(415, message, code="unsupported_content_type")


def _check_model(fields: Fields) -> None:
    raw = bytes(fields.get("model", b"null"))
    if raw in (b"null", b'""'):
        raise GatewayError(400, "you must provide a model parameter")
    if raw[:1] != b'"':
        raise invalid_type("model", "a string", raw)
    text_of(raw)  # invalid text can be neither looked up nor recorded
