"""What is wrong with prompts and words is said, and named, before work is done; what is only short of it is counted."""

import pytest

from palimpsest.erasure import draw
from palimpsest.judges import reference
from palimpsest.models import text_diffusion
from palimpsest.models.words import check_words
from palimpsest.run import UserError
from palimpsest.worlds.concepts import ROLES, Concept
from palimpsest.worlds.named import Named, judging_prompts, learned_prompts
from palimpsest.worlds.prompt_files import read_prompts
from test_erasure import CHURCH, SAMPLING, base  # noqa: F401 (a fixture)

TRUCK = {"kind": "object", "value": "garbage truck", "label": 569}


def written(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.fixture
def captions(tmp_path):
    return str(written(tmp_path / "captions.csv", "caption\n" + "".join(f"a red kite {n}\n" for n in range(9))))


def test_a_csv_is_read_with_its_quotes_its_mark_and_its_gaps(tmp_path, capsys):
    rows = ['0,"a ""red"" church, by the sea",7', '1,"  ",8', '2,"two\r\nlines",9.0', "3,,1", ""]
    text = "\r\n".join(["case_number,prompt,evaluation_seed", *rows])
    found = read_prompts(written(tmp_path / "a.csv", text, "utf-8-sig"), "concept church")
    assert found.texts == ['a "red" church, by the sea', "two lines"]
    assert found.seeds == [7, 9] and found.empty == 2
    assert "concept church: 2 rows of" in capsys.readouterr().out
    # The mark of the byte order stands before the first column, here the one that is needed; I2P's seed.
    plain = read_prompts(written(tmp_path / "b.csv", "prompt,sd_seed\na kite,3\n", "utf-8-sig"), "x")
    assert plain.texts == ["a kite"] and plain.seeds == [3]
    coco = '{"annotations": [{"image_id": 9, "id": 1, "caption": "two"}, {"image_id": 2, "id": 5, "caption": "one"},' \
        ' {"image_id": 2, "id": 7, "caption": "again"}]}'  # fmt: skip
    assert read_prompts(written(tmp_path / "c.json", coco), "x").texts == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "text,seed\na kite,1\n", "concept x: .*a.csv has no column prompt or caption; it has text, seed"),
        ("a.csv", "", "has no column prompt or caption; it has none"),
        ("a.csv", "prompt\n\n \n", "holds no prompt"),
        ("a.csv", "prompt,seed\na kite, red,1\n", "row 1 of .*a.csv has not the 2 fields"),
        ("a.csv", "prompt,seed\na kite\n", "row 1 of .*a.csv has not the 2 fields"),
        ("a.csv", 'prompt\n"a kite\n', "no readable csv"),
        ("a.csv", "prompt,sd_seed\na kite,many\n", "the column sd_seed of .* holds what is no number"),
        ("a.json", '{"images": []}', "holds no captions as COCO publishes them"),
    ],
)
def test_a_file_that_is_no_list_of_prompts_is_named(tmp_path, name, text, message):
    with pytest.raises(UserError, match=message):
        read_prompts(written(tmp_path / name, text), "concept x")


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(UserError, match=r"concept x: its prompts .*none\.csv cannot be read \(No such file"):
        read_prompts(tmp_path / "none.csv", "concept x")
    with pytest.raises(UserError, match="no text in UTF-8"):
        read_prompts(written(tmp_path / "a.csv", "prompt\nein Drachen, grün\n", "latin-1"), "concept x")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"kind": "mood"}, "no kind 'mood'; there are object, style, explicit, class"),
        ({"value": " "}, "no word names it"),
        ({"kind": "class"}, "a class has no words to leave out. Give the one that takes its place as `anchor`"),
        ({"captions": ""}, "nothing says what is to stay. Name a file of captions"),
        ({"anchor": "Garbage  truck"}, "its anchor is the concept itself"),
        ({"anchor": "a lorry", "synonyms": ["lorry"]}, "its anchor is the concept itself"),
        ({"kind": "explicit"}, "it has no prompts: none are shipped"),
        ({"kind": "explicit", "prompts": "x.csv"}, r"nobody consented.*erasure\.concepts\.x\.consent: true"),
        ({"explicit": True, "consent": "yes"}, "nobody consented"),
    ],
)
def test_a_named_concept_that_cannot_be_is_refused(row, message):
    with pytest.raises(UserError, match=f"concept x.*{message}"):
        Named("x", **{"captions": "captions.csv", **TRUCK, **row})


