"""The dashboards are of the form that Grafana 11 to 13 read; the SDK, when imported, recommends the next one."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import grafana.source.files  # noqa: F401
