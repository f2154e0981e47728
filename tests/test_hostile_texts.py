"""Transcripts and tables as spreadsheets, scripts and people leave them: read rightly, or left out and named."""

import json

import pytest

from tests.hostile import INCOMPLETE, MORE, TEXTS, UNREAD, check, check_refused, good, left, read, wav

pytestmark = pytest.mark.filterwarnings("ignore:spaCy")
HEADER = "file_name,transcription"


def text(content, suffix=".txt"):
    """A fifth recording with this transcript."""
    return lambda case: case.add("x.wav", text=content, suffix=suffix)


def row(*rows, **options):
    """A table with further rows, and a fifth recording."""
    return lambda case: (case.add("x.wav"), case.table(*rows, **options))


def lines(change, **options):
    """A table whose bytes are changed."""

    def spoil(case):
        case.table(**options)
        for path in case.path.glob("metadata*"):
            path.write_bytes(change(path.read_bytes()))

    return spoil


def lj(*more):
    def spoil(case):
        case.bare()
        for i in range(4):
            case.add(f"wavs/L{i}.wav", (case.path / f"r{i}.wav").read_bytes())
            (case.path / f"r{i}.wav").unlink()
        case.file("metadata.csv", "".join(f"L{i}|{TEXTS[i]} 5|{TEXTS[i]}\n" for i in range(4)) + "".join(more))

    return spoil


def splits(case):
    case.bare()
    for i, part in enumerate(("train", "train", "test", "test")):
        (case.path / part).mkdir(exist_ok=True)
        (case.path / f"r{i}.wav").rename(case.path / part / f"r{i}.wav")
    for part, rows in (("train", (0, 1)), ("test", (2, 3))):
        case.file(f"{part}/metadata.csv", "file_name,text\n" + "".join(f"r{i}.wav,{TEXTS[i]}\n" for i in rows))


def jsonl(*more):
    def spoil(case):
        case.bare()
        case.add("x.wav")
        rows = [json.dumps({"file_name": f"r{i}.wav", "text": TEXTS[i]}) for i in range(4)]
        case.file("metadata.jsonl", "\n".join([*rows, *more]))

    return spoil


def listed(x):
    """A line of JSON about the fifth recording."""
    return jsonl(json.dumps({"file_name": "x.wav", **x}))


def all_in(lang, *texts):
    """Every recording with a text of another language."""
    return good(lambda c: [c.file(f"r{i}.txt", text) for i, text in enumerate(texts)], 4, lang=lang)


