"""Messages of webhooks: signed as Standard Webhooks says, and the same id for the same event in every process."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta

import pytest

from crplugins.core.network import is_public
from crplugins.core.principal import Budget, Principal
from crplugins.homes.webhooks.message import Message, budget_message, key_message, signed_headers, signing_key
from crplugins.plugins.budgets.windows import BudgetWindows

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def window(usd=100, period="month", now=NOW):
    [found] = BudgetWindows(Budget(usd * 1_000_000, period), {}, 0.8).of(Principal("a"), int(now.timestamp() * 1000))
    return found


def test_the_example_of_the_standard_has_its_signature():
    message = Message("msg_p5jXN8AQM9LWM0D4loKWxJek", (), "key.expired", b'{"test": 2432232314}', 0)
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert signed_headers(message, key, 1614265330.9) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("secret", ["any text of sixteen", "whsec_no base64!"])
def test_a_secret_that_is_no_base64_is_the_key_itself(secret):
    message = budget_message(window(), 80, 0.8, NOW)
    headers = signed_headers(message, signing_key(secret), 1.0)
    signed = f"{message.id}.1.".encode() + message.body
    expected = base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_a_budget_is_told_with_what_is_spent_and_when_it_begins_again():
    message = budget_message(window(), 80_500_000, 0.8, NOW)
    assert json.loads(message.body) == {
        "type": "budget.threshold",
        "timestamp": "2026-06-01T12:00:00Z",
        "data": {
            "scope": "key", "owner": "a", "period": "month", "threshold": 0.8, "limit_usd": 100.0, "spent_usd": 80.5,
            "starts_at": "2026-06-01T00:00:00Z", "resets_at": "2026-07-01T00:00:00Z", "shadow": False,
        },
    }  # fmt: skip
    assert message.until == datetime(2026, 7, 1, tzinfo=UTC).timestamp() * 1000
    total = budget_message(window(period="total"), 100, 1.0, NOW)
    assert (total.type, json.loads(total.body)["data"]["resets_at"]) == ("budget.exhausted", None)


def test_a_message_is_the_same_whatever_process_makes_it_and_another_for_each_event():
    same = {budget_message(window(), spent, 0.8, NOW + timedelta(days=spent)).id for spent in (1, 2)}
    assert len(same) == 1
    others = {
        budget_message(window(), 1, 0.5, NOW).id,
        budget_message(window(), 1, 1.0, NOW).id,
        budget_message(window(usd=200), 1, 0.8, NOW).id,  # raised: the same share is reached again
        budget_message(window(period="day"), 1, 0.8, NOW).id,
        budget_message(window(now=NOW + timedelta(days=31)), 1, 0.8, NOW).id,
        key_message(Principal("a"), NOW, 7, NOW).id,
        key_message(Principal("a"), NOW, 1, NOW).id,
        key_message(Principal("a"), NOW, None, NOW).id,
        key_message(Principal("b"), NOW, None, NOW).id,
        key_message(Principal("a"), NOW + timedelta(days=1), None, NOW).id,
    }
    assert len(others | same) == 11


def test_a_key_is_told_with_who_answers_for_it():
    message = key_message(Principal("a", team="search", owner="ann"), NOW, 7, NOW)
    assert json.loads(message.body)["data"] == {
        "key": "a", "team": "search", "owner": "ann", "expires": "2026-06-01T12:00:00Z", "days": 7,
    }  # fmt: skip
    assert "days" not in json.loads(key_message(Principal("a"), NOW, None, NOW).body)["data"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # judged, not bound
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("ff02::1", False),
        ("168.63.129.16", False),  # Azure
        ("::ffff:168.63.129.16", False),
        ("168.63.129.17", True),
        ("192.0.0.192", False),  # Oracle
        ("fec0::1", False),
        ("64:ff9b:1::a9fe:a9fe", False),
        ("::169.254.169.254", False),
        ("::ffff:0:169.254.169.254", False),
        ("5f00::1", False),
    ],
)
def test_private_addresses_are_known_in_every_spelling(address, public):
    assert is_public(address) is public