def test_a_named_concept_asks_for_what_its_roles_say(tmp_path, captions):
    file = written(tmp_path / "own.csv", 'prompt,evaluation_seed\n"a garbage truck, parked",5\na garbage truck,6\n')
    concept = Named("x", captions=captions, prompts=str(file), synonyms=["lorry"], **TRUCK)
    counts = dict.fromkeys(ROLES, 3)
    table = judging_prompts(concept, counts)
    by_role = {role: list(rows["prompt"]) for role, rows in table.groupby("role")}
    assert by_role["own"] == ["a garbage truck, parked", "a garbage truck", "a garbage truck, parked"]
    noise = list(table[table["role"] == "own"]["noise"])
    assert noise[:2] == [5, 6] and len(set(noise)) == 3
    for role in ("own", "synonym", "template"):
        assert all(concept.words(by_role[role])), role
    for role in ("unnamed", "neighbour", "rest"):
        assert not any(concept.words(by_role[role])), role
    learned = learned_prompts(concept, {"concept": 5, "others": 4})
    assert all(concept.words(list(learned["concept"]["prompt"]))) and len(learned["anchor"]) == 5
    assert all(concept.anchor_words(list(learned["anchor"]["prompt"])))
    assert not set(learned["others"]["prompt"]) & set(by_role["rest"])
    with pytest.raises(UserError, match=r"prompts\.rest asks for 99 prompts of what is to stay, and .*\.csv have"):
        judging_prompts(concept, {**counts, "rest": 99})
    # A caption that names the concept is none of what is to stay.
    only = written(tmp_path / "only.csv", "prompt\na lorry\n")
    with pytest.raises(UserError, match=r"every caption of .*only\.csv names it"):
        learned_prompts(Named("x", captions=str(only), synonyms=["lorry"], **TRUCK), {"concept": 1, "others": 1})


def test_words_are_whole_words(captions):
    concept = Named("x", captions=captions, **{**TRUCK, "value": "tench"})
    assert concept.words(["a tench", "tenches, stench", "the tench, red"]) == [["tench"], [], ["tench"]]


def test_a_prompt_that_is_cut_is_said_and_counted(base, tmp_path, captions, capsys):  # noqa: F811
    long = written(tmp_path / "long.csv", "prompt\n" + "a red kite in the blue sky " * 8 + "\na red kite\n")
    row = {**TRUCK, "value": "church", "captions": str(long)}
    found = draw.draw(
        base, tmp_path / "l.npz", tmp_path / "p.parquet", concepts={"x": row, "church": CHURCH},
        counts={"concept": 1, "others": 2}, sampling=SAMPLING,
    )  # fmt: skip
    assert found["cut_prompts"]["x"] >= 1 and found["cut_prompts"]["church"] == 0
    assert "more than 16 tokens and are cut off" in capsys.readouterr().out
    judged = reference.reference(
        base, tmp_path / "r.parquet", tmp_path / "r.npz", concepts={"x": row}, counts=dict.fromkeys(ROLES, 2),
        sampling=SAMPLING,
    )  # fmt: skip
    assert judged["cut_prompts"]["x"] >= 1


def test_a_word_that_the_tokenizer_cannot_read_is_refused_and_one_that_it_spells_is_counted(base, captions):  # noqa: F811
    model = text_diffusion.open_model(base)
    assert check_words(model, Concept("church", **CHURCH)) == []
    assert check_words(model, Named("x", captions=captions, **{**TRUCK, "value": "a zeppelin"})) == ["zeppelin"]
    with pytest.raises(UserError, match=r"concept x: the tokenizer of .* does not know Käse"):
        check_words(model, Named("x", captions=captions, **{**TRUCK, "value": "Käse"}))
