"""From the config of a stream to the source that reads it."""

from __future__ import annotations

from collections.abc import Callable

from exporter import plugins
from exporter.config.resolved import ModelConfig, Stream
from exporter.contracts import Clock, Source
from exporter.sources.mapping import Mapper


def source(
    stream: Stream,
    model: ModelConfig,
    clock: Clock,
    *,
    keep_ids: bool = False,
    in_memory: bool = False,
    mapping: Callable[..., Mapper] = Mapper,
) -> Source:
    """The source of *stream*, ready to be polled.

    *keep_ids* keeps the texts of ids in its batches, *in_memory* tells that no cursor outlives this process, and
    *mapping* makes what turns records into rows.
    """
    scoped = model.labels is not None and "model" in model.labels.mapping.fields
    mapper = mapping(stream.mapping, model.spec, clock, keep_ids, scope_by_model=scoped)
    kind = plugins.source(stream.kind)
    name = f"{model.spec.name}/{stream.mapping.role}"
    built: Source = kind(stream.source, mapper, name=name, clock=clock, lookback=stream.first(in_memory=in_memory))
    return built
