"""Which addresses may be asked."""

from __future__ import annotations

import ipaddress
import pickle
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reelscript.pipeline.errors import StageError
from reelscript.transforms.web.addresses import AddressGuard

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"]
NOT_PUBLIC = [
    *("127.0.0.1", "127.255.0.9", "0.0.0.0", "10.1.2.3", "172.31.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254"),
    *("224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "198.18.0.1"),
    *("::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "ff02::1", "fec0::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::1", "2002:a00:1::"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001:0:7f00:1::", "5f00::1"),
    *("nonsense", "", "127.1", "1.2.3.4.5"),
]
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def refused(guard: AddressGuard, address: str) -> bool:
    try:
        guard.check(address)
    except StageError as error:
        return error.kind == "private_address" and "acquire.allow_addresses" in error.detail
    return False


def looked_up(*addresses: str) -> Any:
    """Gives a getaddrinfo that knows one answer."""

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        return [
            (socket.AF_INET6, 1, 6, "", (a, port, 0, 0))
            if ":" in a
            else (socket.AF_INET, 1, 6, "", (a, port))
            for a in addresses
        ]

    return getaddrinfo


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_public_internet_may_be_asked(address: str) -> None:
    assert not refused(AddressGuard(), address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public_may_not_be_asked(address: str) -> None:
    assert refused(AddressGuard(), address)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_addresses_that_python_calls_local_are_never_let_through(address: Any) -> None:
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    local = (
        *(inner.is_private, inner.is_loopback, inner.is_link_local, inner.is_multicast),
        *(inner.is_unspecified, inner.is_reserved),
    )
    if any(local) and address not in NAT64:  # of which it calls all reserved
        assert refused(AddressGuard(), str(address))


@given(st.ip_addresses(v=4))
def test_addresses_are_judged_the_same_in_every_form(address: ipaddress.IPv4Address) -> None:
    plain = refused(AddressGuard(), str(address))
    number = int(address)
    forms = [
        ipaddress.IPv6Address((0xFFFF << 32) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1),
        ipaddress.IPv6Address((0x64FF9B << 96) | number),
    ]
    assert [refused(AddressGuard(), str(form)) for form in forms] == [plain] * 3
    if address.is_global and not (address.is_multicast or address.is_reserved):
        known = ("168.63.129.16/32", "192.88.99.0/24", "192.0.0.0/24")
        assert plain == any(address in ipaddress.ip_network(n) for n in known)


def test_addresses_that_the_user_allows_may_be_asked() -> None:
    guard = AddressGuard(("127.0.0.0/8", "10.0.0.7", "fd00::/8"))
    for address in ("127.9.9.9", "::ffff:127.0.0.1", "10.0.0.7", "fd12::1", "8.8.8.8"):
        assert not refused(guard, address)
    for address in ("10.0.0.8", "::1", "192.168.0.1"):
        assert refused(guard, address)
    assert pickle.loads(pickle.dumps(guard)) == guard


@pytest.mark.parametrize("network", ["localhost", "127.0.0.0/33", "", "1.2.3"])
def test_addresses_that_are_allowed_must_be_networks(network: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        AddressGuard((network,))


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0"),
        *("①②⑦.⓪.⓪.①", "localhost", "fe80::1", "::1", "::ffff:7f00:1"),
    ],
)
def test_addresses_are_known_in_every_form_that_the_system_takes(host: str) -> None:
    with pytest.raises(StageError) as caught:
        AddressGuard().resolve(host, 80)
    assert caught.value.kind == "private_address"


def test_addresses_of_a_name_are_kept_only_where_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", looked_up("10.0.0.1", "8.8.8.8", "::1", "8.8.4.4"))
    found = AddressGuard().resolve("both.example", 443)
    assert [f[4] for f in found] == [("8.8.8.8", 443), ("8.8.4.4", 443)]
    monkeypatch.setattr(socket, "getaddrinfo", looked_up("10.0.0.1", "::1", "10.0.0.1"))
    with pytest.raises(StageError, match=r"^inside\.example is 10\.0\.0\.1, ::1, which is no"):
        AddressGuard().resolve("inside.example", 80)
    with pytest.raises(StageError, match=r"^10\.0\.0\.1 is no public address: acquire\.allow"):
        AddressGuard().check("10.0.0.1")


@pytest.mark.parametrize(
    ("host", "port"), [("a" * 70, 80), ("a..b", 80), ("8.8.8.8", 65536 + 80), ("8.8.8.8", 0)]
)
def test_addresses_of_what_is_no_host_are_not_looked_up(host: str, port: int) -> None:
    with pytest.raises(StageError) as caught:
        AddressGuard().resolve(host, port)
    assert caught.value.kind == "bad_address"


def test_addresses_of_an_unknown_name_are_an_error_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match="not known"):
        AddressGuard().resolve("nowhere.example", 80)


def test_addresses_say_hostile_names_on_one_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", looked_up("10.0.0.1"))
    with pytest.raises(StageError) as caught:
        AddressGuard().resolve("evil\x1b[2J\n" + "x" * 5000, 80)
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 300
