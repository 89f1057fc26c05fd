"""Brokers that speak TLS and want to know who asks, as `gateway.yaml` names both."""

import asyncio
import ssl

import pytest

from crplugins.cli.online import try_everything
from crplugins.config import parse_config
from crplugins.homes.upstream_choice import upstreams_of
from crplugins.sinks.message import RecordMessage
from tests.kafka_login import MECHANISMS
from tests.kafka_setup import KafkaServer
from tests.sinks.conftest import NAME
from tests.tls_setup import self_signed

LOGIN = ("gateway-of-test", "a password with ü, = and \N{SNOWMAN}")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("kafka"))


def server_side(certificate, clients=None):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=clients)
    context.load_cert_chain(certificate)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def config_of(kafka, **words):
    section = {"bootstrap_servers": kafka.servers, "topic": NAME, **words}
    return parse_config({"sinks": {"kafka": section}})


async def published(config, kafka):
    """What has come of one message; raises what the broker raises."""
    broker = config.sinks.kafka.broker()
    broker._seconds = 5.0
    try:
        await broker.publish([RecordMessage("key-of-test", b"{}")])
    finally:
        await broker.close()
    return [each for partition in (await kafka.messages(NAME)).values() for each in partition]


async def trial(config):
    *_, found = await try_everything(config, await asyncio.to_thread(upstreams_of, config), 5)
    assert found.what == "sinks.kafka"
    return found


def sasl(mechanism, password=LOGIN[1]):
    return {"sasl_mechanism": mechanism, "sasl_username": LOGIN[0], "sasl_password": password}


async def test_a_broker_is_spoken_to_over_tls_if_the_authority_is_known(certificate):
    async with KafkaServer(tls=server_side(certificate)) as kafka:
        known = config_of(kafka, security_protocol="SSL", ssl_cafile=str(certificate))
        assert await published(known, kafka) == [("key-of-test", {})]
        assert (await trial(known)).good
        unknown = await trial(config_of(kafka, security_protocol="SSL"))
        assert not unknown.good
        assert "CERTIFICATE_VERIFY_FAILED" in unknown.said
        assert not (await trial(config_of(kafka))).good


async def test_a_broker_may_want_the_gateways_certificate(certificate):
    async with KafkaServer(tls=server_side(certificate, clients=certificate)) as kafka:
        tls = {"security_protocol": "SSL", "ssl_cafile": str(certificate)}
        assert await published(config_of(kafka, **tls, ssl_certfile=str(certificate)), kafka) == [("key-of-test", {})]
        assert not (await trial(config_of(kafka, **tls))).good


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_the_gateway_says_who_it_is(certificate, mechanism):
    async with KafkaServer(tls=server_side(certificate), login=LOGIN) as kafka:
        tls = {"security_protocol": "SASL_SSL", "ssl_cafile": str(certificate)}
        assert await published(config_of(kafka, **tls, **sasl(mechanism)), kafka) == [("key-of-test", {})]
        refused = await trial(config_of(kafka, **tls, **sasl(mechanism, "another password")))
        assert (refused.good, refused.said) == (False, "SaslAuthenticationFailed")


async def test_sasl_goes_without_tls(certificate):
    async with KafkaServer(login=LOGIN) as kafka:
        words = {"security_protocol": "SASL_PLAINTEXT", **sasl("SCRAM-SHA-256")}
        assert await published(config_of(kafka, **words), kafka) == [("key-of-test", {})]
