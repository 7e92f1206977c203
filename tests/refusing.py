"""What every refusal on the command line looks like."""

from __future__ import annotations

import pytest

from plait.cli import main


def refused(capsys: pytest.CaptureFixture[str], complaint: str, *arguments: object) -> None:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stop.value.code == 2
    assert len(told) == 1
    assert complaint in told[0]
