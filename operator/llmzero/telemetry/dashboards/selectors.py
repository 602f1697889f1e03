"""What the queries of a search's dashboards select by."""

from typing import Final

MINE: Final = 'namespace=~"$namespace",search=~"$search"'
BY: Final = "by (namespace, search)"
