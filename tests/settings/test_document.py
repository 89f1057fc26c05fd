"""What is no readable YAML is refused with its line; what is YAML is read as YAML."""

import pytest

from crplugins.settings.document import read_document

MODEL = "model_list: [{model_name: m, litellm_params: {model: openai/m}}]\n"


def test_a_key_that_stands_twice_is_an_error_with_both_lines(refuse):
    assert refuse(MODEL + "server:\n  port: 1\n  host: h\n  port: 2\n") == [
        "line 5: server.port: stands twice, first in line 3",
    ]


def test_a_key_that_stands_twice_in_one_line_is_an_error_too(refuse):
    assert refuse(MODEL + "server: {port: 1, port: 2}\n") == ["line 2: server.port: stands twice, first in line 2"]


def test_a_tab_is_named(refuse):
    assert refuse("server:\n\tport: 1\n") == ["line 2: a tab, where YAML wants spaces"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("server: {port: 1\n", "line 2: not valid YAML: expected ',' or '}', but got '<stream end>'"),
        ("server: a: b\n", "line 1: not valid YAML: mapping values are not allowed here"),
        (
            "server:\n  port: 1\n host: x\n",
            "line 3: not valid YAML: expected <block end>, but found '<block mapping start>'",
        ),
        ("a: 1\n---\nb: 2\n", "line 2: a second document (---), where one is read"),
        ("key: \x00\n", "line 1: a character that YAML does not allow"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(refuse, text, line):
    assert refuse(text) == [line]


def test_a_variable_without_quotes_in_braces_is_explained(refuse):
    text = "model_list:\n  - {model_name: m, litellm_params: {model: openai/m, api_key: ${KEY}}}\n"
    assert refuse(text, {"KEY": "k"}) == [
        "line 2: not valid YAML; inside {...} and [...] a ${NAME} must stand in quotes",
    ]


def test_a_syntax_error_does_not_quote_a_secret_that_looks_like_an_alias_or_a_tag(refuse):
    assert refuse("keys:\n  - {id: a, secret: *sk-topsecret}\n") == [
        "line 2: an alias (*) without its anchor (&); put text that begins with * in quotes",
    ]
    assert refuse(MODEL + "keys:\n  - {id: a, secret: !sk-topsecret b}\n") == [
        "line 3: keys[0].secret: YAML tags (!) are not read here; put text that begins with ! in quotes",
        "line 3: keys[0]: needs a secret or a hash, and not both",
    ]


def test_python_tags_are_not_read(refuse):
    lines = refuse(MODEL + "guard: !!python/object/apply:os.system [echo]\n")
    assert lines[0] == "line 2: guard: YAML tags (!) are not read here"


def test_an_alias_that_holds_itself_is_refused(refuse):
    assert refuse(MODEL + "plugins: &a [*a]\n")[0] == "line 2: plugins[0]: holds itself"


def test_a_file_of_anything_but_keys_is_refused(refuse):
    assert refuse("\n- a\n- b\n") == ["line 2: the file must hold keys, such as 'model_list:'"]


def test_merged_keys_count_and_own_keys_override_them(load):
    config = load(
        "model_list:\n"
        "  - &first\n"
        "    model_name: a\n"
        "    litellm_params: &params {model: openai/a, api_base: http://one/v1, temperature: 0.5}\n"
        "  - {<<: *first, model_name: b}\n"
        "  - model_name: c\n"
        "    litellm_params:\n"
        "      <<: *params\n"
        "      api_base: http://two/v1\n"
        "  - {<<: *first, model_name: d}\n"
    )
    a, b, c, d = config.deployments()
    assert [x.name for x in (a, b, c, d)] == ["a", "b", "c", "d"]
    assert [x.api_base for x in (a, b, c, d)] == ["http://one/v1", "http://one/v1", "http://two/v1", "http://one/v1"]
    assert c.parameters == {"temperature": 0.5}


def test_an_alias_of_a_mapping_with_merged_keys_repeats_nothing(load):
    config = load(
        "model_list:\n"
        "  - {model_name: a, litellm_params: &base {model: openai/a, seed: 1}}\n"
        "  - {model_name: b, litellm_params: &more {<<: *base, seed: 2}}\n"
        "  - {model_name: c, litellm_params: *more}\n"
    )
    assert [d.parameters for d in config.deployments()] == [{"seed": 1}, {"seed": 2}, {"seed": 2}]


def test_an_unquoted_date_stays_text(load):
    config = load("model_list: [{model_name: m, litellm_params: {model: azure/m, api_version: 2024-06-01}}]\n")
    assert config.deployments()[0].parameters == {"api_version": "2024-06-01"}


def test_an_empty_file_serves_the_demo_model(load):
    assert [d.model for d in load("# nothing yet\n").deployments()] == ["demo/echo"]


def test_a_byte_order_mark_is_no_part_of_the_first_key(load):
    assert load("\ufeff" + MODEL).model_list[0].model_name == "m"


def test_what_is_shown_of_a_document_has_its_text_once():
    shown = repr(read_document("name: value-7", "gateway.yaml"))
    assert shown.count("value-7") == 1
    assert "ScalarNode" not in shown
