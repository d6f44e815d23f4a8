"""What the OpenAPI document promises is kept for requests that nobody thought of; schemathesis thinks of them.

For a longer run, start a service and give the command below its address, another seed and more examples.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from service.engine.inline import InlineEngine
from service.usecases.base_models import SHIPPED
from tests.api.toy_service import make_settings, ready_client, serving

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
)
LEFT_OUT = "export_task"
"""Each of its answers takes seconds; `test_exports.py` has its mistakes by hand."""

OPTIONS = ("--seed=20261125", "--max-examples=15", "--continue-on-failure", "--suppress-health-check=all", "--no-color")


@pytest.mark.timeout(300)
def test_schemathesis_finds_nothing(tmp_path: Path, toy_folder: Path) -> None:
    settings = make_settings(tmp_path / "data", base_models_dir=toy_folder)
    engine = InlineEngine(
        base_model_files=[toy_folder / "toy.safetensors", SHIPPED / "omniglot-conv4.safetensors"],
        artifacts_root=settings.data_dir / "artifacts",
        device="cpu",
        threads=1,
    )
    program = Path(sys.executable).with_name("schemathesis")
    with serving(settings, engine) as url, ready_client(url):
        command = [
            str(program),
            "run",
            f"{url}/openapi.json",
            f"--checks={','.join(CHECKS)}",
            f"--exclude-operation-id={LEFT_OUT}",
            *OPTIONS,
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "28 selected / 29 total" in done.stdout
