"""Record what NannyML's CBPE estimates for the data sets that come with it: tests/data/nannyml/*.json.

    python -m venv /tmp/nannyml && /tmp/nannyml/bin/pip install nannyml==0.13.1 statsmodels
    NML_DISABLE_USAGE_LOGGING=1 /tmp/nannyml/bin/python tests/longer/record_nannyml.py

In an environment of its own, because it brings a hundred packages.  Scores of these sets have two decimals, so that
rows are recorded without a loss as counts: of the reference by [100 * score, predicted, actual], of the chunks that
are estimated by [chunk, 100 * score, predicted, actual].
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nannyml
import numpy as np

FOLDER = Path(__file__).parents[1] / "data" / "nannyml"
MEASURES = ["accuracy", "precision", "recall", "f1", "roc_auc"]
CHUNK = 5000
SETS = {
    "car_loan": (nannyml.load_synthetic_car_loan_dataset, "repaid"),
    "work_home": (nannyml.load_synthetic_binary_classification_dataset, "work_home_actual"),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, (load, actual) in SETS.items():
        reference, analysis, targets = load()
        for rows in (reference, analysis):
            if "y_pred" not in rows:
                rows["y_pred"] = (rows["y_pred_proba"] >= 0.5).astype(int)
        estimator = nannyml.CBPE(
            problem_type="classification_binary",
            y_pred_proba="y_pred_proba",
            y_pred="y_pred",
            y_true=actual,
            metrics=MEASURES,
            chunk_size=CHUNK,
        )
        estimator.fit(reference)
        estimated = estimator.estimate(analysis).filter(period="analysis").to_df()
        recorded = {
            "nannyml": nannyml.__version__,
            "reference": _counts(reference, actual),
            "analysis": _counts(analysis.merge(targets, on="id"), actual, np.arange(len(analysis)) // CHUNK),
            "estimated": {one: estimated[one, "value"].round(7).tolist() for one in MEASURES},
        }
        text = json.dumps(recorded, separators=(",", ":")).replace('],"', '],\n"').replace("],[", "],\n[")
        (FOLDER / f"{name}.json").write_text(text + "\n")


def _counts(rows: Any, actual: str, *before: Any) -> list[list[int]]:
    score = np.rint(100 * rows["y_pred_proba"].to_numpy())
    assert np.allclose(score / 100, rows["y_pred_proba"])
    columns = np.stack([*before, score, rows["y_pred"], rows[actual]], axis=1).astype(int)
    found, count = np.unique(columns, axis=0, return_counts=True)
    return np.column_stack([found, count]).tolist()


if __name__ == "__main__":
    main()
