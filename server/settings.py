# SPDX-License-Identifier: Apache-2.0
"""The coordinator's settings: one file, overridden by the environment, which is read only here.

Order: arguments of the command line, environment variables FOLKMOOT_COORDINATOR_..., `coordinator.json` in
the home folder, defaults.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from folkmoot.artifacts.store import FolderStore, Store
from folkmoot.errors import InputError
from folkmoot.evaluation.canary import Limits
from folkmoot.protocol.commitment import checksum_address
from folkmoot.rpc.quorum import split_urls
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import write_whole

FILE_NAME = "coordinator.json"
_BUCKET = "s3://"
PREFIX = "FOLKMOOT_COORDINATOR_"

LONGEST_NAME = 40
"""Maximum number of characters of a contributor's name."""

_LIKE_ANOTHER = re.compile(r"0x[0-9a-f]{4}|^member\s*\d", re.IGNORECASE)
"""Names that could be taken for an account, or for what an account without a name is called."""

CACHE = "cache"
"""Folder in the home for copies of a bucket's files."""

FIXED = {
    "store_cache": "the folder `cache` in the home",
    "scrub_pause": "10 seconds",
    "delivery_share": "a quarter of the anchor window",
    "cancelled_limit": "3 rounds",
    "cancelled_pause": "10 seconds",
    "longest_cancelled_pause": "600 seconds",
    "canary_share": "three quarters of the anchor window",
    "body_limit": "1 MiB",
    "request_burst": "the requests of 8 seconds (`requests_per_second`)",
    "account_writes_per_minute": "30",
    "account_burst": "20",
    "connections": "512",
    "connections_per_client": "64",
    "streams": "128",
    "streams_per_client": "16",
    "patience": "15 seconds",
    "slowest_upload": "2048 bytes a second",
}
"""Settings of earlier releases, and the value that each has now. A test compares the numbers with the code."""

MOVED = {
    f"canary_{limit}": f'"canary_limits": {{"{limit}": ...}}'
    for limit in (field.name for field in dataclasses.fields(Limits))
}
"""Settings of earlier releases, and how their values are given now."""


