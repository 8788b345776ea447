"""What must survive a kill: `State` is the store, `Table` the remembered rows in it."""

from exporter.state.store import UNDECODABLE, State
from exporter.state.table import Table

__all__ = ["UNDECODABLE", "State", "Table"]
