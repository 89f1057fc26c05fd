"""The section `sinks`, and what is said of one that cannot be."""

import pytest

from crplugins.cli.preflight import findings
from crplugins.config import ConfigError, parse_config
from crplugins.homes.gateway.changes import changes_between
from tests.tls_setup import self_signed

KAFKA = {"bootstrap_servers": "kafka:9092"}


@pytest.mark.parametrize("servers", ["kafka", "10.0.0.1:9092", "[::1]:9092", "[fe80::1]", "a:1, b:2"])
def test_a_broker_is_a_host_with_or_without_its_port(servers):
    section = parse_config({"sinks": {"kafka": {"bootstrap_servers": servers}}}).sinks.kafka
    assert section is not None
    assert section.bootstrap_servers == servers


def test_brokers_are_a_text_or_a_list():
    for servers in ("a:9092,b:9092", ["a:9092", "b:9092"]):
        section = parse_config({"sinks": {"kafka": {"bootstrap_servers": servers}}}).sinks.kafka
        assert section is not None
        assert section.bootstrap_servers == "a:9092,b:9092"


@pytest.mark.parametrize(
    ("sinks", "said"),
    [
        ({"kafka": {}}, "sinks.kafka.bootstrap_servers: is missing"),
        ({"kafka": {**KAFKA, "topic": "a/b"}}, "sinks.kafka.topic: must be a name of letters"),
        ({"kafka": {**KAFKA, "security_protocol": "SASL_SSL"}}, "sinks.kafka: needs sasl_username and sasl_password"),
        (
            {"kafka": {**KAFKA, "sasl_username": "me"}},
            "sinks.kafka.sasl_username: needs security_protocol SASL_PLAINTEXT",
        ),
        ({"kafka": {**KAFKA, "sasl_mechanism": "PLAIN"}}, "sinks.kafka.sasl_mechanism: needs security_protocol SASL"),
        (
            {"kafka": {**KAFKA, "ssl_cafile": "/ca"}},
            "sinks.kafka.ssl_cafile: needs security_protocol SSL or SASL_SSL; it",
        ),
        (
            {"kafka": {**KAFKA, "security_protocol": "SSL", "ssl_keyfile": "/key"}},
            "sinks.kafka.ssl_keyfile: needs ssl_certfile",
        ),
        ({"kafka": {"bootstrap_servers": "kafka:abc"}}, "sinks.kafka.bootstrap_servers: must be host:port"),
        ({"kafka": {"bootstrap_servers": "kafka:99999"}}, "sinks.kafka.bootstrap_servers: must be host:port"),
        ({"kafka": {"bootstrap_servers": "SSL://kafka:9093"}}, "sinks.kafka.bootstrap_servers: must be host:port"),
        ({"kafka": {"bootstrap_servers": "a:9092,,b:9092"}}, "sinks.kafka.bootstrap_servers: must be host:port"),
        ({"redis": {"url": "redis+cluster://hidden@h:0"}}, "sinks.redis: must be the URL of a Redis server"),
        ({"kinesis": {}}, "sinks.kinesis: unknown key"),
    ],
)
def test_what_cannot_be_is_named(sinks, said):
    with pytest.raises(ConfigError) as refused:
        parse_config({"sinks": sinks})
    assert said in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_a_missing_certificate_and_a_folder_that_is_none_stop_the_start():
    tls = {**KAFKA, "security_protocol": "SSL", "ssl_cafile": "/none.pem"}
    config = parse_config({"sinks": {"kafka": tls, "redis": {"url": "redis://h", "spool": "/proc/none/spool"}}})
    found = [(finding.stops, str(finding.problem)) for finding in findings(config)]
    assert all(stops for stops, _ in found)
    assert "ssl_cafile /none.pem cannot be read: No such file or directory" in found[0][1]
    assert "the journal of usage records cannot be created beside /proc/none/spool" in found[1][1]


def test_files_that_are_no_certificates_are_named(tmp_path):
    empty, pem = tmp_path / "empty.pem", self_signed(tmp_path)
    empty.write_text("nothing")

    def said(**files):
        section = {**KAFKA, "security_protocol": "SSL", **{name: str(file) for name, file in files.items()}}
        return [each.problem.message for each in findings(parse_config({"sinks": {"kafka": section}})) if each.stops]

    (no_authority,) = said(ssl_cafile=empty)
    assert f"ssl_cafile {empty} has no certificate in PEM (" in no_authority
    (no_key,) = said(ssl_cafile=pem, ssl_certfile=pem, ssl_keyfile=empty)
    assert f"ssl_certfile {pem} and its key are no certificate and key in PEM that belong together" in no_key
    assert said(ssl_cafile=pem, ssl_certfile=pem) == []


def test_a_change_shows_no_password():
    def configured(secret):
        sasl = {"security_protocol": "SASL_PLAINTEXT", "sasl_username": "me", "sasl_password": secret}
        return parse_config({"sinks": {"kafka": {**KAFKA, **sasl}, "redis": {"url": f"redis://:{secret}@h:6379/0"}}})

    changes = changes_between(configured("hidden-1"), configured("hidden-2"))
    assert len(changes) == 2
    assert "hidden" not in "".join(changes)