class Settings(BaseSettings):
    """Settings of one coordinator. Paths that are not absolute are below the home folder."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    home: Path
    """Folder of this coordinator."""
    rpc_url: str
    """JSON-RPC endpoint of the chain, or several: a list, or with commas. What a majority of them says is believed."""
    keystore: Path
    """Encrypted key file of the coordinator's account."""
    deployment: Path = Path("deployment.json")
    """File with the addresses of the contracts."""
    database_url: str = ""
    """SQLAlchemy URL; empty for a SQLite file in the home folder."""
    store: str = "artifacts"
    """The artifact store: a folder, or `s3://BUCKET/PREFIX`."""
    store_endpoint: str = ""
    """URL of an S3 server other than Amazon's."""
    store_region: str = ""
    """Region of the bucket; empty for that of the environment or profile."""
    store_cache_bytes: int = Field(default=10 << 30, ge=1 << 20)
    """Bytes above which copies that were not used for an hour are removed."""
    mirrors: str = ""
    """Folders and URLs of mirrors, a list or with commas: a damaged file of the store is fetched from them again."""
    password_file: Path | None = None
    """File with the keystore's password; without it FOLKMOOT_PASSWORD or a prompt."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8800, ge=0, le=65535)
    """Port to listen on."""
    confirmations: int | None = Field(default=None, ge=1, le=1000)
    """Blocks, its own included, after which a transaction counts as settled; by default 1 on a local Anvil,
    else 6."""
    max_fee_gwei: float = Field(default=500.0, gt=0, le=1e9)
    """Most that is offered for a unit of gas, in gwei; above it, transactions wait and `/v1/health` says so."""
    poll_interval: float = Field(default=1.0, gt=0, le=60)
    """Seconds between two looks at the chain."""
    time_travel: bool = False
    """Move the chain's clock to the end of a window when everyone has answered; only on a local Anvil."""
    time_travel_after: float = Field(default=0.0, ge=0, le=3600)
    """Seconds on the wall for which an anchored round is left to watchers before its window is skipped."""
    commit_margin: int = Field(default=30, ge=1)
    """Seconds before the end of the commit window at which the last commitments are sent (at most a third of the
    window). What has come by three quarters of the window is sent then."""
    canary: bool = False
    """Wait for an evaluator's report before a round is anchored, and withhold a model that fell."""
    canary_public_records: bool = False
    """In a federation with privacy: the evaluator's held-out records are public, so their exact counts may be, too."""
    canary_evaluator: str = ""
    """Account whose reports count; empty for the coordinator's own."""
    canary_limits: dict[str, float] = {}
    """What a round's model may lose against its base: limits that differ from the defaults, by name."""
    uploads: int = Field(default=4, ge=1, le=64)
    """Updates that are checked at the same time; also those received at once that bear no good signature."""
    requests_per_second: float = Field(default=50.0, gt=0)
    """Requests per second that one client (an IPv4 address, a /64 of IPv6) may make in the long run; at once, the
    requests of eight seconds."""
    log_format: Literal["text", "json"] | None = None
    """Form of the log: text for people, or json; by default what FOLKMOOT_LOG_FORMAT says, else text."""
    access_log: bool = False
    """Whether every request becomes a line of the log."""
    trust_proxy: bool = False
    """Take the client's address from the last entry of X-Forwarded-For; only behind a proxy that sets it."""
    names: dict[str, str] = {}
    """Names of contributors by account, as the page and `/v1/contributors` show them. Nobody else vouches for them."""

    @field_validator("rpc_url", mode="before")
    @classmethod
    def _joined(cls, value: Any) -> Any:
        urls = [value] if isinstance(value, str) else value
        if not isinstance(urls, list | tuple) or not all(isinstance(url, str) for url in urls):
            return value
        try:
            return ",".join(split_urls(urls))
        except InputError as exc:
            raise ValueError(str(exc)) from exc

    @field_validator("mirrors", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        several = isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)
        return ",".join(value) if several else value

    @field_validator("names")
    @classmethod
    def _told_apart(cls, names: dict[str, str]) -> dict[str, str]:
        try:
            names = {checksum_address(account): name.strip() for account, name in names.items()}
        except InputError as exc:
            raise ValueError(str(exc)) from exc
        for name in names.values():
            if not (1 <= len(name) <= LONGEST_NAME and name.isprintable()):
                raise ValueError(f"a name has 1 to {LONGEST_NAME} printable characters: {name!r} has not")
            if _LIKE_ANOTHER.search(name):
                raise ValueError(f"{name!r} looks like an address or a member number, which names must not")
        if len({name.casefold() for name in names.values()}) < len(names):
            raise ValueError("two accounts have the same name")
        return names

    @field_validator("canary_limits")
    @classmethod
    def _possible(cls, limits: dict[str, float]) -> dict[str, float]:
        names = [field.name for field in dataclasses.fields(Limits)]
        if unknown := sorted(set(limits) - set(names)):
            raise ValueError(f"there is no limit {unknown[0]!r}; the limits are {', '.join(names)}")
        if not limits.get("least_examples", 1.0).is_integer():
            raise ValueError("'least_examples' must be a whole number")
        try:
            Limits(**limits)  # type: ignore[arg-type]  # checked above
        except InputError as exc:
            raise ValueError(f"{exc.message} {exc.remedy}") from exc
        return limits

    @field_validator("canary_evaluator")
    @classmethod
    def _checksummed(cls, value: str) -> str:
        try:
            return checksum_address(value) if value else value
        except InputError as exc:
            raise ValueError(str(exc)) from exc

    def resolve(self, path: Path) -> Path:
        """A path of the settings as it is on the disk."""
        return path if path.is_absolute() else self.home / path

    @property
    def mirror_locations(self) -> list[str]:
        """Folders, as they are on the disk, and URLs of mirrors."""
        locations = [part.strip() for part in self.mirrors.split(",") if part.strip()]
        return [part if "://" in part else str(self.resolve(Path(part).expanduser())) for part in locations]

    @property
    def resolved_database_url(self) -> str:
        """URL of the database."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'coordinator.sqlite3'}"

    @property
    def in_bucket(self) -> bool:
        """Whether the artifact store is a bucket, and not a folder."""
        return self.store.startswith(_BUCKET)

    @property
    def store_location(self) -> str:
        """The artifact store: a folder as it is on the disk, or a bucket."""
        return self.store if self.in_bucket else str(self.resolve(Path(self.store)))

    @property
    def store_folder(self) -> Path:
        """Folder on this machine that the store writes to: its own, or that with the copies of a bucket's files."""
        return self.home / CACHE if self.in_bucket else Path(self.store_location)

    def open_store(self) -> Store:
        """Open the artifact store. A bucket is not asked yet.

        Raises:
            InputError: A setting of the bucket is wrong, or the package for S3 is not installed (`s3-missing`).
        """
        if not self.in_bucket:
            return FolderStore(Path(self.store_location))
        bucket, _, prefix = self.store.removeprefix(_BUCKET).partition("/")
        if not bucket:
            raise InputError(
                f"{self.store!r} names no bucket.", remedy="Write s3://BUCKET or s3://BUCKET/PREFIX."
            )
        try:
            from folkmoot.artifacts.s3 import S3Store
        except ModuleNotFoundError as exc:
            raise InputError(
                f"A store in a bucket ({self.store}) needs the package {exc.name}.",
                remedy="Install it: pip install 'folkmoot[s3]'.",
                code="s3-missing",
            ) from exc
        return S3Store(
            bucket,
            prefix,
            self.home / CACHE,
            cache_bytes=self.store_cache_bytes,
            endpoint=self.store_endpoint,
            region=self.store_region,
        )

    def save(self) -> None:
        """Write `coordinator.json` with what differs from the defaults."""
        values = self.model_dump(mode="json", exclude_defaults=True, exclude={"home"})
        fault_point("operator.settings-written.before")
        data = (json.dumps(values, indent=2, sort_keys=True) + "\n").encode()
        write_whole(self.home / FILE_NAME, data, mode=0o600)  # URLs in it may hold passwords
        fault_point("operator.settings-written.after")


