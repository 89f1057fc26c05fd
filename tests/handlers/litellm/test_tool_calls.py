"""Tool calls: OpenAI's fragments from every provider's."""

from crplugins.handlers.litellm.tool_calls import ToolCalls, complete_calls


def call(index=None, id=None, name=None, arguments=None, **more):
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": id, "type": "function", "function": function, **more}


def test_id_type_and_name_stand_on_the_first_fragment_only():
    calls = ToolCalls()
    assert calls.fragments([call(0, "c1", "f", "")]) == [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
    ]
    again = [call(0, "c1", "f", '{"a"')]  # LangChain loses the arguments where the id is repeated
    assert calls.fragments(again) == [{"index": 0, "function": {"arguments": '{"a"'}}]
    assert calls.fragments([call(0, None, None, ":1}")]) == [{"index": 0, "function": {"arguments": ":1}"}}]


def test_parallel_calls_that_all_have_the_index_0_are_distinguished_by_their_ids():
    calls = ToolCalls()
    first = calls.fragments([call(0, "c1", "f", "{}"), call(0, "c2", "g", "{}")])
    assert [(c["index"], c["id"]) for c in first] == [(0, "c1"), (1, "c2")]
    assert calls.fragments([call(0, None, None, "x")])[0]["index"] == 1


def test_a_missing_index_is_the_position():
    calls = ToolCalls().fragments([call(None, "c1", "f", "{}"), call(None, "c2", "g", "{}")])
    assert [c["index"] for c in calls] == [0, 1]


def test_a_missing_id_is_made_up_once():
    calls = ToolCalls()
    assert calls.fragments([call(0, None, "f", "")])[0]["id"].startswith("call_")
    assert calls.fragments([call(0, "", None, "{}")]) == [{"index": 0, "function": {"arguments": "{}"}}]


def test_a_function_called_without_arguments_is_given_an_empty_object_at_the_end():
    calls = ToolCalls()
    calls.fragments([call(0, "c1", "f", ""), call(1, "c2", "g", '{"a":1}'), call(2, "c3", "h", {})])
    calls.fragments([{"index": 3, "id": "c4", "custom": {"name": "shell", "input": ""}}])
    assert calls.without_arguments() == [{"index": 0, "function": {"arguments": "{}"}}]
    assert [c["function"]["arguments"] for c in complete_calls([call(0, "c1", "f", ""), call(1, "c2", "g", {})])] == [
        "{}",
        "{}",
    ]


def test_arguments_sent_as_an_object_become_a_string():
    assert ToolCalls().fragments([call(0, "c", "f", {"a": 1})])[0]["function"]["arguments"] == '{"a":1}'


def test_custom_tools_keep_their_input():
    calls = ToolCalls()
    first = {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "sql", "input": ""}}
    assert calls.fragments([first]) == [first]
    assert calls.fragments([{"index": 0, "custom": {"input": "select"}}]) == [
        {"index": 0, "custom": {"input": "select"}}
    ]


def test_calls_of_a_plain_answer_are_whole_and_have_no_index():
    assert complete_calls([call(0, "c1", "f", "{}", provider_specific_fields={})]) == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]
    assert complete_calls(None) == []


def test_a_fragment_without_a_name_continues_its_call_whatever_its_id():
    calls = ToolCalls()
    calls.fragments([call(0, "c1", "get_time", "")])
    for number, piece in enumerate(['{"city":', '"Paris"', "}"]):
        assert calls.fragments([call(0, f"x{number}", None, piece)]) == [{"index": 0, "function": {"arguments": piece}}]


def test_a_name_begins_a_call_where_the_one_before_is_whole_though_no_id_says_so():
    calls = ToolCalls()
    first = calls.fragments([call(0, "", "f", '{"a":1}')])
    second = calls.fragments([call(0, "", "f", '{"a":2}')])
    assert [first[0]["index"], second[0]["index"]] == [0, 1]
    assert first[0]["id"] != second[0]["id"]


def test_a_name_that_is_repeated_without_an_id_begins_no_call():
    calls = ToolCalls()
    calls.fragments([call(0, None, "f", '{"a"')])
    assert calls.fragments([call(0, None, "f", ":1}")]) == [{"index": 0, "function": {"arguments": ":1}"}}]


def test_a_call_told_once_more_or_as_nothing_says_nothing():
    calls = ToolCalls()
    assert calls.fragments([None, call(0, "c1", "f", '{"a": 1}')])[0]["id"] == "c1"
    assert calls.fragments([call(0, "c1", "f", '{"a":1}')]) == []
    assert [made["index"] for made in ToolCalls().fragments(call(0, "c1", "f", "{}"))] == [0]  # one that stands alone


def test_a_name_that_comes_late_is_told_and_no_two_calls_have_one_id():
    calls = ToolCalls()
    calls.fragments([call(0, "c1", None, "")])
    assert calls.fragments([call(0, None, "f", "{}")]) == [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]
    [second] = calls.fragments([call(1, "c1", "g", "{}")])
    assert (second["index"], second["id"] != "c1") == (1, True)
    assert len({made["id"] for made in complete_calls([call(0, "x", "f", "{}"), call(1, "x", "g", "{}")])}) == 2
