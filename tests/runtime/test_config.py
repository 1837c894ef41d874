"""Settings: the file, what goes over it, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pose_runtime.config import MAX_BYTES, as_toml, load_config
from pose_runtime.errors import ConfigError

FILE = """
bundle = "higherhrnet-tiny"
min_score = 0.5

[[source]]
address = "camera:0"
fps = 30

[serve]
address = "127.0.0.1:8081"
quality = 60

[track]
memory_s = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "door.toml"
    path.write_text(FILE)
    return path


def test_options_go_over_the_file_and_that_over_defaults(file: Path) -> None:
    config = load_config(file, {"min_score": 0.7, "serve": {"address": "9000"}, "smooth": {}})
    assert (config.bundle, config.min_score, config.device) == ("higherhrnet-tiny", 0.7, "auto")
    assert config.serve is not None
    assert (config.serve.address, config.serve.quality) == ("9000", 60)
    assert config.track is not None
    assert config.track.memory_s == 3
    assert config.smooth is not None
    assert [source.address for source in config.source] == ["camera:0"]


def test_a_list_takes_the_files_place_and_none_takes_a_table_away(file: Path) -> None:
    config = load_config(file, {"source": [{"address": "a.mp4"}], "track": None})
    assert [(source.address, source.fps) for source in config.source] == [("a.mp4", None)]
    assert config.track is None


def test_what_is_printed_says_the_same(file: Path, tmp_path: Path) -> None:
    config = load_config(file, {"mqtt": {"host": "broker"}})
    printed = tmp_path / "printed.toml"
    printed.write_text(as_toml(config))
    assert load_config(printed, {}) == config


def test_sources_get_names_of_their_own() -> None:
    addresses = ["a/people.mp4", "b/people.mp4", "camera:0", "c/people.mp4"]
    sources = [{"address": address} for address in addresses] + [{"address": "d.mp4", "name": "people-2"}]
    names = [source.name for source in load_config(None, {"source": sources}).source]
    assert names == ["people", "people-3", "camera0", "people-4", "people-2"]


def test_one_file_runs_in_one_thread_all_else_in_several() -> None:
    assert not load_config(None, {"source": [{"address": "a.mp4"}]}).is_live
    for more in (
        {"source": [{"address": "camera:0"}]},
        {"source": [{"address": "a.mp4"}, {"address": "b.mp4"}]},
        {"source": [{"address": "a.mp4"}], "serve": {}},
    ):
        assert load_config(None, more).is_live


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 1", "unknown field `colour`"),
        ("[[source]]\naddress = 'camera:0'\nspeed = 3", "source[0]: Object contains unknown field `speed`"),
        ("[[source]]\nname = 'a'", "source[0]: Object missing required field `address`"),
        ("[serve]\nquality = 1000", "serve.quality: Expected `int` <= 95"),
        ("stuck_s = 0", "stuck_s: Expected `float` > 0"),
        ("bundle = 3", "bundle: Expected `str`"),
        ("[[source]]\naddress='a'\nname='x'\n[[source]]\naddress='b'\nname='x'", "'x' is given twice"),
        ("bundle = ", "no valid TOML"),
        ("# " + "x" * MAX_BYTES, "that is no settings"),
    ],
)
def test_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "door.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_config(path, {})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: No such file"):
        load_config(tmp_path / "none.toml", {})
