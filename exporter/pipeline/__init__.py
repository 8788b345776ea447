"""One cycle in, one snapshot out: what sources delivered is joined, counted, made durable and rendered."""

from exporter.pipeline.calibrating import Fit
from exporter.pipeline.cycle import CATALOGUE, Delivery, Pipeline
from exporter.pipeline.targets import Look

__all__ = ["CATALOGUE", "Delivery", "Fit", "Look", "Pipeline"]
