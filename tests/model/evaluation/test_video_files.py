"""Finding the files of annotated videos in a folder: the one that is named, through links, and none by a guess."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.errors import InputError
from model.evaluation.annotations import Annotation, MediaFile, read_csv
from model.evaluation.video_files import find_videos


def made(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_videos_are_found_by_any_of_their_names(tmp_path: Path) -> None:
    made(tmp_path, "a/clip_3_9.webm", "other.mp4", "x@N00_1.mov.mp4", "notes.txt", "gone.txt", "folder.mp4/inside.MKV")
    annotations = [
        Annotation("clip_3_9", ("one", "two"), (MediaFile("clip_3_9"), MediaFile("clip", 3.0, 9.0))),
        Annotation("other_10_20", ("three",), (MediaFile("other_10_20"), MediaFile("other", 10.0, 20.0))),
        Annotation("x@N00_1.mov", ("four",), (MediaFile("x@N00_1", 0.0, 30.0),)),
        Annotation("inside", ("five",), (MediaFile("inside"),)),
        Annotation("gone", ("six",), (MediaFile("gone"),)),
    ]
    found = find_videos(annotations, tmp_path)
    assert [(e.video_id, e.texts, str(e.path.relative_to(tmp_path)), e.start, e.end) for e in found.examples] == [
        ("clip_3_9", ("one", "two"), "a/clip_3_9.webm", None, None),
        ("other_10_20", ("three",), "other.mp4", 10.0, 20.0),
        ("x@N00_1.mov", ("four",), "x@N00_1.mov.mp4", 0.0, 30.0),
        ("inside", ("five",), "folder.mp4/inside.MKV", None, None),
    ]
    assert found.missing == ("gone",)
    assert found.missing_share == 0.2
    assert str(found) == f"1 of 5 videos (20.0%) are not in {tmp_path} and are left out: gone"
    assert str(find_videos(annotations[:3], tmp_path)) == f"all 3 videos are in {tmp_path}"


def test_videos_of_every_suffix_are_found_and_previews_are_not_preferred(tmp_path: Path) -> None:
    suffixes = (
        "mkv",
        "webm",
        "flv",
        "mpg",
        "mpeg",
        "ts",
        "mts",
        "m2ts",
        "avi",
        "wmv",
        "3gp",
        "MTS",
        "gif",
        "rm",
        "ogv",
    )
    made(tmp_path, *(f"v{n}.{suffix}" for n, suffix in enumerate(suffixes)), "v0.gif")
    annotations = [Annotation(f"v{n}", ("text",), (MediaFile(f"v{n}"),)) for n in range(len(suffixes))]
    found = find_videos(annotations, tmp_path)
    assert [example.path.suffix[1:] for example in found.examples] == list(suffixes)


def test_a_folder_without_any_of_the_videos_is_the_wrong_one(tmp_path: Path) -> None:
    made(tmp_path, "a.mp4")
    annotations = [Annotation(f"v{n}", ("text",), (MediaFile(f"v{n}"),)) for n in range(9)]
    with pytest.raises(InputError, match=r"none of 9 videos is in .* which holds 1 videos; .* v0\.mp4"):
        find_videos(annotations, tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        find_videos(annotations, tmp_path / "none")
    made(tmp_path, "v0.mp4")
    assert str(find_videos(annotations, tmp_path)).endswith("left out: v1, v2, v3, v4, v5…")


@pytest.mark.parametrize(
    ("names", "files", "expected"),
    [
        (("a/1.mp4", "b/1.mp4", "a/2.mkv", "a/2.mp4"), ("a/1.mp4", "b/1.mp4", "a/2.mkv", "a/2.mp4"), None),
        (("a/1", "b/1"), ("a/1.mp4", "b/1.webm"), ("a/1.mp4", "b/1.webm")),
        (("1.mp4",), ("1.mp4", "a/1.mp4"), ("1.mp4",)),
        (("1.mp4",), ("a/1.mp4", "b/1.mkv"), ("a/1.mp4",)),
        (("old/place/a/1.mp4", "old/place/b/1.mp4"), ("a/1.mp4", "b/1.mp4"), ("a/1.mp4", "b/1.mp4")),
        (("elsewhere/1.mp4", "2.mov"), ("1.mp4", "x/2.mp4"), ("1.mp4", "x/2.mp4")),
        (("a/1.mp4", "b/1.mp4"), ("a/1.mp4",), ("a/1.mp4", "missing")),
        (("a/2.mkv", "a/2.mp4"), ("a/2.mp4",), ("missing", "a/2.mp4")),
        (("1",), ("a/1.mp4", "b/1.mp4"), "a/1.mp4 and .*b/1.mp4 may both be the video '1'"),
        (("c/1.mp4",), ("a/1.mp4", "b/1.mp4"), "a/1.mp4 and .*b/1.mp4 may both be the video 'c/1.mp4'"),
        (("1",), ("1.mp4", "1.webm"), "1.mp4 and .*1.webm may both be the video '1'"),
        (("a/1.mp4", "b/1.mp4"), ("x/1.mp4",), "'a/1.mp4' and 'b/1.mp4' would both be .*x/1.mp4"),
        (("1", "1.mp4"), ("1.mp4",), "'1' and '1.mp4' would both be .*1.mp4"),
    ],
)
def test_a_file_is_the_one_that_is_named_or_none(
    tmp_path: Path, names: tuple[str, ...], files: tuple[str, ...], expected: tuple[str, ...] | str | None
) -> None:
    made(tmp_path / "videos", *files)
    rows = "".join(f"{name},text {number}\n" for number, name in enumerate(names))
    (tmp_path / "pairs.csv").write_text(f"video,text\n{rows}")
    annotations = read_csv(tmp_path / "pairs.csv")
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            find_videos(annotations, tmp_path / "videos")
        return
    found = find_videos(annotations, tmp_path / "videos")
    paths = {one.video_id: str(one.path.relative_to(tmp_path / "videos")) for one in found.examples}
    assert tuple(paths.get(name, "missing") for name in names) == (expected or names)


def test_videos_are_found_through_links(tmp_path: Path) -> None:
    made(tmp_path / "disk", "all/v0.mp4", "all/deep/v1.mp4")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "linked").symlink_to(tmp_path / "disk" / "all")
    (tmp_path / "disk" / "all" / "back").symlink_to(tmp_path / "disk" / "all")  # a circle
    (tmp_path / "videos" / "v2.mp4").symlink_to(tmp_path / "disk" / "all" / "v0.mp4")
    annotations = [Annotation(f"v{n}", ("text",), (MediaFile(f"v{n}"),)) for n in range(3)]
    found = find_videos(annotations, tmp_path / "videos")
    assert [str(e.path.relative_to(tmp_path / "videos")) for e in found.examples] == [
        "linked/v0.mp4", "linked/deep/v1.mp4", "v2.mp4",
    ]  # fmt: skip
    (tmp_path / "videos" / "again").symlink_to(tmp_path / "disk" / "all")
    assert len(find_videos(annotations, tmp_path / "videos").examples) == 3  # one file by two paths is one file


def test_a_folder_whose_name_is_not_utf_8_is_told_in_a_line(tmp_path: Path) -> None:
    folder = tmp_path / "bad\udcff"
    made(folder, "v0.mp4")
    with pytest.raises(InputError, match="is not UTF-8: rename its folder") as raised:
        find_videos([Annotation("v0", ("text",), (MediaFile("v0"),))], folder)
    str(raised.value).encode()
