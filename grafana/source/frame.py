"""What both dashboards share: variables, annotations, links, and how they open."""

from collections.abc import Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models import dashboard as models

from crplugins.plugins.metrics.limits import KEY_INFO
from crplugins.plugins.metrics.table import BUILD_INFO, DURATION, REQUESTS
from grafana.source.objectives import FIRST_TOKEN_CHOICES, FIRST_TOKEN_SECONDS, bound
from grafana.source.panels import SOURCE, Link
from grafana.source.queries import Scope

TAG: Final = "crplugins"
OVERVIEW_UID: Final = "crplugins-overview"
KEYS_UID: Final = "crplugins-keys"

SELECTED: Final = Scope({"job": 'job=~"$job"', "model": 'model=~"$model"', "key_id": 'key_id=~"$key_id"'})
"""What the variables leave to see."""

_PLACE: Final = "${__url_time_range}&${datasource:queryparam}&${job:queryparam}"
ONLY_THIS_MODEL: Final = Link("Only this model", f"/d/{OVERVIEW_UID}?{_PLACE}&var-model=${{__value.raw}}")
ONLY_THIS_KEY: Final = Link("Only this key", f"/d/{KEYS_UID}?{_PLACE}&var-key_id=${{__value.raw}}")
THIS_KEY: Final = Link("This key", f"/d/{KEYS_UID}?{_PLACE}&var-key_id=${{__field.labels.key_id}}")

EVERYTHING: Final = ".+"

_JOB = Scope({"job": 'job=~"$job"'})
_JOB_MODEL = Scope({"job": 'job=~"$job"', "model": 'model=~"$model"'})

Row = tuple[str, Sequence[Any]]


def dashboard(
    title: str, uid: str, description: str, variables: Sequence[Any], rows: Sequence[Row]
) -> models.Dashboard:
    """Panels are numbered in reading order, so that a changed one changes no other."""
    board = (
        builders.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(_links())
        .annotation(_firing())
        .annotation(_restarts())
    )
    for variable in variables:
        board.with_variable(variable)
    for name, panels in rows:
        board.with_row(builders.Row(name))
        for panel in panels:
            board.with_panel(panel)
    built = board.build()
    for number, panel in enumerate(built.panels or (), 1):
        panel.id_val = number
    for shown in (*(built.links or ()), *((built.annotations and built.annotations.list_val) or ())):
        shown.placement = None  # the SDK's default hides them in a menu
    return built


def datasource() -> Any:
    return builders.DatasourceVariable("datasource").label("Data source").type("prometheus")


def job() -> Any:
    return _choice("job", "Job", f"label_values({BUILD_INFO.name}, job)", EVERYTHING)


def model() -> Any:
    return _choice("model", "Model", f"label_values({_JOB.select(DURATION, suffix='_count')}, model)", EVERYTHING)


def key() -> Any:
    return _choice("key_id", "Key", f"label_values({_JOB_MODEL.select(REQUESTS)}, key_id)", EVERYTHING)


def team() -> Any:
    """All is also the keys without a team, and gateways that do not tell teams."""
    return _choice("team", "Team", f"label_values({_JOB.select(KEY_INFO)}, team)", ".*")


def key_of_team() -> Any:
    """Keys of the chosen teams. All is just these: hence no value of its own for it.

    Requests have no team, and so are only found where all teams are.
    """
    names = f'__name__=~"{KEY_INFO.name}|{REQUESTS.name}"'
    return _choice("key_id", "Key", f'label_values({{{names},job=~"$job",team=~"$team"}}, key_id)', None)


def first_token() -> Any:
    """Bounds of the histogram's buckets: between them nothing is known."""
    choices = [bound(seconds) for seconds in FIRST_TOKEN_CHOICES]
    chosen = bound(FIRST_TOKEN_SECONDS)
    return (
        builders.CustomVariable("ttft_slo")
        .label("First token within (s)")
        .values(",".join(choices))
        .options([_option(choice, chosen=choice == chosen) for choice in choices])
        .current(_option(chosen, chosen=True))
    )


def _choice(name: str, label: str, query: str, everything: str | None) -> Any:
    """Asked anew whenever the time range changes, as keys and models come and go."""
    variable = (
        builders.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": f"variable-{name}"})
        .definition(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )
    return variable if everything is None else variable.all_value(everything)


def _option(value: str, *, chosen: bool) -> models.VariableOption:
    return models.VariableOption(selected=chosen, text=value, value=value)


def _links() -> Any:
    return (
        builders.DashboardLink("crplugins")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )


def _firing() -> Any:
    expr = 'ALERTS{alertname=~"Crplugins.+",alertstate="firing",job=~"$job"}'
    return _annotation("Alerts", "red", expr, "{{alertname}}", "{{severity}} {{model}} {{key_id}} {{provider}}")


def _restarts() -> Any:
    expr = f"max by (job, instance) (resets({_JOB.select(REQUESTS)}[1m])) > 0"
    return _annotation("Restarts", "blue", expr, "restart", "{{instance}}")


def _annotation(name: str, color: str, expr: str, title: str, text: str) -> Any:
    return (
        builders.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(enable=True)
        .icon_color(color)
        .expr(expr)
        .target(prometheus.Dataquery().expr(expr).ref_id("Anno").range())
        .title_format(title)
        .text_format(text)
        .step("30s")
    )
