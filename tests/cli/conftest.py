"""Running the command line inside the test process."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from service.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


Handful = Callable[..., Ran]


@pytest.fixture
def handful(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Handful:
    """The command `handful`, as a function of its arguments; no setting of this machine reaches it."""
    for variable in ("HANDFUL_URL", "HANDFUL_API_KEY", "HANDFUL_BASE_MODELS_DIR"):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, out, err)

    return run
