"""`include` reads further files, as LiteLLM's proxy does."""

from pathlib import Path

import pytest

from crplugins.config import ConfigError, load_config


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("parts").mkdir()


def write(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")


def model(name: str, params: str = "") -> str:
    return f"  - {{model_name: {name}, litellm_params: {{model: openai/m{params}}}}}\n"


def names() -> list[str]:
    return [entry.model_name for entry in load_config("config.yaml", {}).model_list]


def test_lists_are_joined_and_other_keys_are_replaced() -> None:
    write(
        "config.yaml",
        f"include: [parts/one.yaml, two.yaml]\nmodel_list:\n{model('a')}router_settings: {{num_retries: 1}}\n",
    )
    write("parts/one.yaml", f"model_list:\n{model('b')}{model('c')}router_settings: {{cooldown_time: 9}}\n")
    write("two.yaml", f"model_list:\n{model('d')}")
    assert names() == ["a", "b", "c", "d"]
    config = load_config("config.yaml", {})
    assert (config.num_retries, config.cooldown_time) == (None, 9)


def test_a_file_is_found_beside_the_one_that_names_it_else_beside_the_first_and_read_once() -> None:
    write("config.yaml", f"include: [parts/one.yaml]\nmodel_list:\n{model('a')}")
    write("parts/one.yaml", f"include: [two.yaml, far.yaml, ../config.yaml, one.yaml]\nmodel_list:\n{model('b')}")
    write("parts/two.yaml", f"include: [one.yaml]\nmodel_list:\n{model('c')}")
    write("far.yaml", f"model_list:\n{model('d')}")
    assert names() == ["a", "b", "c", "d"]


def test_a_mistake_is_named_with_its_file_and_line() -> None:
    write("config.yaml", f"include: [parts/one.yaml]\nmodel_list:\n{model('a')}server: {{port: 1}}\n")
    write("parts/one.yaml", f"model_list:\n{model('b')}{model('c', ', timeout: soon')}")
    with pytest.raises(ConfigError) as caught:
        load_config("config.yaml", {})
    file = Path("parts/one.yaml").resolve()
    assert str(caught.value) == (f"{file}, line 3: model_list[2].litellm_params.timeout: must be a number, not text")


@pytest.mark.parametrize(
    ("include", "sentence"),
    [
        ("{a: b}", "config.yaml, line 1: include: must be a list of the names of files"),
        ("[1]", "config.yaml, line 1: include: must be a list of the names of files"),
        ("[list.yaml]", "line 1: the file must hold keys, such as 'model_list:'"),
    ],
)
def test_what_cannot_be_included_is_a_mistake(include: str, sentence: str) -> None:
    write("config.yaml", f"include: {include}\nmodel_list:\n{model('a')}")
    write("list.yaml", "- 1\n")
    with pytest.raises(ConfigError) as caught:
        load_config("config.yaml", {})
    assert str(caught.value).endswith(sentence)


def test_only_so_many_files_are_read() -> None:
    write("config.yaml", f"include: [parts/0.yaml]\nmodel_list:\n{model('a')}")
    for number in range(120):
        write(f"parts/{number}.yaml", f"include: [{number + 1}.yaml]\n")
    with pytest.raises(ConfigError, match=r"98\.yaml, line 1: include\[0\]: more than 100 files are included"):
        load_config("config.yaml", {})


def test_a_file_that_is_not_there_is_named_and_stops_no_other() -> None:
    write("config.yaml", f"include: [nowhere.yaml, one.yaml]\nmodel_list:\n{model('a')}")
    write("one.yaml", f"model_list:\n{model('b')}")
    config = load_config("config.yaml", {})
    assert [entry.model_name for entry in config.model_list] == ["a", "b"]
    assert config.warnings[0] == "include counts in part: nowhere.yaml: there is no such file"


def test_a_symlink_to_itself_is_told_like_any_file_that_cannot_be_read() -> None:
    Path("loop.yaml").symlink_to("loop.yaml")
    write("config.yaml", f"include: [loop.yaml]\nmodel_list:\n{model('a')}")
    assert names() == ["a"]
    told = load_config("config.yaml", {}).warnings
    assert "include counts in part: loop.yaml: cannot be read (Too many levels of symbolic links)" in told
