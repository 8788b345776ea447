"""Keys that stand twice or are not known: every one is told at once, with its line and what may have been meant."""

from __future__ import annotations

from tests.apps import command, config


def faulty(folder):
    good = config(folder, "m", "n")
    return (
        good.replace("    windows: [last 10]\n", "    windos: [last 10]\n    positive: b\n", 1)
        + "limitz: {series: 1000}\n"
    )


def test_duplicate_keys_and_unknown_keys(tmp_path, capsys):
    """Serving and checking end with exit code 3 and the same list; the good model beside is no fault."""
    file = tmp_path / "model-exporter.yml"
    file.write_text(faulty(tmp_path))
    lines = file.read_text().splitlines()
    at = {
        word: 1 + next(n for n, line in enumerate(lines) if word in line)
        for word in ("windos", "positive: b", "limitz")
    }
    said = []
    for words in (["--config.file", str(file), "--state.path", str(tmp_path / "state")], ["check", str(file)]):
        assert command(*words) == 3
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    faults = said[0].splitlines()
    assert len(faults) == 4, said[0]
    for word, hint in (
        ("windos", "did you mean windows?"),
        ("positive: b", "positive"),
        ("limitz", "did you mean limits?"),
    ):
        (fault,) = [line for line in faults if line.startswith(f"{file}:{at[word]}:")]
        assert hint in fault
    assert faults[-1] == "3 faults; nothing was started."
    assert not (tmp_path / "state").exists()
