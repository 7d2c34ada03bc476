"""Where deliveries may go."""

from ipaddress import ip_address

import pytest

from services.scheduler.domain.remote_address import (
    MAX_URL_LENGTH,
    UrlRefused,
    endpoint_of,
    is_public,
    may_reach,
)

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001::1", "64:ff9b::808:808"]
PRIVATE = ["127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "::1", "fd00:ec2::254"]
NOBODYS = [
    "0.0.0.0",
    "0.1.2.3",
    "100.64.0.1",
    "100.127.255.254",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::ffff:8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached_over_https_only(address):
    for to_private in (False, True):
        assert may_reach(ip_address(address), "https", to_private=to_private)
        assert not may_reach(ip_address(address), "http", to_private=to_private)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_reached_where_that_is_allowed_and_nowhere_else(address):
    for scheme in ("https", "http"):
        assert may_reach(ip_address(address), scheme, to_private=True)
        assert not may_reach(ip_address(address), scheme, to_private=False)


@pytest.mark.parametrize("address", NOBODYS)
def test_link_local_shared_reserved_and_wrapped_addresses_are_never_reached(address):
    assert not is_public(ip_address(address))
    for scheme in ("https", "http"):
        for to_private in (False, True):
            assert not may_reach(ip_address(address), scheme, to_private=to_private)


@pytest.mark.parametrize(
    ("url", "authority", "host", "port", "target"),
    [
        ("https://hooks.example.com", "hooks.example.com", "hooks.example.com", 443, "/"),
        (
            "https://Hooks.Example.com/a%20b?x=1&y=//@",
            "hooks.example.com",
            "hooks.example.com",
            443,
            "/a%20b?x=1&y=//@",
        ),
        ("HTTPS://a.example:8443/", "a.example:8443", "a.example", 8443, "/"),
        ("https://a.example:443?q", "a.example", "a.example", 443, "/?q"),
        ("https://a.example:/x", "a.example", "a.example", 443, "/x"),
        ("https://8.8.8.8/x", "8.8.8.8", "8.8.8.8", 443, "/x"),
        ("https://[2606:4700:4700::1111]:444/x", "[2606:4700:4700::1111]:444", "2606:4700:4700::1111", 444, "/x"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "xn--bcher-kva.example", 443, "/"),
    ],
)
def test_a_good_url_is_taken_apart(url, authority, host, port, target):
    endpoint = endpoint_of(url, to_private=False)
    assert (endpoint.authority, endpoint.host, endpoint.port, endpoint.target) == (authority, host, port, target)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("", "plain ASCII"),
        ("https://a.example/" + "a" * MAX_URL_LENGTH, "at most 2048"),
        ("https://bücher.example/", "punycode"),
        ("https://a.example/ b", "plain ASCII"),
        (" https://a.example/", "plain ASCII"),
        ("https://a.example/\r\nx-forge-account: bob", "plain ASCII"),
        ("https://a.example\\@127.0.0.1/", "plain ASCII"),
        ("http://a.example/", "begin with https://"),
        ("ftp://a.example/", "begin with https://"),
        ("file:///etc/passwd", "begin with https://"),
        ("a.example/x", "begin with https://"),
        ("https:a.example", "name a host"),
        ("https:///x", "name a host"),
        ("https://me:secret@a.example/", "credentials"),
        ("https://a.example@127.0.0.1/", "credentials"),
        ("https://@a.example/", "credentials"),
        ("https://a.example/x#y", "fragment"),
        ("https://a.example/x#", "fragment"),
        ("https://a.example:0/", "port 0"),
        ("https://a.example:65536/", "malformed"),
        ("https://a.example:x/", "malformed"),
        ("https://[::1/", "malformed"),
        ("https://[v1.x]/", "malformed|name a host"),
        ("https://a[::1]/", "malformed|name a host"),
        ("https://[8.8.8.8]/", "malformed|name a host"),
        ("https://[fe80::1%25eth0]/", "malformed|name a host"),
        ("https://a..example/", "name a host"),
        ("https://a.example./", "name a host"),
        ("https://-a.example/", "name a host"),
        ("https://" + "a" * 64 + ".example/", "name a host"),
        ("https://" + "a." * 130 + "example/", "name a host"),
        ("https://2130706433/", "name a host"),
        ("https://0x7f.1/", "name a host"),
        ("https://0x7f000001/", "name a host"),
        ("https://127.1/", "name a host"),
        ("https://127.0.0.01/", "name a host"),
        ("https://localhost/", "public address"),
        ("https://api.localhost/", "public address"),
        ("https://127.0.0.1/", "public address"),
        ("https://169.254.169.254/latest/meta-data", "public address"),
        ("https://[::1]/", "public address"),
        ("https://[::ffff:127.0.0.1]/", "public address"),
    ],
)
def test_a_bad_url_is_refused_with_the_remedy(url, remedy):
    with pytest.raises(UrlRefused, match=remedy):
        endpoint_of(url, to_private=False)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/x", "https://localhost/", "http://receiver:80/", "http://[::1]/"]
)
def test_where_private_addresses_are_allowed_so_is_http_to_them(url):
    assert endpoint_of(url, to_private=True)


@pytest.mark.parametrize(
    "url", ["http://8.8.8.8/", "http://169.254.169.254/", "https://224.0.0.1/", "https://[::ffff:127.0.0.1]/"]
)
def test_where_private_addresses_are_allowed_others_are_refused_as_before(url):
    with pytest.raises(UrlRefused, match="loopback or private address"):
        endpoint_of(url, to_private=True)