TRANSCRIPTS = {
    "broken UTF-8": left(text(b"caf\xe9"), INCOMPLETE, "x.wav: x.txt is not UTF-8 text"),
    "UTF-16": good(text(MORE.encode("utf-16"))),
    "UTF-16 of another order": good(text(b"\xfe\xff" + MORE.encode("utf-16-be"))),
    "UTF-32": good(text(MORE.encode("utf-32"))),
    "with a mark": good(text("\ufeff" + MORE)),
    "Windows lines": good(text("One more\r\nof these.\r\n")),
    "NUL": good(text("One more\0 of these.")),
    "bell and escape": good(text("One \x07more \x1b[1mof these.")),
    "hidden signs": good(text("\u200bOne\u2060 more\ufeff of\u200c these.\u200b")),
    "marks of direction": good(text("\u202eOne more\u202c of \u200fthese\u200e.")),
    "soft hyphens": good(text("One more of th\u00adese.")),
    "wide letters": good(text("Ｏｎｅ　ｍｏｒｅ of these.")),
    "decomposed": good(text("One mo\u0308re of these.")),
    "marks upon marks": good(text("O" + "\u0334\u0321" * 40 + "ne more of these.")),
    "private signs": good(text("One\ue000 more\U000f1234 of these.")),
    "figures alone": good(text("4711")),
    "one letter": good(text("I")),
    "empty": left(text(" \n"), "no transcript", "x.wav: there is no transcript"),
    "spaces of all kinds": left(text("\u00a0\u3000\u2003\u2028"), "no transcript", "x.wav: there is no transcript"),
    "hidden signs alone": left(text("\u200b\u200e\ufeff"), "no phonemes", "nothing to pronounce"),
    "punctuation": left(text("...!"), "no phonemes", "nothing to pronounce"),
    "emoji alone": left(text("😀👍🏽"), "no phonemes", "nothing to pronounce"),
    "emoji within": good(text("One more 😀 of *these*."), said=r"left out .transcripts: 1.: 😀 \*"),
    "two million signs": left(text("word " * 400_000), INCOMPLETE, "too large for a transcript"),
    "5000 words": left(text("word " * 5000), "text too long", "its text has 24999 characters; split the recording"),
    "600 equal letters": left(text("a" * 600), "text and sound differ", "x.wav: .* phonemes per second"),
    "Chinese": left(text("今天天气很好"), "other script", "letters that en-us is not written in .今天气"),
    "Arabic": left(text("مرحبا بكم"), "other script", "give its language by --lang"),
    "Cyrillic": left(text("Привет, как дела?"), "other script", "en-us is not written in .Приветкадл"),
    "Greek": left(text("Καλημέρα"), "other script", "Καλημέρ"),
    "Hebrew": left(text("שלום"), "other script", "שלום"),
    "Hindi": left(text("नमस्ते"), "other script", "नमसत"),
    "Korean": left(text("안녕하세요"), "other script", "안녕하세요"),
    "a letter that looks alike": left(text("Оne more of these."), "other script", "en-us is not written in .О."),
    "Russian by its name": all_in("ru", "Первый из четырёх.", "Вот второй.", "Это номер три.", "И последний из них."),
    "Chinese by its name": all_in("cmn", "第一句话在这里。", "这是第二句。", "现在是第三句。", "最后一句在这儿。"),
    "Arabic by its name": all_in("ar", "هذا هو الأول", "وهنا الثاني", "هذا رقم ثلاثة", "وهذا الأخير"),
    ".lab": good(text(MORE, ".lab")),
    ".TXT": good(text(MORE, ".TXT")),
    ".srt": left(text("1\n00:00:00,000 --> 00:00:02,000\nHello.\n", ".srt"), "no transcript", "x.wav"),
    "labels with times": left(text("0 100 sil\n100 200 ah\n", ".lab"), INCOMPLETE, "x.lab holds times and labels"),
    "two that differ": left(
        lambda c: (c.add("x.wav", text="One."), c.file("x.lab", "Two.")),
        "two texts",
        "its transcripts differ: x.lab, x.txt",
    ),
    "two that agree": good(lambda c: (c.add("x.wav", text=MORE), c.file("x.lab", f"{MORE}\n"))),
    "a text alone": left(lambda c: c.file("r9.txt", "Hi."), UNREAD, "r9.txt: a text of no recording"),
    # that cannot be those of their recordings
    "another's text": left(
        lambda c: c.add("x.wav", wav(5, 4.0), "No."), "text and sound differ", r"x.wav: 0\.5 phonemes per"
    ),
    "cut short": left(
        lambda c: c.add("x.wav", wav(5, 1.5), "This would take much longer to say than it does in here, " * 2),
        "text and sound differ",
        "its recording is cut short, or its text is another's",
    ),
    "two texts for a sound": left(
        lambda c: c.add("x.wav", wav(0), "Something else."),
        "two texts",
        "same sound as r0.wav, with another",
        count=2,
        kept=3,
    ),
}

