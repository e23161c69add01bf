"""Reading benchmarks' annotation files, on small files in the original formats."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation.errors import InputError
from model.evaluation.annotations import (
    Annotation,
    MediaFile,
    read_activitynet,
    read_csv,
    read_didemo,
    read_kinetics,
    read_msrvtt,
    read_msvd,
    read_vatex,
)


def written(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    return path


# --- MSR-VTT --------------------------------------------------------------------------------------------------------


def test_msrvtt_1k_a_has_one_text_a_video(tmp_path: Path) -> None:
    path = written(
        tmp_path / "MSRVTT_JSFUSION_test.csv",
        "key,vid_key,video_id,sentence\r\n"
        "ret0,msr9770,video9770,a person is connecting something to system\r\n"
        'ret1,msr9771,video9771,"a little girl, who smiles, eats"\r\n',
    )
    assert read_msrvtt(path) == (
        Annotation("video9770", ("a person is connecting something to system",), (MediaFile("video9770"),)),
        Annotation("video9771", ("a little girl, who smiles, eats",), (MediaFile("video9771"),)),
    )


def test_msrvtt_data_gives_all_texts_of_a_split(tmp_path: Path) -> None:
    videos = [
        {"category": 9, "url": "…", "video_id": f"video{n}", "start time": 1.5, "end time": 9.0, "split": s, "id": n}
        for n, s in ((0, "train"), (7010, "test"), (7011, "test"))
    ]
    pairs = [("video0", "a car"), ("video7011", "a dog"), ("video7010", "a  cat "), ("video7011", "a puppy")]
    sentences = [{"caption": text, "video_id": name, "sen_id": n} for n, (name, text) in enumerate(pairs)]
    path = written(tmp_path / "MSRVTT_data.json", {"info": {}, "videos": videos, "sentences": sentences})
    assert [(one.video_id, one.texts) for one in read_msrvtt(path)] == [
        ("video7011", ("a dog", "a puppy")),
        ("video7010", ("a cat",)),
    ]
    assert [one.video_id for one in read_msrvtt(path, split="train")] == ["video0"]
    with pytest.raises(InputError, match="no video of the split 'validate'; its splits are test, train"):
        read_msrvtt(path, split="validate")


# --- paragraphs -----------------------------------------------------------------------------------------------------


def test_didemo_joins_the_descriptions_of_a_video(tmp_path: Path) -> None:
    first, second = "67828949@N00_5405632421_1cee1ff8ca.mov", "11297636@N00_4438863587_05ac3b3d39.mp4"
    rows = [
        {
            "annotation_id": n,
            "description": text,
            "dl_link": "https://www.flickr.com/video_download.gne?id=1",
            "num_segments": 6,
            "reference_description": "",
            "times": [[0, 0], [0, 1], [0, 0]],
            "video": video,
        }
        for n, (video, text) in enumerate([(first, "a man waves."), (second, "a bee"), (first, "he sits down\n")])
    ]
    assert read_didemo(written(tmp_path / "test_data.json", rows)) == (
        Annotation(first, ("a man waves. he sits down",), (MediaFile(first, 0.0, 30.0),)),
        Annotation(second, ("a bee",), (MediaFile(second, 0.0, 30.0),)),
    )


def test_activitynet_joins_the_sentences_of_a_video(tmp_path: Path) -> None:
    content = {
        "v_uqiMw7tQ1Cc": {
            "duration": 55.15,
            "timestamps": [[0.28, 55.15], [13.79, 54.32]],
            "sentences": ["A weight lifting tutorial is given.", " The coach helps the guy. "],
        },
        "v_bXdq2zI1Ms0": {"duration": 73.1, "timestamps": [[0, 73.1]], "sentences": ["Three men stand on a mat."]},
    }
    assert read_activitynet(written(tmp_path / "val_1.json", content)) == (
        Annotation(
            "v_uqiMw7tQ1Cc",
            ("A weight lifting tutorial is given. The coach helps the guy.",),
            (MediaFile("v_uqiMw7tQ1Cc"), MediaFile("uqiMw7tQ1Cc")),
        ),
        Annotation(
            "v_bXdq2zI1Ms0", ("Three men stand on a mat.",), (MediaFile("v_bXdq2zI1Ms0"), MediaFile("bXdq2zI1Ms0"))
        ),
    )


# --- many texts a video ---------------------------------------------------------------------------------------------

PANDA = Annotation(
    "-4wsuPCjDBc_5_15",
    ("a squirrel eats", "an animal eats"),
    (MediaFile("-4wsuPCjDBc_5_15"), MediaFile("-4wsuPCjDBc", 5, 15)),
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "AllVideoDescriptions.txt",
            "# English descriptions\n\n-4wsuPCjDBc_5_15 a squirrel eats\nother_1_2 a bird\n"
            "-4wsuPCjDBc_5_15 an animal eats\n",
        ),
        ("captions.json", {"other_1_2": ["a bird"], "-4wsuPCjDBc_5_15": ["a squirrel eats", "an animal eats"]}),
        ("words.json", {"-4wsuPCjDBc_5_15": [["a", "squirrel", "eats"], ["an", "animal", "eats"]], "o": [["a"]]}),
    ],
)
def test_msvd_gives_the_texts_of_the_listed_videos(tmp_path: Path, name: str, content: Any) -> None:
    ids = written(tmp_path / "test_list.txt", "-4wsuPCjDBc_5_15\n")
    assert read_msvd(written(tmp_path / name, content), ids) == (PANDA,)


@pytest.mark.hostile("neighbours")
def test_msvd_says_how_to_convert_a_pickle(tmp_path: Path) -> None:
    """The command in the message works on a pickle like the original: lists of words, in an old protocol."""
    ids = written(tmp_path / "test_list.txt", "-4wsuPCjDBc_5_15\n")
    path = tmp_path / "raw-captions.pkl"
    path.write_bytes(pickle.dumps({PANDA.video_id: [text.split() for text in PANDA.texts]}, protocol=2))
    with pytest.raises(InputError, match=r"is a pickle, .* if you trust it, convert it") as raised:
        read_msvd(path, ids)
    command = str(raised.value).partition("convert it: ")[2].replace("python", sys.executable, 1)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, timeout=180)
    assert read_msvd(tmp_path / "raw-captions.json", ids) == (PANDA,)


def test_vatex_gives_the_texts_of_the_split_and_the_range_in_its_id(tmp_path: Path) -> None:
    rows = [
        {"videoID": "G9zN5TTuGO4_000179_000189", "enCap": ["a man lifts", "a gym"], "chCap": ["一个人"]},
        {"videoID": "a_b_C_000000_000010", "enCap": ["a dog"], "chCap": ["狗"]},
    ]
    path = written(tmp_path / "vatex_validation_v1.0.json", rows)
    found = read_vatex(path)
    assert found == (
        Annotation(
            "G9zN5TTuGO4_000179_000189",
            ("a man lifts", "a gym"),
            (MediaFile("G9zN5TTuGO4_000179_000189"), MediaFile("G9zN5TTuGO4", 179.0, 189.0)),
        ),
        Annotation(
            "a_b_C_000000_000010", ("a dog",), (MediaFile("a_b_C_000000_000010"), MediaFile("a_b_C", 0.0, 10.0))
        ),
    )
    text = written(tmp_path / "test.txt", "a_b_C_000000_000010\n\nG9zN5TTuGO4_000179_000189\n")
    assert read_vatex(path, text) == found[::-1]
    np.save(tmp_path / "tst_names.npy", np.array(["a_b_C_000000_000010"]))
    assert read_vatex(path, tmp_path / "tst_names.npy") == found[1:]
    references = written(tmp_path / "ref_captions.json", {row["videoID"]: row["enCap"] for row in rows})
    assert read_vatex(references) == found


def test_kinetics_gives_the_class_as_the_text(tmp_path: Path) -> None:
    path = written(
        tmp_path / "val.csv",
        "label,youtube_id,time_start,time_end,split,is_cc\nabseiling,-3B32lodo2M,59,69,val,0\n"
        '"air drumming",_dbcJuKJQNs,40.0,50.0,val,0\n',
    )
    assert read_kinetics(path) == (
        Annotation(
            "-3B32lodo2M_000059_000069",
            ("abseiling",),
            (MediaFile("-3B32lodo2M_000059_000069"), MediaFile("-3B32lodo2M", 59.0, 69.0)),
        ),
        Annotation(
            "_dbcJuKJQNs_000040_000050",
            ("air drumming",),
            (MediaFile("_dbcJuKJQNs_000040_000050"), MediaFile("_dbcJuKJQNs", 40.0, 50.0)),
        ),
    )


# --- plain CSV ------------------------------------------------------------------------------------------------------


def test_csv_has_a_video_and_a_text_in_each_row_and_perhaps_times(tmp_path: Path) -> None:
    plain = written(tmp_path / "plain.csv", "video,text\ntalks/a.mp4,a bee\nb,a hive\ntalks/a.mp4,an insect\n")
    assert read_csv(plain) == (
        Annotation("talks/a.mp4", ("a bee", "an insect"), (MediaFile("talks/a.mp4"),)),
        Annotation("b", ("a hive",), (MediaFile("b"),)),
    )
    timed = written(tmp_path / "timed.csv", "text,video,start,end\na bee,a.mp4,1.5,4\na hive,a.mp4,4,\nboth,a.mp4,,\n")
    assert read_csv(timed) == (
        Annotation("a.mp4~1.5-4", ("a bee",), (MediaFile("a.mp4", 1.5, 4.0),)),
        Annotation("a.mp4~4-", ("a hive",), (MediaFile("a.mp4", 4.0, None),)),
        Annotation("a.mp4", ("both",), (MediaFile("a.mp4"),)),
    )
    assert read_csv(timed, written(tmp_path / "ids.txt", "a.mp4~4-\n")) == read_csv(timed)[1:2]


# --- lists of ids ---------------------------------------------------------------------------------------------------


def test_lists_of_ids_are_read_as_published(tmp_path: Path) -> None:
    """MSR-VTT's 9k is a CSV, DiDeMo's test list has names of files, ActivityNet's is JSON; their order is kept."""
    videos = [{"video_id": f"video{n}", "split": "train" if n < 2 else "test"} for n in range(4)]
    sentences = [{"video_id": f"video{n}", "caption": f"text {n}"} for n in range(4)]
    msrvtt = written(tmp_path / "MSRVTT_data.json", {"videos": videos, "sentences": sentences})
    ids = written(tmp_path / "MSRVTT_train.9k.csv", "video_id\r\nvideo3\r\nvideo0\r\n")
    assert [one.video_id for one in read_msrvtt(msrvtt, ids)] == ["video3", "video0"]
    rows = [{"video": name, "description": "a bee"} for name in ("1@N0_1_a.mov", "2@N0_2_b.m4v", "3@N0_3_c.avi")]
    didemo = written(tmp_path / "test_data.json", rows)
    listed = written(tmp_path / "test_list.txt", "3@N0_3_c.avi\n1@N0_1_a.mp4\n2@N0_2_b\n")
    assert [one.video_id for one in read_didemo(didemo, listed)] == ["3@N0_3_c.avi", "1@N0_1_a.mov", "2@N0_2_b.m4v"]
    videos_of = {f"v_{n}": {"duration": 1, "timestamps": [[0, 1]], "sentences": ["a bee"]} for n in range(3)}
    activitynet = written(tmp_path / "train.json", videos_of)
    for ids_content in (["v_2", "v_0"], {"v_2": 1, "v_0": 1}):
        ids = written(tmp_path / "train_ids.json", ids_content)
        assert [one.video_id for one in read_activitynet(activitynet, ids)] == ["v_2", "v_0"]


