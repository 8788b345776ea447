"""The words every room speaks: clocks, specs, rows, metrics and snapshots.

Floor 0: imports nothing of this package but `errors`.  A *model* here is always a user's machine-learning
model; a *group* is one (model, version) pair, the unit that every metric series belongs to.
"""

from exporter.contracts.clocks import Clock, Deadline
from exporter.contracts.metrics import (
    Cells,
    Family,
    MetricSpec,
    Series,
)
from exporter.contracts.probes import Ending, Kind, Probe, Reading, Sight
from exporter.contracts.rows import (
    ABSENT,
    CHANGE,
    RECORD,
    UNKNOWN,
    Batch,
    Categorical,
    Codes,
    Cursor,
    Floats,
    Keys,
    Poll,
    Refusal,
    Refusals,
    Remembered,
    Scored,
    Source,
    Traffic,
)
from exporter.contracts.specs import (
    FieldSpec,
    MappingSpec,
    ModelSpec,
    WhereSpec,
    WindowSpec,
)
from exporter.contracts.status import (
    ModelStatus,
    ProbeStatus,
    Snapshot,
    SourceStatus,
    Status,
    VersionStatus,
    WindowStatus,
)

__all__ = [
    "ABSENT",
    "CHANGE",
    "RECORD",
    "UNKNOWN",
    "Batch",
    "Categorical",
    "Cells",
    "Clock",
    "Codes",
    "Cursor",
    "Deadline",
    "Ending",
    "Family",
    "FieldSpec",
    "Floats",
    "Keys",
    "Kind",
    "MappingSpec",
    "MetricSpec",
    "ModelSpec",
    "ModelStatus",
    "Poll",
    "Probe",
    "ProbeStatus",
    "Reading",
    "Refusal",
    "Refusals",
    "Remembered",
    "Scored",
    "Series",
    "Sight",
    "Snapshot",
    "Source",
    "SourceStatus",
    "Status",
    "Traffic",
    "VersionStatus",
    "WhereSpec",
    "WindowSpec",
    "WindowStatus",
]
