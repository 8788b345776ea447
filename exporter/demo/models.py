"""The demo's models, one of each task, trained on data sets that scikit-learn brings along.

Half of each data set trains two versions, the other half is what they are asked about.  Everything that they can
ever answer is known before the first request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.demo import patients
from exporter.demo.traffic import BACKLOG, RATE, Request

PREDICTIONS = "predictions.jsonl"
CANCER, DIABETES, WINE, TRAITS, SEARCH = "breast-cancer", "diabetes", "wine", "digit-traits", "digit-search"
DIAGNOSES = ("benign", "malignant")
CULTIVARS = ("barolo", "grignolino", "barbera")
TRAITS_OF_DIGITS = {
    "even": {0, 2, 4, 6, 8}, "prime": {2, 3, 5, 7}, "above_four": {5, 6, 7, 8, 9}, "loop": {0, 6, 8, 9},
}  # fmt: skip
QUERIES, CANDIDATES, SHOWN = 200, 30, 10
"""How many images are searched with, among how many, and how many of these are shown."""

_SLOW, _FEW = 3.0, 60
"""Requests per second of the models beside the first one, and how many of them the backlog has."""


def _nothing(request: Request, truth: Any) -> dict[str, Any]:
    del request, truth
    return {}


@dataclass(frozen=True, slots=True)
class Model:
    """What two versions of a model say to each row of the held-out half of its data, and what is true of it.

    `replies` are parts of what the server logs, by version and whether the input has drifted; `label` is the field
    that holds the `truth` in the log of labels.  `origin` is what the server logs of where a request came from.
    """

    name: str
    replies: dict[tuple[str, bool], list[dict[str, Any]]]
    label: str
    truth: list[Any]
    rate: float = _SLOW
    backlog: int = _FEW
    origin: Callable[[Request, Any], dict[str, Any]] = _nothing

    @property
    def predictions(self) -> str:
        """The log of predictions, below the demo's folder."""
        return f"{self.name}/{PREDICTIONS}"

    @property
    def labels(self) -> str:
        """The log of labels: CSV, unless a label is more than one value."""
        return f"{self.name}/labels.{'jsonl' if isinstance(self.truth[0], list) else 'csv'}"

    def mistaken(self, sample: int) -> Any:
        """What a wrong label says: the truth of the next row that differs."""
        rest = (*self.truth[sample:], *self.truth[:sample])
        return next(value for value in rest if value != rest[0])


def train(seed: int) -> list[Model]:
    """All models, the first one's rate and backlog being those of `traffic`."""
    return [_cancer(seed), _diabetes(seed), _wine(seed), _traits(seed), _search(seed)]


