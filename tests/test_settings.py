"""Settings come from the environment, checked, each with a row in README."""

import os
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.settings import PREFIX, Settings, load_settings, rows, strange_variables, table

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_serve_this_machine_only() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.device) == ("127.0.0.1", 8000, "auto")
    settings.check_access()


def test_a_value_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_PORT", "9001")
    assert load_settings().port == 9001


def test_a_value_comes_from_a_dot_env_file_among_those_of_others(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=x\nHANDFUL_DRAIN_S=2.5\n")
    assert load_settings().drain_s == 2.5


def test_a_value_on_the_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_PORT", "9001")
    assert load_settings(port=9002).port == 9002


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_API_KEY", "")
    monkeypatch.setenv("HANDFUL_PORT", "")
    settings = load_settings()
    assert (settings.api_key, settings.port) == (None, 8000)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("HANDFUL_PORT", "70000", "0 to 65535"),
        ("HANDFUL_PORT", "eighty", "0 to 65535"),
        ("HANDFUL_DEVICE", "tpu", "auto, cpu, cuda"),
        ("HANDFUL_DEADLINE_S", "0", "above 0 to 3600"),
        ("HANDFUL_DEADLINE_S", "nan", "above 0 to 3600"),
        ("HANDFUL_MAX_CLASSES", "1", "2 to 10000"),
        ("HANDFUL_ALLOW_OPEN", "perhaps", "true, false"),
        ("HANDFUL_CORS_ORIGINS", "https://a.example/path", "is not an origin"),
        ("HANDFUL_API_KEY", "short", "8 to 200"),
        ("HANDFUL_API_KEY", "with space in it", "no space"),
        ("HANDFUL_DATABASE_URL", "handful.db", "postgresql://"),
    ],
)
def test_a_bad_value_is_one_sentence_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.message.startswith(f"{variable} ")
    assert expected in caught.value.message
    assert "\n" not in caught.value.message


def test_a_secret_is_in_no_message_and_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_API_KEY", "hush hush hush")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "hush" not in caught.value.message
    assert "hunter2hunter2" not in repr(load_settings(api_key="hunter2hunter2"))


def test_origins_are_split_at_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_CORS_ORIGINS", "https://a.example, http://b.example:3000/")
    assert load_settings().cors_origins == ("https://a.example", "http://b.example:3000")


def test_an_address_that_others_reach_needs_a_key() -> None:
    with pytest.raises(ConfigurationError, match="HANDFUL_API_KEY"):
        load_settings(host="0.0.0.0").check_access()
    load_settings(host="0.0.0.0", api_key="a-long-random-key").check_access()
    load_settings(host="0.0.0.0", allow_open=True).check_access()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_key(host: str) -> None:
    load_settings(host=host).check_access()


def test_letting_every_web_page_in_needs_a_key() -> None:
    with pytest.raises(ConfigurationError, match="CORS_ORIGINS"):
        load_settings(cors_origins=("*",)).check_access()


def test_the_limits_are_settings() -> None:
    limits = load_settings(max_examples=7, max_predict_images=3).limits()
    assert (limits.support_images, limits.prediction_images) == (7, 3)


def test_every_setting_has_a_help_text_and_a_range() -> None:
    assert len(list(rows())) == len(Settings.model_fields)
    assert all(row.help and row.range for row in rows())
    assert table().count("\n| `HANDFUL_") == len(Settings.model_fields)


def test_readme_has_a_row_for_every_setting() -> None:
    text = README.read_text(encoding="utf-8")
    assert [row.variable for row in rows() if f"`{row.variable}`" not in text] == []


def test_a_misspelt_variable_is_named_with_the_one_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_DATABSE_URL", "postgresql://somewhere")
    assert list(strange_variables()) == [
        "HANDFUL_DATABSE_URL is no setting and changes nothing; did you mean HANDFUL_DATABASE_URL?"
    ]


def test_a_misspelt_variable_of_a_dot_env_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=x\nHANDFUL_COLOUR=red\nHANDFUL_URL=http://127.0.0.1\n")
    assert list(strange_variables()) == ["HANDFUL_COLOUR is no setting and changes nothing"]


def test_settings_are_not_named_as_misspelt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_PORT", "9001")
    monkeypatch.setenv("handful_host", "localhost")
    assert list(strange_variables()) == []
