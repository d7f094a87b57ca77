# SPDX-License-Identifier: Apache-2.0
"""The coordinator's settings: one file, overridden by the environment, which is read only here.

Order: arguments of the command line, environment variables FOLKMOOT_COORDINATOR_..., `coordinator.json` in
the home folder, defaults.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from folkmoot.errors import InputError
from folkmoot.protocol.commitment import checksum_address
from folkmoot.rpc.quorum import split_urls
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import write_whole
from server.store import Store, StoreOptions, is_bucket, open_store

FILE_NAME = "coordinator.json"

LONGEST_NAME = 40
"""Maximum number of characters of a contributor's name."""

_LIKE_ANOTHER = re.compile(r"0x[0-9a-f]{4}|^member\s*\d", re.IGNORECASE)
"""Names that could be taken for an account, or for what an account without a name is called."""


class Settings(BaseSettings):
    """Settings of one coordinator. Paths that are not absolute are below the home folder."""

    model_config = SettingsConfigDict(env_prefix="FOLKMOOT_COORDINATOR_", extra="forbid", frozen=True)

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
    store_cache: Path = Path("cache")
    """Folder for copies of the bucket's files."""
    store_cache_bytes: int = Field(default=10 << 30, ge=1 << 20)
    """Bytes above which copies that were not used for an hour are removed."""
    mirrors: str = ""
    """Folders and URLs of mirrors, a list or with commas: a damaged file of the store is fetched from them again."""
    scrub_pause: float = Field(default=10.0, ge=0.01, le=3600)
    """Seconds between two steps of comparing the database with the chain; a step is a round, or 2,000 blocks."""
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
    """Seconds before the end of the commit window at which the commitments are sent (at most a third of the
    window)."""
    delivery_share: float = Field(default=0.25, ge=0, le=0.9)
    """Share of the anchor window in which files of commitments that are on the chain may still arrive."""
    cancelled_limit: int = Field(default=3, ge=1)
    """Cancelled rounds in a row after which a run fails, once its patience has passed."""
    cancelled_pause: float = Field(default=10.0, gt=0, le=3600)
    """Seconds until the next round after a cancelled one, in a run with patience; doubled after each further one."""
    longest_cancelled_pause: float = Field(default=600.0, gt=0, le=86_400)
    """Seconds of the longest such pause."""
    canary: bool = False
    """Wait for an evaluator's report before a round is anchored, and withhold a model that fell."""
    canary_public_records: bool = False
    """In a federation with privacy: the evaluator's held-out records are public, so their exact counts may be, too."""
    canary_evaluator: str = ""
    """Account whose reports count; empty for the coordinator's own."""
    canary_share: float = Field(default=0.75, ge=0.05, le=0.9)
    """Share of the anchor window until which a report is awaited; then the round is anchored with a warning."""
    canary_accuracy_drop: float = Field(default=0.05, ge=0, le=1)
    """Accuracy that a round's model may lose against its base."""
    canary_recall_drop: float = Field(default=0.4, ge=0, le=1)
    """Recall, above chance, that one class may lose."""
    canary_least_examples: int = Field(default=20, ge=1)
    """Held-out examples that a class or a group must have to be looked at alone."""
    canary_loss_rise: float = Field(default=0.25, ge=0, le=1e6)
    """By how much the mean loss may rise, relative to the base's; for tasks that do not classify."""
    canary_group_loss_rise: float = Field(default=1.0, ge=0, le=1e6)
    """By how much the mean loss of one group may rise, relative to the base's."""
    canary_trigger_rise: float = Field(default=0.3, ge=0, le=1)
    """Share of other classes' examples that a trigger may draw to one class, unless it drew more at the base."""
    body_limit: int = Field(default=1 << 20, ge=1024)
    """Most bytes of a request's body, other than an update, which has the size of the model."""
    uploads: int = Field(default=4, ge=1, le=64)
    """Updates that are checked at the same time; also those received at once that bear no good signature."""
    requests_per_second: float = Field(default=50.0, gt=0)
    """Requests per second that one client (an IPv4 address, a /64 of IPv6) may make in the long run."""
    request_burst: int = Field(default=400, ge=1)
    """Requests that one client may make at once."""
    account_writes_per_minute: float = Field(default=30.0, gt=0)
    """Updates that may bear one account's signature in a minute, in the long run; a report counts for ten."""
    account_burst: int = Field(default=20, ge=1)
    """Updates that may bear one account's signature at once."""
    connections: int = Field(default=512, ge=8)
    """Connections of all clients; a new one takes the place of one that waits without a request."""
    connections_per_client: int = Field(default=64, ge=1)
    """Connections of one client; not counted behind a proxy."""
    streams: int = Field(default=128, ge=1)
    """Event streams of all clients."""
    streams_per_client: int = Field(default=16, ge=1)
    """Event streams of one client."""
    patience: float = Field(default=15.0, gt=0, le=600)
    """Seconds in which a request's head has to be whole, and for which a client may send or take nothing."""
    slowest_upload: float = Field(default=2048.0, gt=0)
    """Bytes a second that a body has to come with, beyond the patience."""
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
        found = [part.strip() for part in self.mirrors.split(",") if part.strip()]
        return [part if "://" in part else str(self.resolve(Path(part).expanduser())) for part in found]

    @property
    def resolved_database_url(self) -> str:
        """URL of the database."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'coordinator.sqlite3'}"

    @property
    def store_location(self) -> str:
        """The artifact store: a folder as it is on the disk, or a bucket."""
        return self.store if is_bucket(self.store) else str(self.resolve(Path(self.store)))

    @property
    def store_folder(self) -> Path:
        """Folder on this machine that the store writes to: its own, or that with the copies of a bucket's files."""
        return self.resolve(self.store_cache) if is_bucket(self.store) else Path(self.store_location)

    def open_store(self) -> Store:
        """Open the artifact store.

        Raises:
            InputError: A setting of the bucket is wrong, or its package is missing.
            StoreError: A folder can't be made.
        """
        options = StoreOptions(
            cache=self.resolve(self.store_cache),
            cache_bytes=self.store_cache_bytes,
            endpoint=self.store_endpoint,
            region=self.store_region,
        )
        return open_store(self.store_location, options)

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
            remedy=f"Correct it in {path} or in FOLKMOOT_COORDINATOR_{name.upper()}.",
        ) from exc
