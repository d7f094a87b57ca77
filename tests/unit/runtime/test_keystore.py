# SPDX-License-Identifier: Apache-2.0
"""Key files: nothing in clear, nothing overwritten, and every way of being unusable told apart."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from folkmoot.errors import KeystoreError
from folkmoot.runtime import keystore
from tests.factories import PASSWORD, account

ADA = account("ada")
KEY = bytes(ADA.key)


@pytest.fixture
def ada(tmp_path: Path) -> Path:
    """Ada's key file."""
    return keystore.create(tmp_path / "ada.json", PASSWORD, private_key=KEY, work=2).path


def test_a_key_file_opens_with_its_password(ada: Path) -> None:
    assert keystore.load(ada, PASSWORD).key == ADA.key
    assert keystore.address_of(ada) == ADA.address


def test_a_key_file_is_private_encrypted_and_scrypt(ada: Path) -> None:
    assert stat.S_IMODE(ada.stat().st_mode) == 0o600
    text = ada.read_text()
    assert KEY.hex() not in text
    assert PASSWORD not in text
    assert json.loads(text)["crypto"]["kdf"] == "scrypt"


def test_new_keys_use_real_work_and_differ(tmp_path: Path) -> None:
    made = keystore.create(tmp_path, PASSWORD)
    assert made.path == tmp_path / f"{made.address}.json"
    assert json.loads(made.path.read_text())["crypto"]["kdfparams"]["n"] == keystore.SCRYPT_WORK
    other = keystore.create(tmp_path, PASSWORD, work=2)
    assert other.address != made.address
    assert {file.address for file in keystore.files_in(tmp_path)} == {made.address, other.address}


def test_a_key_file_is_never_overwritten(ada: Path) -> None:
    before = ada.read_bytes()
    with pytest.raises(KeystoreError, match="already a file") as caught:
        keystore.create(ada, PASSWORD, work=2)
    assert caught.value.code == "keystore-exists"
    assert ada.read_bytes() == before


def test_a_short_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="7 characters"):
        keystore.create(tmp_path / "x.json", "seven77", work=2)
    assert list(tmp_path.iterdir()) == []


def test_wrong_password(ada: Path) -> None:
    with pytest.raises(KeystoreError, match="password of the key file") as caught:
        keystore.load(ada, "not this one")
    assert caught.value.code == "wrong-password"


def test_missing_key_file(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="no key file") as caught:
        keystore.load(tmp_path / "nobody.json", PASSWORD)
    assert "folkmoot account new" in caught.value.remedy


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"crypto": 1, "address": "00"}',
        '{"crypto": {}, "version": 3}',
        '{"crypto": {"kdf": "scrypt"}, "version": 3}',
        '{"crypto": {}, "version": 9}',
        "\xff",
    ],
)
def test_damaged_key_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "damaged.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(KeystoreError) as caught:
        keystore.load(path, PASSWORD)
    assert caught.value.code == "keystore-damaged"
    with pytest.raises(KeystoreError):
        keystore.address_of(path)


def test_a_changed_key_file_does_not_open(ada: Path) -> None:
    document = json.loads(ada.read_text())
    cipher = document["crypto"]["ciphertext"]
    document["crypto"]["ciphertext"] = ("0" if cipher[0] != "0" else "1") + cipher[1:]
    ada.write_text(json.dumps(document))
    with pytest.raises(KeystoreError):
        keystore.load(ada, PASSWORD)


def test_a_key_file_with_another_accounts_name_is_damaged(ada: Path) -> None:
    document = json.loads(ada.read_text())
    document["address"] = account("ben").address
    ada.write_text(json.dumps(document))
    with pytest.raises(KeystoreError, match="holds the key of") as caught:
        keystore.load(ada, PASSWORD)
    assert caught.value.code == "keystore-damaged"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kdfparams": {"n": 2**40, "r": 8, "p": 1, "dklen": 32}}, "bytes of memory"),
        ({"kdfparams": {"n": -(2**40), "r": -8, "p": 1, "dklen": 32}}, "its n"),
        ({"kdfparams": {"n": 2, "r": 8, "p": 2**28, "dklen": 32}}, "its p"),
        ({"KdfParams": {"n": 2**40, "r": 8, "p": 1, "dklen": 32}}, "bytes of memory"),
        ({"kdf": "pbkdf2", "kdfparams": {"c": 2**40, "prf": "hmac-sha256", "dklen": 32}}, "its c"),
    ],
)
def test_a_key_file_that_would_take_all_memory_or_time_is_not_tried(
    ada: Path, change: dict[str, object], why: str
) -> None:
    document = json.loads(ada.read_text())
    document["crypto"] |= change
    ada.write_text(json.dumps(document))
    with pytest.raises(KeystoreError, match=why):
        keystore.load(ada, PASSWORD)


def test_listing_passes_over_other_files(ada: Path) -> None:
    (ada.parent / "deployment.json").write_text('{"chainId": 1}')
    (ada.parent / "broken.json").write_text("{")
    assert [file.address for file in keystore.files_in(ada.parent)] == [ADA.address]
    with pytest.raises(KeystoreError, match="no folder"):
        keystore.files_in(ada.parent / "nowhere")


def test_passwords_come_from_the_file_first(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from the file\nsecond line\n")
    environment = {"FOLKMOOT_PASSWORD": "from the environment"}
    asked: list[str] = []

    def prompt(text: str) -> str:
        asked.append(text)
        return "from the prompt"

    read = keystore.read_password
    assert read(password_file=file, environment=environment, prompt=prompt) == "from the file"
    assert read(environment=environment, prompt=prompt) == "from the environment"
    assert read(environment={}, prompt=prompt, text="Who? ") == "from the prompt"
    assert asked == ["Who? "]


def test_no_password_to_be_had(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match="nobody can be asked"):
        keystore.read_password(environment={})
    with pytest.raises(KeystoreError, match="can't be read"):
        keystore.read_password(password_file=tmp_path / "none")
    (tmp_path / "empty").write_text("")
    with pytest.raises(KeystoreError, match="is empty"):
        keystore.read_password(password_file=tmp_path / "empty")
