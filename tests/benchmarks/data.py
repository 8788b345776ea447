"""The workload of the benchmarks: a seeded log of predictions and a log of their labels, in random order."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np

MODELS, VERSIONS = ("churn", "fraud", "ranker"), ("v1.4.2", "v1.5.0")


def write(folder: Path, rows: int, seed: int = 7) -> None:
    """Write predictions.jsonl (153 bytes a row) and labels.jsonl (77 bytes a row) unless they are there."""
    done = folder / f"{rows}.rows"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    ids = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(rows)]
    time = np.round(1_735_689_600 + np.cumsum(rng.exponential(0.01, rows)), 3).tolist()
    truth = (rng.random(rows) < 0.3).astype(int)
    score = np.round(np.where(truth == 1, rng.beta(4, 2, rows), rng.beta(2, 4, rows)), 6)
    predicted = (score > 0.5).astype(int).tolist()
    latency = np.round(rng.lognormal(2.5, 0.6, rows), 3).tolist()
    model, version = rng.integers(0, 3, rows).tolist(), rng.integers(0, 2, rows).tolist()
    with (folder / "predictions.jsonl").open("w") as file:
        for i, (one, proba) in enumerate(zip(ids, score.tolist(), strict=True)):
            file.write(
                f'{{"ts":{time[i]},"id":"{one}","model":"{MODELS[model[i]]}","version":"{VERSIONS[version[i]]}",'
                f'"prediction":{predicted[i]},"score":{proba},"latency_ms":{latency[i]}}}\n'
            )
    with (folder / "labels.jsonl").open("w") as file:
        file.writelines(
            f'{{"id":"{ids[i]}","label":{truth[i]},"ts":{time[i] + 3600:.3f}}}\n'
            for i in rng.permutation(rows).tolist()
        )
    done.touch()


CONFIG = """\
models:
  bench:
    task: binary
    positive: "1"
    classes: ["0", "1"]
    predictions:
      files: {{path: {folder}/predictions.jsonl}}
      fields: {{id: id, time: ts, model: model, version: version, predicted: prediction, score: score,
               latency: {{field: latency_ms, unit: ms}}}}
    labels:
      files: {{path: {folder}/labels.jsonl}}
      fields: {{id: id, time: ts, actual: label}}
    horizon: 30d
    windows: [1h, 24h, last 1000]
"""
