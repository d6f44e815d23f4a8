"""Every setting of the service: read from the environment or a `.env` file, checked, with a help text.

`python -m service.settings` prints them as the table of README. An empty variable counts as not set, so that a
compose file may pass variables on without giving them a value.
"""

import ipaddress
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import annotated_types
from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import ConfigurationError
from service.usecases.limits import DECODED_BYTES, Limits
from service.usecases.texts import nearest_name

PREFIX = "HANDFUL_"
MEBIBYTE = 2**20
GIBIBYTE = 2**30
_OF_CLIENTS = {"URL"}


class Settings(BaseSettings):
    """What the service was told, checked; each value is a flat argument of somebody's constructor."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; one that others reach needs a key")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    data_dir: Path = Field(Path("data"), description="folder of the SQLite file and of the artifacts")
    database_url: SecretStr | None = Field(
        None, description="database of a server, `postgresql://...`; without it, SQLite in the data folder"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where networks run; auto: on a card if there is one"
    )
    base_models_dir: Path | None = Field(None, description="folder of further base models, beside those shipped")
    cache_bytes: int = Field(
        256 * MEBIBYTE, ge=0, le=1024 * GIBIBYTE, description="task models kept in the worker's memory, in bytes"
    )
    queue_items: int = Field(256, ge=1, le=100_000, description="requests that may wait; more get 503")
    deadline_s: float = Field(30.0, gt=0, le=3600, description="longest time a prediction may take")
    lease_s: float = Field(
        15.0,
        ge=1,
        le=300,
        description="with a database server: after how long other processes finish what one that died had begun",
    )
    drain_s: float = Field(5.0, ge=0, le=600, description="time between SIGTERM and the end of listening")
    api_key: SecretStr | None = Field(None, description="key that every call must bring; 8 to 200 ASCII characters")
    allow_open: bool = Field(False, description="serve an address that others reach although no key is set")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="web pages that may call the service: origins with commas between; `*` is all and needs a key"
    )
    log_format: Literal["text", "json"] = Field("text", description="form of the log lines")
    max_file_bytes: int = Field(32 * MEBIBYTE, ge=1024, le=GIBIBYTE, description="largest image file")
    max_request_bytes: int = Field(
        256 * MEBIBYTE, ge=1024, le=16 * GIBIBYTE, description="largest request, also when unzipped"
    )
    max_pixels: int = Field(100_000_000, ge=1024, le=1_000_000_000, description="largest image: width times height")
    decodes_in_flight: int = Field(4, ge=1, le=256, description="images decoded at the same time; bounds memory")
    decoded_bytes: int = Field(
        DECODED_BYTES,
        ge=MEBIBYTE,
        le=1024 * GIBIBYTE,
        description="decoded pixels in memory, each, of uploads, predictions, a pool to suggest from, and adaptations",
    )
    max_classes: int = Field(100, ge=2, le=10_000, description="most classes of a task")
    max_examples: int = Field(1000, ge=2, le=100_000, description="most support images of a task")
    max_predict_images: int = Field(64, ge=1, le=4096, description="most images of a prediction")

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _is_origin(origin):
                raise ValueError(f"{origin!r} is not an origin such as https://example.org")
        return origins

    @field_validator("api_key")
    @classmethod
    def _check_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is None:
            return None
        text = key.get_secret_value()
        if not 8 <= len(text) <= 200 or not all("!" <= character <= "~" for character in text):
            raise ValueError("a key has 8 to 200 visible ASCII characters and no space")
        return key

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and "://" not in url.get_secret_value():
            raise ValueError("a database URL looks like postgresql://user:password@host/database")
        return url

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine reach `host`."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    def limits(self) -> Limits:
        """How much one client may ask for at once."""
        return Limits(
            file_bytes=self.max_file_bytes,
            request_bytes=self.max_request_bytes,
            image_pixels=self.max_pixels,
            max_classes=self.max_classes,
            support_images=self.max_examples,
            prediction_images=self.max_predict_images,
            decodes_in_flight=self.decodes_in_flight,
            decoded_bytes=self.decoded_bytes,
        )

    def check_access(self) -> None:
        """Refuse to serve others without a key.

        Raises:
            ConfigurationError: the address is not loopback, there is no key, and nobody said that this is meant.
        """
        if self.api_key is None and "*" in self.cors_origins:
            raise ConfigurationError(f"{PREFIX}CORS_ORIGINS=* lets every web page in; set {PREFIX}API_KEY too")
        if self.api_key is None and not self.is_loopback and not self.allow_open:
            raise ConfigurationError(
                f"{PREFIX}HOST={self.host} can be reached by others but {PREFIX}API_KEY is not set; "
                f"set a key, or {PREFIX}ALLOW_OPEN=true to serve everybody"
            )


def strange_variables() -> Iterator[str]:
    """A sentence on each variable, of the environment or of `.env`, that looks like a setting and is none."""
    known = {row.variable.removeprefix(PREFIX) for row in rows()}
    told = {name.upper() for name in (*os.environ, *dotenv_values(".env"))}
    for name in sorted(name.removeprefix(PREFIX) for name in told if name.startswith(PREFIX)):
        if name not in known | _OF_CLIENTS:
            near = nearest_name(name, known)
            hint = f"; did you mean {PREFIX}{near}?" if near else ""
            yield f"{PREFIX}{name} is no setting and changes nothing{hint}"


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401  # the values of the fields
    """The settings of this process; `overrides` by field name win.

    Raises:
        ConfigurationError: a value is not one that the setting takes.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the file .env cannot be read: {error}") from None


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as README shows it."""

    variable: str
    default: str
    range: str
    help: str


def rows() -> Iterator[Row]:
    """Every setting, in the order of the class."""
    for name, field in Settings.model_fields.items():
        yield Row(_variable(name), _default(field), _range(field), field.description or "")


def table() -> str:
    """The settings as a Markdown table."""
    lines = ["| variable | default | values | what it is |", "|---|---|---|---|"]
    lines += [f"| `{row.variable}` | {row.default} | {row.range} | {row.help} |" for row in rows()]
    return "\n".join(lines)


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is None or value == ():
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _range(field: FieldInfo) -> str:
    if field.annotation is bool:
        return "true, false"
    choices = getattr(field.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(choices)
    bounds = {
        "above {}": next((m.gt for m in field.metadata if isinstance(m, annotated_types.Gt)), None),
        "{}": next((m.ge for m in field.metadata if isinstance(m, annotated_types.Ge)), None),
        "to {}": next((m.le for m in field.metadata if isinstance(m, annotated_types.Le)), None),
    }
    return " ".join(form.format(bound) for form, bound in bounds.items() if bound is not None) or "text"


def _is_origin(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and text == f"{parts.scheme}://{parts.netloc}"


def _sentence(error: ValidationError) -> str:
    """The first thing wrong, with the variable's name and without its value, which may be a secret."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    field = Settings.model_fields.get(name)
    expected = _range(field) if field else "text"
    hint = "" if expected == "text" else f" (values: {expected})"
    return f"{_variable(name)} cannot be used: {message[:1].lower()}{message[1:]}{hint}"


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
