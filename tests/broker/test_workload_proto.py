"""The messages, against an encoder that shares nothing with the description they are read by."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from proxy.broker.workload_proto import jwt_bundles_message, x509_message
from tests.support.workload_api import Minted, jwt_response, x509_response

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MAPS = st.dictionaries(TEXT, st.binary(max_size=20), max_size=3)
MINTED = st.builds(
    Minted, TEXT, st.binary(max_size=300), st.binary(max_size=20), st.binary(max_size=20), TEXT
)


@given(st.lists(MINTED, max_size=3), st.lists(st.binary(max_size=20), max_size=3), MAPS)
def test_x509_messages_are_read_as_they_were_written(
    svids: list[Minted], crl: list[bytes], federated: dict[str, bytes]
) -> None:
    message = x509_message(x509_response(svids, crl, federated))
    assert message is not None
    assert [Minted(*read) for read in message.svids] == [replace(svid, hint="") for svid in svids]
    assert message[1:] == (tuple(crl), federated)
    assert all(repr(read) == f"X509SvidMessage({read.spiffe_id!r})" for read in message.svids)


@given(MAPS)
def test_jwt_messages_are_read_as_they_were_written(bundles: dict[str, bytes]) -> None:
    assert jwt_bundles_message(jwt_response(bundles)) == bundles