def load(home: Path, **overrides: Any) -> Settings:
    """Read the settings of a home folder.

    Args:
        home: The folder with `coordinator.json`.
        overrides: Values from the command line; those that are None do not override.

    Raises:
        InputError: There is no such file, or a value in it is wrong.
    """
    path = home / FILE_NAME
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError as exc:
        raise InputError(
            f"There is no coordinator in {home}: {FILE_NAME} is missing.",
            remedy="Make one with `folkmoot coordinator init`, or give its folder with --home.",
        ) from exc
    except (OSError, ValueError) as exc:
        raise InputError(f"{path} can't be read: {exc}.", remedy="Correct the file.") from exc
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a JSON object.", remedy="Correct the file.")
    _check_names(values, str(path), "")
    _check_names(
        (name[len(PREFIX) :].lower() for name in os.environ if name.upper().startswith(PREFIX)),
        "the environment",
        PREFIX,
    )

    class Loaded(Settings):
        """Settings with their sources in order; the file's values come last."""

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, values)

    chosen = {key: value for key, value in overrides.items() if value is not None}
    try:
        return Loaded(**(chosen | {"home": home}))
    except ValidationError as exc:
        problem = exc.errors()[0]
        name = ".".join(str(part) for part in problem["loc"]) or "settings"
        raise InputError(
            f"The setting {name!r} is wrong: {problem['msg']} (given: {problem.get('input')!r}).",
            remedy=f"Correct it in {path} or in {PREFIX}{name.partition('.')[0].upper()}.",
        ) from exc
    except SettingsError as exc:
        raise InputError(
            f"A setting in the environment can't be read: {exc}.",
            remedy=f"Correct the variable {PREFIX}...: names and limits are JSON objects.",
        ) from exc


def _check_names(names: Iterable[str], place: str, prefix: str) -> None:
    """Refuse settings of earlier releases, so that nobody believes that they still do something."""
    for name in names:
        written = f"{prefix}{name}".upper() if prefix else name
        if name in FIXED:
            raise InputError(
                f"The setting {written!r} in {place} is no setting any more: its value is fixed, {FIXED[name]}.",
                remedy="Remove it.",
                code="setting-fixed",
            )
        if name in MOVED:
            raise InputError(
                f"The setting {written!r} in {place} has another form now.",
                remedy=f"Write {MOVED[name]} in {FILE_NAME}.",
                code="setting-fixed",
            )