TABLES = {
    "semicolons": good(lambda c: c.table(header="file_name;transcription", separator=";"), 4),
    "tabs": good(lambda c: c.table(header="file_name\ttext", separator="\t"), 4),
    ".tsv": good(lambda c: c.table(header="file_name\ttext", separator="\t", name="metadata.tsv"), 4),
    "bars": good(lambda c: c.table(header="file_name|text", separator="|"), 4),
    "METADATA.CSV": good(lambda c: c.table(name="METADATA.CSV"), 4),
    "other names of columns": good(
        lambda c: (c.table(header="clip,words"), c.add("x.wav")),
        4,
        skipped={"no transcript": 1},
        columns="audio=clip, text=words",
    ),
    "spaces in the header": good(lambda c: c.table(header=" file_name , transcription "), 4),
    "with a mark": good(lambda c: c.table(code="utf-8-sig"), 4),
    "UTF-16": good(lambda c: c.table(code="utf-16"), 4),
    "UTF-32": good(lambda c: c.table(code="utf-32"), 4),
    "Windows lines": good(lines(lambda table: table.replace(b"\n", b"\r\n")), 4),
    "lines of an old Mac": good(lines(lambda table: table.replace(b"\n", b"\r")), 4),
    "empty lines": good(lines(lambda table: table.replace(b"\n", b"\n\n,\n , \n")), 4),
    "no last line end": good(lines(bytes.rstrip), 4),
    "all in quotes": good(
        lines(lambda t: b"\n".join(b'"' + x.replace(b",", b'","') + b'"' for x in t.split(b"\n")[:-1])), 4
    ),
    "comma without quotes": left(row("x.wav,Hello, you."), INCOMPLETE, "x.wav: its row has more"),
    "comma within quotes": good(row('x.wav,"One more, of these."')),
    "quotes within": good(row('x.wav,One "more" of these.')),
    "quotes at both ends": good(row('x.wav,"One ""more"" of these."')),
    "lines within quotes": good(row('x.wav,"One more\nof these."')),
    "a quote that stays open": left(
        lambda c: c.table('r3.wav,"And the last', "x.wav,One more of these.", good=3),
        INCOMPLETE,
        "r3.wav: its text goes on over the next rows; close its quotes",
        kept=3,
    ),
    "a quote that closes late": good(
        lambda c: c.table('r3.wav,"And the last', 'x.wav,"One more of these.', good=3),
        3,
        "r3.wav: its text goes on over the next rows",
        {INCOMPLETE: 1},
    ),
    "mixed separators": left(
        row("x.wav;One more of these."), INCOMPLETE, "x.wav;One more of these.: its table", count=1
    ),
    "too few fields": left(row("x.wav"), "no transcript", "x.wav: there is no transcript"),
    "a split of splits": good(splits, 4),
    "two tables": left(
        lambda c: (c.table(), c.file("metadata.jsonl", '{"file_name": "r0.wav", "text": "The first of four."}')),
        "duplicate",
        "r0.wav: its table lists it before",
    ),
    "not in the table": left(row(), "no transcript", "x.wav: no table lists it"),
    "six equal rows": left(
        lambda c: c.table(*["r0.wav,The first of four."] * 5), "duplicate", "lists it before", count=5
    ),
    "two texts": left(
        lambda c: c.table("r0.wav,Something else."), "two texts", "gives it 2 different texts", count=2, kept=3
    ),
    "backslashes": good(lambda c: (c.add("sub/x.wav"), c.table(f"sub\\x.wav,{MORE}"))),
    "LJSpeech": good(lj(), 4),
    "LJSpeech, one gone": left(lj("L9|Gone.|Gone.\n"), INCOMPLETE, "L9: its table lists it"),
    "LJSpeech with a mark": good(
        lambda c: (lj()(c), c.file("metadata.csv", b"\xef\xbb\xbf" + (c.path / "metadata.csv").read_bytes())), 4
    ),
    # of JSON
    "lines of JSON": good(listed({"text": MORE})),
    "lines with spaces": good(jsonl("", "   ", json.dumps({"file_name": "x.wav", "text": MORE}), "")),
    "a broken line": left(jsonl('{"file_name": "x.wav", "text'), INCOMPLETE, "line 5 is not a JSON object"),
    "a list as a line": left(jsonl("[1, 2]"), INCOMPLETE, "line 5 is not a JSON object"),
    "deep JSON": left(jsonl("[" * 100_000), INCOMPLETE, "line 5 is not a JSON object"),
    "an endless number": left(jsonl('{"file_name": ' + "1" * 5000 + "}"), INCOMPLETE, "line 5 is not a JSON object"),
    "a list as a text": left(listed({"text": [MORE]}), "no transcript", "x.wav: there is no transcript"),
    "no text": left(listed({"text": None}), "no transcript", "x.wav: there is no transcript"),
    "a number as a text": good(listed({"text": 4711})),
    "a list as a name": good(jsonl('{"file_name": ["x.wav"], "text": "Hello."}'), 4, skipped={"no transcript": 1}),
    "half a sign": good(jsonl('{"file_name": "x.wav", "text": "One more \\ud83d of these."}')),
    "half a sign in a name": left(
        jsonl('{"file_name": "\\ud83d.wav", "text": "Hello."}'), INCOMPLETE, "there is no such"
    ),
}