# --- wrong files ----------------------------------------------------------------------------------------------------

TEXTS = "x_1_2 a bee\n"
MSRVTT = {
    "videos": [{"video_id": "video0", "split": "train"}],
    "sentences": [{"video_id": "video0", "caption": "a bee"}],
}


@pytest.mark.parametrize(
    ("read", "contents", "message"),
    [
        (read_msrvtt, {"a.csv": "video,text\n1,2\n"}, "columns key, vid_key, video_id, sentence; it has .*video, text"),
        (read_msrvtt, {"a.csv": ""}, "it has 0 rows"),
        (read_msrvtt, {"a.csv": "key,vid_key,video_id,sentence\nret0,msr1\n"}, "too few cells: .*ret0,msr1"),
        (read_msrvtt, {"a.json": {"sentences": []}}, "lists of videos and sentences; it has null"),
        (read_msrvtt, {"a.json": "{"}, "it is not JSON"),
        (read_didemo, {"a.json": {"video": 1}}, "a list of objects with video and description; it is .*video"),
        (read_didemo, {"a.json": [{"video": "a"}]}, "one entry has only video"),
        (read_didemo, {"a.json": [{"video": "a", "description": " "}]}, "has no text"),
        (read_didemo, {"a.json": [{"video": "a", "description": 7}]}, '"a" and 7 should be a video and a text'),
        (read_activitynet, {"a.json": [1]}, "an object of videos, each with duration, timestamps and sentences; it is"),
        (read_activitynet, {"a.json": {"v_1": {"sentences": []}}}, "one entry has only sentences"),
        (read_msvd, {"a.txt": "no ids here\n", "b.txt": "x"}, "per line a video's id and a text.*no ids"),
        (read_msvd, {"a.txt": "", "b.txt": "x"}, "per line a video's id and a text"),
        (read_msvd, {"a.json": {"x_1_2": "one text"}, "b.txt": "x"}, "should have a list of texts"),
        (read_msvd, {"a.txt": TEXTS, "b.txt": "x_1_2\ny_1_2"}, r"lists 2 videos, 1 of which are not in .*y_1_2"),
        (read_msvd, {"a.txt": TEXTS, "b.txt": ""}, "lists 0 videos"),
        (read_msvd, {"a.txt": TEXTS, "b.npy": "x"}, "not an array of strings"),
        (read_vatex, {"a.json": [{"videoID": "x"}]}, "one entry has only videoID"),
        (
            read_msrvtt,
            {"a.json": MSRVTT, "b.csv": "id\nvideo0\n"},
            "a list of ids, with the columns video_id; it",
        ),
        (read_msrvtt, {"a.json": MSRVTT, "b.csv": "video_id\nvideo9\n"}, "1 of which are not in .*video9"),
        (read_msrvtt, {"a.json": MSRVTT, "b.json": [7]}, r"is not a list of ids; it has \[7\]"),
        (read_csv, {"a.csv": "file,caption\na,b\n"}, "with the columns video, text; it has .*file, caption"),
        (read_csv, {"a.csv": "video,text,start\na,b,1:30\n"}, 'the start of "a" should be in seconds, not "1:30"'),
        (read_csv, {"a.csv": "video,text,end\na,b,-1\n"}, "the end of .* should be in seconds"),
        (read_csv, {"a.csv": "video,text,start,end\na,b,5,5\n"}, "should start before its end, not at 5 s"),
        (read_csv, {"a.csv": "video,text\na," + "x" * 140_000}, "is not CSV: field larger than field limit"),
        (
            read_csv,
            {"a.csv": "video,text\na,b\nc,caf\udce9\n"},
            "is not UTF-8: its byte 20 is 0xE9, line 3",
        ),
        (read_msrvtt, {"a.json": '{"a":' * 100_000}, "it is not JSON: maximum recursion depth"),
        (
            read_msrvtt,
            {"a.json": {**MSRVTT, "videos": [{"video_id": ["v"], "split": "test"}]}},
            r"video_id of one",
        ),
        (read_msrvtt, {"a.json": {**MSRVTT, "sentences": [{"video_id": ["v"], "caption": "b"}]}}, r"video_id of one"),
        (read_vatex, {"a.json": [{"videoID": ["x"], "enCap": ["b"]}]}, "should be a video and a text"),
        (read_vatex, {"a.json": {"x": [["a", ["b"]]]}}, "should be a video and a text"),
        (
            read_kinetics,
            {"a.csv": "label,youtube_id,time_start,time_end\na,b,0,inf\n"},
            "times of .*b.* are not numbers",
        ),
        (read_kinetics, {"a.csv": "id,name\n0,abseiling\n"}, "columns label, youtube_id"),
        (read_kinetics, {"a.csv": "label,youtube_id,time_start,time_end\na,b,c,d\n"}, "times of .*b.* are not numbers"),
    ],
)
def test_a_wrong_file_is_told_in_a_line(
    tmp_path: Path, read: Callable[..., Sequence[Annotation]], contents: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read(*(written(tmp_path / name, content) for name, content in contents.items()))
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_halves_of_characters_are_replaced_so_that_texts_can_be_stored(tmp_path: Path) -> None:
    path = written(tmp_path / "captions.json", {"x\ud83d": ["a \udc80 bee \ud83d\ude00"], "y": ["b"]})
    assert [(one.video_id, one.texts) for one in read_vatex(path)] == [("x\ufffd", ("a \ufffd bee 😀",)), ("y", ("b",))]
    assert len(read_vatex(path, written(tmp_path / "ids.json", ["x\ud83d"]))) == 1


def header(shape: str, kind: str = "<U1") -> bytes:
    """An array that declares more than it holds."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def saved_by(write: Callable[..., None], *values: Any) -> bytes:
    file = io.BytesIO()
    write(file, *values)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        saved_by(np.savez, np.array(["x"])),
        saved_by(np.save, np.array(["caf\xe9".encode("latin-1")])),
        saved_by(np.save, np.array([1, 2])),
        saved_by(np.save, np.zeros(2, "V3")),
        header("(1000000000000,)"),
        header("(1000000000000,)", "|S0"),
        header("(-1,)"),
        header("(10**30,)"),
        header("(100000000000000000000000,)"),
        b"",
    ],
)
def test_an_array_that_is_no_list_of_ids_is_refused_in_a_line(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path / "captions.json", {"x": ["a"]})
    (tmp_path / "ids.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"ids\.npy is not an array of strings"):
        read_vatex(path, tmp_path / "ids.npy")
    np.save(tmp_path / "bytes.npy", np.array([b"x"]))
    assert len(read_vatex(path, tmp_path / "bytes.npy")) == 1


def test_a_file_that_is_not_there_is_told_in_a_line(tmp_path: Path) -> None:
    for read in (read_msrvtt, read_didemo, read_activitynet, read_vatex, read_kinetics):
        with pytest.raises(InputError, match=r"cannot read .*none\.json: No such file"):
            read(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot read"):
        read_msvd(written(tmp_path / "a.txt", TEXTS), tmp_path / "none.txt")
