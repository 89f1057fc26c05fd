"""Every metric that dashboards and rules may name: the two tables of the code."""

from typing import Final

from crplugins.plugins.metrics.limits import LIMITS_TABLE
from crplugins.plugins.metrics.table import TABLE

SPECS: Final = (*TABLE, *LIMITS_TABLE)
