# SPDX-License-Identifier: Apache-2.0
"""Messages and signatures of a Safe, against eth_account's own EIP-712 and the published values."""

from __future__ import annotations

from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.protocol import wallets
from folkmoot.protocol.commitment import canonical_address, checksum_address
from folkmoot.protocol.signatures import digest as digest_of

ADDRESSES = st.binary(min_size=20, max_size=20).map(lambda raw: checksum_address("0x" + raw.hex()))


@given(ADDRESSES, st.integers(1, 2**255), st.binary(min_size=32, max_size=32))
def test_the_message_of_a_safe(safe: str, chain_id: int, digest: bytes) -> None:
    theirs = encode_typed_data(
        {"chainId": chain_id, "verifyingContract": safe},
        {"SafeMessage": [{"name": "message", "type": "bytes"}]},
        {"message": digest},
    )
    assert digest_of(wallets.safe_message(safe, chain_id, digest)) == digest_of(theirs)


@given(st.dictionaries(ADDRESSES, st.binary(min_size=65, max_size=65), min_size=1, max_size=5))
def test_signatures_follow_the_numbers_of_their_owners(signatures: dict[str, bytes]) -> None:
    joined = wallets.join_signatures(signatures)
    by_number = sorted(signatures, key=lambda owner: int.from_bytes(canonical_address(owner), "big"))
    assert joined == b"".join(signatures[owner] for owner in by_number)