def _versions(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> dict[tuple[str, bool], list[Any]]:
    """The replies of versions 1.0 and 1.1, where drift changes nothing."""
    return {("1.0", False): first, ("1.0", True): first, ("1.1", False): second, ("1.1", True): second}


def _named(names: Sequence[str], rows: Any) -> list[dict[str, float]]:
    """Rows of an array as mappings."""
    return [dict(zip(names, row, strict=True)) for row in rows.round(5).tolist()]


def _cancer(seed: int) -> Model:
    """Binary, with the probability of each class; in the drifted input two lengths come in another unit."""
    # Only in these functions, so that --help and a signal need not wait for scikit-learn.
    import numpy as np  # noqa: PLC0415
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    data = load_breast_cancer()
    names = [name.removeprefix("mean ").replace(" ", "_") for name in data.feature_names[:10]]
    diagnosis = np.where(data.target == 0, "malignant", "benign")
    split = train_test_split(data.data[:, :10], diagnosis, test_size=0.5, random_state=seed, stratify=diagnosis)
    known, held_out, known_diagnosis, truth = split
    drifted = held_out.copy()
    drifted[:, [names.index("radius"), names.index("perimeter")]] /= 10
    versions = {
        "1.0": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "1.1": DecisionTreeClassifier(max_depth=3, random_state=seed),
    }
    replies = {}
    for version, classifier in versions.items():
        classifier.fit(known, known_diagnosis)
        for moved, rows in ((False, held_out), (True, drifted)):
            malignant = classifier.predict_proba(rows)[:, DIAGNOSES.index("malignant")].round(6).tolist()
            replies[version, moved] = [
                {"features": features, "output": _diagnosis(score)}
                for features, score in zip(_named(names, rows), malignant, strict=True)
            ]
    return Model(CANCER, replies, "diagnosis", truth.tolist(), RATE, BACKLOG, _patient)


def _patient(request: Request, diagnosis: str) -> dict[str, Any]:
    return {"clinic": {"country": request.region}, "patient": {"age": patients.age(request.number, diagnosis)}}


def _diagnosis(malignant: float) -> dict[str, Any]:
    probability = {"benign": round(1 - malignant, 6), "malignant": malignant}
    return {"diagnosis": DIAGNOSES[malignant >= 0.5], "probability": probability}


def _diabetes(seed: int) -> Model:
    """Regression: the progression of the disease within a year."""
    from sklearn.datasets import load_diabetes  # noqa: PLC0415
    from sklearn.linear_model import Ridge  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415
    from sklearn.tree import DecisionTreeRegressor  # noqa: PLC0415

    data = load_diabetes(scaled=False)
    known, rows, targets, truth = train_test_split(data.data, data.target, test_size=0.5, random_state=seed)
    features = _named(data.feature_names, rows)
    versions = make_pipeline(StandardScaler(), Ridge()), DecisionTreeRegressor(max_depth=3, random_state=seed)
    said = [
        [
            {"features": row, "output": {"progression": value}}
            for row, value in zip(features, version.fit(known, targets).predict(rows).round(3).tolist(), strict=True)
        ]
        for version in versions
    ]
    return Model(DIABETES, _versions(*said), "progression", truth.tolist())


def _wine(seed: int) -> Model:
    """Multiclass, with all probabilities: the cultivar of a wine, by its alcohol and its colour."""
    import numpy as np  # noqa: PLC0415
    from sklearn.datasets import load_wine  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415
    from sklearn.naive_bayes import GaussianNB  # noqa: PLC0415
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    data = load_wine()
    names = ("alcohol", "color_intensity")
    chosen = data.data[:, [data.feature_names.index(name) for name in names]]
    split = train_test_split(chosen, data.target, test_size=0.5, random_state=seed, stratify=data.target)
    known, rows, targets, truth = split
    said = []
    for classifier in (GaussianNB(), DecisionTreeClassifier(max_depth=2, random_state=seed)):
        chances = classifier.fit(known, targets).predict_proba(rows).round(9)
        outputs = [
            {"cultivar": CULTIVARS[best], "probabilities": row}
            for best, row in zip(np.argmax(chances, axis=1).tolist(), chances.tolist(), strict=True)
        ]
        pairs = zip(_named(names, rows), outputs, strict=True)
        said.append([{"features": features, "output": output} for features, output in pairs])
    return Model(WINE, _versions(*said), "cultivar", [CULTIVARS[code] for code in truth.tolist()])


def _traits(seed: int) -> Model:
    """Multilabel: what can be said of a handwritten digit."""
    import numpy as np  # noqa: PLC0415
    from sklearn.datasets import load_digits  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415

    data = load_digits()
    names = list(TRAITS_OF_DIGITS)
    traits = np.column_stack([np.isin(data.target, list(digits)) for digits in TRAITS_OF_DIGITS.values()])
    known, rows, targets, truth = train_test_split(data.data, traits, test_size=0.5, random_state=seed)
    said = []
    for depth in (6, 8):
        classifier = DecisionTreeClassifier(max_depth=depth, random_state=seed).fit(known, targets)
        chances = np.column_stack([of_label[:, 1] for of_label in classifier.predict_proba(rows)]).round(6).tolist()
        said.append([{"output": {"traits": _those(names, row), "probabilities": row}} for row in chances])
    return Model(TRAITS, _versions(*said), "traits", [_those(names, row) for row in truth.tolist()])


def _those(names: Sequence[str], chances: Sequence[float]) -> list[str]:
    """The names that are likelier than not."""
    return [name for name, chance in zip(names, chances, strict=True) if chance > 0.5]


def _search(seed: int) -> Model:
    """Ranking: among some images of digits those that look most like another; relevant are those of the same digit."""
    import numpy as np  # noqa: PLC0415
    from sklearn.datasets import load_digits  # noqa: PLC0415
    from sklearn.decomposition import PCA  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    data = load_digits()
    known, rows, of_known, of_rows = train_test_split(data.data, data.target, test_size=0.5, random_state=seed)
    rows, of_rows = rows[:QUERIES], of_rows[:QUERIES]
    random = np.random.default_rng(seed)
    among = np.stack([random.choice(len(known), CANDIDATES, replace=False) for _ in rows])
    said = []
    for components in (4, 8):
        seen = PCA(components, random_state=seed).fit(known)
        apart = np.linalg.norm(seen.transform(known)[among] - seen.transform(rows)[:, None], axis=2)
        nearest = np.take_along_axis(among, apart.argsort(axis=1)[:, :SHOWN], axis=1)
        said.append([{"output": {"results": list(map(_image, images))}} for images in nearest.tolist()])
    same = of_known[among] == of_rows[:, None]
    truth = [list(map(_image, images[alike].tolist())) for images, alike in zip(among, same, strict=True)]
    return Model(SEARCH, _versions(*said), "relevant", truth)


def _image(number: int) -> str:
    return f"image-{number:04d}"