# JSON lines have a fifth recording, which is left out with them.
UNLISTED = {name for name, found in TABLES.items() if name in (
    "a broken line", "a list as a line", "deep JSON", "an endless number", "half a sign in a name", "mixed separators",
)}  # fmt: skip

REFUSED = {
    "table of nothing": (lambda c: c.file("metadata.csv"), "lists no recording; add a row for each"),
    "table of a header": (lambda c: c.table(good=0), "lists no recording; add a row for each"),
    "other columns": (lambda c: c.table(header="a,b"), "needs the columns file_name and transcription; it has a, b"),
    "a column twice": (
        lambda c: c.table(header="file_name,text,text"),
        "metadata.csv has the column text twice; rename one",
    ),
    "other keys": (lambda c: c.file("metadata.jsonl", '{"path": "r0.wav"}'), "needs the columns file_name and"),
    "table of bytes": (lambda c: c.file("metadata.csv", b"\xff\xfe\x00"), "is not a UTF-8 table"),
    "table in Latin-1": (
        lambda c: c.file("metadata.csv", "file_name,text\nr0.wav,é".encode("latin-1")),
        "is not a UTF-8",
    ),
    "a spreadsheet": (lambda c: c.file("metadata.csv", b"PK\x03\x04\x14\x00\x06\x00"), "lists no recording"),
    "one array": (
        lambda c: c.file("metadata.jsonl", json.dumps([{"file_name": "r0.wav", "text": "Hello."}])),
        "first problem: metadata.jsonl, row 1: line 1 is not a JSON object",
    ),
    "an endless field": (
        lambda c: c.file("metadata.csv", 'file_name,text\nr0.wav,"' + "x" * 200_000),
        "is not a UTF-8 table of comma-separated values",
    ),
    "Chinese alone": (
        lambda c: [p.write_text("今天天气很好") for p in c.path.glob("*.txt")],
        "None of the 4 recordings .* can be used; first problem: r0.wav: its text has letters that en-us",
    ),
    "no such columns": (lambda c: c.table(), "needs the columns clip and words", {"columns": "audio=clip,text=words"}),
    "columns of nothing": (
        lambda c: c.table(),
        "--columns clip,words does not name columns",
        {"columns": "clip,words"},
    ),
    "half of the columns": (
        lambda c: c.table(),
        "--columns audio=clip does not name columns",
        {"columns": "audio=clip"},
    ),
    "unknown kind": (lambda c: c.table(), "does not name columns", {"columns": "audio=a,text=b,who=c"}),
}


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_transcript_is_read_or_left_out_counted_and_named(case, name):
    check(case, TRANSCRIPTS[name])


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_or_its_rows_left_out_counted_and_named(case, name):
    found = TABLES[name]
    if name in UNLISTED:
        found = found._replace(skipped={**found.skipped, "no transcript": 1})
    check(case, found)


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_is_none_is_refused_in_one_sentence(case, name):
    spoil, words, *options = REFUSED[name]
    check_refused(case, spoil, words, **(options[0] if options else {}))


def test_one_of_several_speakers_is_read(case):
    case.table(header="clip,words,who", separator=",")
    found = (case.path / "metadata.csv").read_text().splitlines()
    rows = [f"{line},{who}" for line, who in zip(found[1:], ["ann", "ann", "ann", "bob"], strict=True)]
    case.file("metadata.csv", "\n".join([found[0], *rows]))
    dataset = read(case, columns="audio=clip, text=words, speaker=who", speaker="ann")
    assert len(dataset.fit) + len(dataset.heldout) == 3


def test_texts_of_too_few_recordings_are_not_weighed(case):
    for path in case.path.glob("r[23].*"):
        path.unlink()
    case.add("x.wav", wav(5, 4.0), "No.")
    assert read(case).skipped == {}


def test_a_folder_whose_texts_are_all_anothers_is_told(case):
    for i in range(4):
        case.add(f"r{i}.wav", wav(i, 6.0), f"No {'abcd'[i]}.")
    assert "phonemes per second of speech, where people speak 4 to 30" in " ".join(read(case).notes)
