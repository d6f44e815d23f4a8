"""Files of weights: found by name, known by digest, never run, downloaded only when asked."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from service.errors import CheckpointError
from service.metalearning.header import file_digest
from service.metalearning.weights_files import WeightsFile, download, hub_folder, read_weights

URL = "https://example.org/net.pth"


@pytest.fixture
def weights(tmp_path: Path) -> WeightsFile:
    """A file in the folder `here`; there is a folder `there`, too."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    torch.save({"layer": torch.ones(2)}, tmp_path / "here" / "net.pth")
    return WeightsFile("net.pth", file_digest(tmp_path / "here" / "net.pth"), URL)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of the folder `served`."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def serve_weights(tmp_path: Path, begins: str | None = None) -> str:
    """The name of a served file, which tells the first letters of a digest: its own unless they are given."""
    path = tmp_path / "served" / "net"
    torch.save({"layer": torch.ones(2)}, path)
    name = f"net-{begins or file_digest(path)[:8]}.pth"
    path.rename(path.with_name(name))
    return name


def test_a_file_is_found_in_any_of_the_folders(tmp_path: Path, weights: WeightsFile) -> None:
    found = read_weights(weights, [tmp_path / "there", tmp_path / "here"])
    assert found["layer"].tolist() == [1, 1]


def test_a_file_of_that_name_with_other_bytes_is_passed_over(tmp_path: Path, weights: WeightsFile) -> None:
    torch.save({"layer": torch.zeros(2)}, tmp_path / "there" / "net.pth")
    found = read_weights(weights, [tmp_path / "there", tmp_path / "here"])
    assert found["layer"].tolist() == [1, 1]


def test_a_missing_file_is_told_with_its_digest_its_place_and_the_command_for_it(
    tmp_path: Path, weights: WeightsFile
) -> None:
    there = tmp_path / "there" / "net.pth"
    with pytest.raises(CheckpointError) as missing:
        read_weights(weights, [tmp_path / "there"])
    assert f"net.pth with SHA-256 {weights.sha256}" in str(missing.value)
    assert f"`curl --fail --location --output '{there}' {URL}`" in str(missing.value)


def test_a_missing_file_that_nobody_published_is_told_to_be_ones_own(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"named with --weights when the base model was made; put it at"):
        read_weights(WeightsFile("own.pth", "0" * 64), [tmp_path])


def test_another_file_of_that_name_is_told(tmp_path: Path, weights: WeightsFile) -> None:
    torch.save({"layer": torch.zeros(2)}, tmp_path / "there" / "net.pth")
    with pytest.raises(CheckpointError, match=r"net.pth has SHA-256 \w{64} and is another file. .* is not in"):
        read_weights(weights, [tmp_path / "there"])


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, weights: WeightsFile) -> None:
    (tmp_path / "there" / "net.pth").mkdir()
    with pytest.raises(CheckpointError, match=r"net.pth cannot be read: Is a directory. The weights file net.pth"):
        read_weights(weights, [tmp_path / "there"])


@pytest.mark.parametrize("content", [{"model": {"layer": torch.ones(1)}}, torch.ones(1)])
def test_a_file_of_something_else_than_tensors_by_name_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match=r"own.pth is not a state dict"):
        read_weights(WeightsFile("own.pth", file_digest(tmp_path / "own.pth")), [tmp_path])


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    torch.save({"layer": tmp_path}, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match=r"own.pth cannot be read as a state dict"):
        read_weights(WeightsFile("own.pth", file_digest(tmp_path / "own.pth")), [tmp_path])


def test_a_name_with_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not the name of a file"):
        read_weights(WeightsFile("../own.pth", "0" * 64), [tmp_path])


def test_the_cache_is_where_torch_is_told_to_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert hub_folder() == tmp_path / "hub" / "checkpoints"


def test_a_file_is_downloaded_once(tmp_path: Path, server: str) -> None:
    name = serve_weights(tmp_path)
    path = download(f"{server}/{name}", tmp_path / "cache")
    (tmp_path / "served" / name).unlink()
    assert download(f"{server}/{name}", tmp_path / "cache") == path == tmp_path / "cache" / name


def test_a_download_that_is_not_what_its_name_tells_is_refused_and_not_kept(tmp_path: Path, server: str) -> None:
    name = serve_weights(tmp_path, "01234567")
    with pytest.raises(CheckpointError, match="cannot be downloaded: invalid hash value"):
        download(f"{server}/{name}", tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_kept_file_that_is_not_what_its_name_tells_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net-01234567.pth").write_bytes(b"half of it")
    with pytest.raises(CheckpointError, match="does not have the SHA-256 that its name tells; remove it"):
        download("http://127.0.0.1:9/net-01234567.pth", tmp_path)


def test_a_machine_without_a_way_out_is_told_to_bring_the_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be downloaded: .* name the file with --weights"):
        download("http://127.0.0.1:9/net-01234567.pth", tmp_path)
