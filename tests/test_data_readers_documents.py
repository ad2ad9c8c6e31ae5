"""Pages, books and office documents: their text in its order and nothing else; torn and hostile files are named."""

import gzip
import io
import json
import zipfile
from pathlib import Path

import docx
import pyarrow as pa
import pyarrow.feather as feather
import pypdfium2 as pdfium
import pytest

from dodam import cli
from dodam.data.readers import ROW_READERS, packed
from dodam.data.readers.notes import NOTED
from dodam.data.skipped import Skipped
from dodam.data.sources import documents, files_of, inputs_of, rows
from dodam.errors import DataError, UsageError

LONG = "사과는 가을에 익는다. 농부는 아침마다 나무를 살피고 물을 준다. "


def read(*paths: Path, columns=None, skipped: Skipped | None = None):
    inputs = inputs_of([str(path) for path in paths])
    return list(documents(inputs, columns=columns or {}, encoding="auto", skipped=skipped or Skipped(False)))


def text_of(path: Path) -> str:
    (found,) = read(path)
    assert found.id == f"{path}:1"
    return found.text


def page(main: str, title: str = "사과 이야기", head: str = "") -> str:
    menu = "".join(f'<li><a href="/{n}">메뉴 {n}</a></li>' for n in range(9))
    return (
        f"<!DOCTYPE html><html><head>{head}<title>{title}</title><script>var x = 1;</script></head>"
        f"<body><nav><ul>{menu}</ul></nav><article>{main}</article><footer>저작권 표시</footer></body></html>"
    )


def zipped(members: dict[str, str | bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize("paragraphs", [1, 12])
def test_html_gives_the_main_text_below_its_title(tmp_path: Path, paragraphs: int) -> None:
    main = "".join(f"<p>{n}번 문단. {LONG}</p>" for n in range(paragraphs))
    (tmp_path / "a.html").write_text(page(main), encoding="utf-8")
    text = text_of(tmp_path / "a.html")
    assert text.splitlines()[0] == "사과 이야기" and text.count("번 문단.") == paragraphs
    assert not any(word in text for word in ("메뉴", "저작권", "var x", "<"))
    assert next(rows(str(tmp_path / "a.html")))[1]["title"] == "사과 이야기"


def test_a_page_without_a_text_is_an_empty_document(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<html><head><title>제목</title></head><body></body></html>", encoding="utf-8")
    (tmp_path / "b.html").write_bytes(b"")
    assert [one.text for one in read(tmp_path)] == ["", ""]


@pytest.mark.parametrize("head", ['<meta charset="euc-kr">', ""])
def test_html_in_an_old_encoding(tmp_path: Path, head: str) -> None:
    (tmp_path / "a.htm").write_bytes(page(f"<p>{LONG * 8}</p>", "apple", head).encode("cp949"))
    assert (LONG * 8).strip() in text_of(tmp_path / "a.htm")


def test_html_in_an_encoding_only_it_can_tell(tmp_path: Path) -> None:
    main = "りんごは秋に実る。" * 40
    page = f'<html><head><meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS"></head><p>{main}</p>'
    (tmp_path / "a.xhtml").write_bytes(page.encode("shift-jis"))
    assert text_of(tmp_path / "a.xhtml") == main


def test_columns_are_for_rows_and_not_for_prose(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(page(f"<p>{LONG}</p>"), encoding="utf-8")
    (tmp_path / "b.txt").write_text("글", encoding="utf-8")
    (tmp_path / "c.jsonl").write_text('{"body": "본문"}\n', encoding="utf-8")
    found = [one.text for one in read(tmp_path, columns={"text": "body"})]
    assert LONG.strip() in found[0] and found[1:] == ["글", "본문"]


def pdf(pages: list[str]) -> bytes:
    """A PDF by hand, a page for each text, "" for one that holds none."""
    bodies = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for text in pages:
        shown = " ".join(f"({line}) Tj 0 -20 Td" for line in text.split("\n")) if text else ""
        stream = f"BT /F1 12 Tf 20 180 Td {shown} ET".encode()
        number = len(bodies) + 1
        kids.append(f"{number} 0 R")
        bodies.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents {number + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        bodies.append(f"<< /Length {len(stream)} >>\nstream\n".encode() + stream + b"\nendstream")
    bodies[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    end = f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(places) + 1} /Root 1 0 R >>\n"
    return out + f"{end}startxref\n{len(out)}\n%%EOF\n".encode()


def test_pdf_pages_in_order_and_scans_counted(tmp_path: Path, capsys) -> None:
    NOTED.clear()
    (tmp_path / "a.pdf").write_bytes(pdf(["First page.\nSecond line.", "", "Third page."]))
    assert text_of(tmp_path / "a.pdf") == "First page.\nSecond line.\n\nThird page."
    assert "pages of PDFs without any text (scans: there is no OCR): 1." in capsys.readouterr().err


def test_pdf_with_a_password_is_named(tmp_path: Path, monkeypatch) -> None:
    """PDFium says so by its error code; to encrypt a file no library here is able."""

    def refuse(data: bytes):
        raise pdfium.PdfiumError("Failed to load document (PDFium: Incorrect password error).", err_code=4)

    monkeypatch.setattr(pdfium, "PdfDocument", refuse)
    (tmp_path / "a.pdf").write_bytes(pdf(["x"]))
    with pytest.raises(DataError, match=r"a\.pdf: is encrypted\. Save it without a password"):
        read(tmp_path / "a.pdf")


def test_docx_paragraphs_and_tables_in_order(tmp_path: Path) -> None:
    made = docx.Document()
    made.add_heading("사과", 1)
    made.add_paragraph("첫 문단.")
    table = made.add_table(rows=2, cols=3)
    for row, cells in zip(table.rows, (("이름", "색", "값"), ("합침", "", "끝")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    table.rows[1].cells[0].merge(table.rows[1].cells[1])
    made.add_paragraph("마지막 문단.")
    made.save(str(tmp_path / "a.docx"))
    assert text_of(tmp_path / "a.docx") == "사과\n첫 문단.\n이름 | 색 | 값\n합침 | 끝\n마지막 문단."


HP = 'xmlns:hp="http://www.hancom.co.kr/hwpml/2011/paragraph" xmlns:hs="http://www.hancom.co.kr/hwpml/2011/section"'


def hwpx(*sections: str) -> dict[str, str]:
    head = {"mimetype": "application/hwp+zip", "version.xml": "<v/>", "Contents/header.xml": "<h/>"}
    return head | {f"Contents/section{n}.xml": f"<hs:sec {HP}>{body}</hs:sec>" for n, body in enumerate(sections)}


def para(text: str, inner: str = "") -> str:
    return f"<hp:p><hp:run><hp:t>{text}</hp:t>{inner}</hp:run></hp:p>"


def test_hwpx_sections_tables_and_notes_in_order(tmp_path: Path) -> None:
    def cell(text: str) -> str:
        return f"<hp:tc><hp:subList>{para(text)}</hp:subList></hp:tc>"

    table = f"<hp:tbl><hp:tr>{cell('이름')}{cell('값')}</hp:tr><hp:tr>{cell('사과')}{cell('3')}</hp:tr></hp:tbl>"
    head = "<hp:ctrl><hp:header><hp:subList>" + para("쪽마다 있는 머리말") + "</hp:subList></hp:header></hp:ctrl>"
    note = "<hp:ctrl><hp:footNote><hp:subList>" + para("각주 글") + "</hp:subList></hp:footNote></hp:ctrl>"
    first = para("첫 문단<hp:lineBreak/>둘째 줄<hp:tab/>끝", head) + f"<hp:p><hp:run>{table}</hp:run></hp:p>"
    bodies = [first, para("각주가 있다", note), *(para(f"{n}번 구역") for n in range(2, 12))]
    (tmp_path / "a.hwpx").write_bytes(zipped(hwpx(*bodies)))
    assert text_of(tmp_path / "a.hwpx").splitlines() == [
        "첫 문단", "둘째 줄\t끝", "이름 | 값", "사과 | 3", "각주가 있다", "각주 글",
        *(f"{n}번 구역" for n in range(2, 12)),
    ]  # fmt: skip


def test_hwp_and_other_formats_name_the_mend(tmp_path: Path, capsys) -> None:
    (tmp_path / "a.hwp").write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.raises(DataError, match=r"a\.hwp: no file \.hwp can be read\. Save it as HWPX"):
        read(tmp_path / "a.hwp")
    (tmp_path / "b.txt").write_text("글", encoding="utf-8")
    assert [one.text for one in read(tmp_path)] == ["글"]
    told = capsys.readouterr().err
    assert "left out for their endings (.hwp): 1." in told and "no file .hwp can be read. Save it as HWPX" in told


CONTAINER = '<container xmlns="urn:c"><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'


def epub(spine: list[str]) -> dict[str, str]:
    items = "".join(f'<item id="c{n}" href="text/chapter%20{n}.xhtml"/>' for n in range(1, 4))
    order = "".join(f'<itemref idref="{name}"/>' for name in spine)
    book = (
        '<package xmlns="urn:o" xmlns:dc="urn:d"><metadata><dc:title>사과 책</dc:title></metadata>'
        f"<manifest>{items}</manifest><spine>{order}</spine></package>"
    )
    pages = {
        f"OEBPS/text/chapter {n}.xhtml": f"<html><body><h1>{n}장</h1><p>{n}번 이야기.</p></body></html>" for n in (1, 2)
    }
    return {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "OEBPS/book.opf": book, **pages}


def test_epub_chapters_in_the_order_of_the_spine(tmp_path: Path) -> None:
    path = tmp_path / "a.epub"
    path.write_bytes(zipped(epub(["c2", "c1"])))
    found = read(path)
    assert [one.text for one in found] == ["2장\n\n2번 이야기.", "1장\n\n1번 이야기."]
    assert [one.id for one in found] == [f"{path}!OEBPS/text/chapter {n}.xhtml:1" for n in (2, 1)]
    assert next(rows(str(path)))[1]["title"] == "사과 책"
    path.write_bytes(zipped(epub(["c1", "c3"])))  # of which the last is not there
    skipped = Skipped(True)
    assert (
        len(read(path, skipped=skipped)) == 1 and "chapter 3.xhtml:1: is a chapter that is not there" in skipped.first
    )
    locked = {
        "META-INF/encryption.xml": "<e><EncryptionMethod Algorithm='http://www.w3.org/2001/04/xmlenc#aes128'/></e>"
    }
    path.write_bytes(zipped(epub(["c1"]) | locked))
    with pytest.raises(DataError, match=r"a\.epub: is encrypted"):
        read(path)


def record(body: bytes, kind: str = "text/html", status: str = "200 OK", of: str = "response") -> bytes:
    answer = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    head = (
        f"WARC/1.0\r\nWARC-Type: {of}\r\nWARC-Target-URI: http://a.example/\r\nWARC-Date: 2024-05-01T00:00:00Z\r\n"
        "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\n"
        f"Content-Type: application/http; msgtype={of}\r\nContent-Length: {len(answer)}\r\n\r\n"
    )
    return head.encode() + answer + b"\r\n\r\n"


RECORDS = [
    record(b"GET", of="request"),
    record(page(f"<p>{LONG * 3}</p>").encode(), "text/html; charset=utf-8"),
    record(page("<p>없다</p>").encode(), status="404 Not Found"),
    record(b"\x89PNG", "image/png"),
    record(page(f"<p>옛 페이지. {LONG * 3}</p>", "옛날", '<meta charset="euc-kr">').encode("cp949")),
    record("글만 있다.".encode(), "text/plain"),
]


@pytest.mark.parametrize("ending", [".warc", ".warc.gz"])
def test_warc_gives_the_pages_that_were_fetched_with_success(tmp_path: Path, ending: str, capsys) -> None:
    NOTED.clear()
    path = tmp_path / f"crawl{ending}"
    path.write_bytes(b"".join(gzip.compress(one) if ending.endswith("gz") else one for one in RECORDS))
    found = read(path)
    assert [one.id for one in found] == [f"{path}:{number}" for number in (2, 5, 6)]
    assert found[0].text.startswith("사과 이야기\n\n사과는 가을에") and found[1].text.startswith("옛날\n\n옛 페이지.")
    assert found[2].text == "글만 있다." and "메뉴" not in found[0].text
    assert "WARC responses left out that are no page of text, or were no success: 2." in capsys.readouterr().err
    assert found[0].source == "crawl"


ROWS = [{"n": n, "text": f"{n}번 글"} for n in range(2500)]


def arrow(kind: str) -> bytes:
    table, file = pa.Table.from_pylist(ROWS), io.BytesIO()
    if kind == "feather":
        feather.write_feather(table, file)
    else:
        with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=1700)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["file", "stream", "feather"])
def test_arrow_files_and_streams(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{'feather' if kind == 'feather' else 'arrow'}"
    path.write_bytes(arrow(kind))
    found = read(path)
    assert [one.text for one in found] == [row["text"] for row in ROWS] and found[-1].id == f"{path}:2500"
    assert [one.text for one in read(path, columns={"text": "2"})] == [row["text"] for row in ROWS]
    (tmp_path / f"b{path.suffix}.gz").write_bytes(gzip.compress(arrow(kind)))
    assert len(read(tmp_path / f"b{path.suffix}.gz")) == 2500


def save_dataset(folder: Path, texts: list[str]) -> None:
    """A folder as `save_to_disk` writes it, with a file that was computed from it beside."""
    folder.mkdir(parents=True)
    parts = [texts[0::2], texts[1::2]]
    names = [f"data-{number:05d}-of-00002.arrow" for number in range(2)]
    for name, part in zip([*names, "cache-1a2b.arrow"], [*parts, ["computed"]], strict=True):
        table = pa.Table.from_pylist([{"text": text} for text in part])
        with pa.ipc.new_stream(folder / name, table.schema) as writer:
            writer.write_table(table)
    (folder / "dataset_info.json").write_text('{"features": {"text": {"dtype": "string"}}}')
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))


def test_a_saved_dataset(tmp_path: Path) -> None:
    save_dataset(tmp_path / "apples", ["하나", "둘", "셋"])
    found = read(tmp_path / "apples")
    assert [(one.text, one.source) for one in found] == [("하나", "apples"), ("셋", "apples"), ("둘", "apples")]
    (tmp_path / "apples" / "state.json").unlink()  # as in a cache
    assert [one.text for one in read(tmp_path / "apples")] == ["하나", "셋", "둘"]


def test_a_saved_dataset_of_several_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save_dataset(tmp_path / "pears" / split, [f"{split} 1", f"{split} 2"])
    (tmp_path / "pears" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    found = read(tmp_path / "pears")
    assert sorted(one.text for one in found) == ["test 1", "test 2", "train 1", "train 2"]
    assert {one.source for one in found} == {"pears"}
    assert len(read(tmp_path / "pears" / "train")) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "state.json").write_text('[{"text": "나의 상태"}]', encoding="utf-8")  # of nobody's dataset
    assert [one.text for one in read(tmp_path / "mine")] == ["나의 상태"]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
WORD = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"/>'
WIDE = f'<?xml version="1.0" encoding="UTF-16"?>{BOMB}<s>&b;</s>'
HOSTILE = {
    "torn.pdf": (pdf(["x"])[:150], "is no PDF file, or torn"),
    "empty.pdf": (b"", "is no PDF file, or torn"),
    "torn.docx": (zipped({"word/document.xml": WORD})[:-30], "is no DOCX file, or torn"),
    "other.docx": (zipped({"word/document.xml": WORD}), "is no DOCX file, or torn"),
    "old.docx": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is no DOCX file, or torn"),
    "torn.hwpx": (zipped(hwpx(para("글")))[:-30], "is no HWPX file, or torn"),
    "other.hwpx": (zipped({"mimetype": "x"}), r"is no HWPX file, or torn \(it has no section\)"),
    "entities.hwpx": (zipped(hwpx() | {"Contents/section0.xml": f"{BOMB}<s>&b;</s>"}), "declares XML entities"),
    "entities16.hwpx": (
        zipped(
            hwpx()
            | {"Contents/section0.xml": f'<?xml version="1.0" encoding="UTF-16"?>{BOMB}<s>&b;</s>'.encode("utf-16")}
        ),
        "declares XML entities",
    ),
    "xml.hwpx": (zipped(hwpx(para("<hp:t>"))), r"section0\.xml: is no XML, or torn"),
    "locked.hwpx": (zipped(hwpx(para("글")) | {"META-INF/manifest.xml": "<m><encryption-data/></m>"}), "is encrypted"),
    "torn.epub": (zipped(epub(["c1"]))[:200], "is no EPUB file, or torn"),
    "other.epub": (zipped({"mimetype": "x"}), "is no EPUB file, or torn"),
    "entities.epub": (zipped(epub(["c1"]) | {"META-INF/container.xml": BOMB + CONTAINER}), "declares XML entities"),
    "torn.warc.gz": (gzip.compress(b"".join(RECORDS))[:-20], "is no WARC file, or torn"),
    "other.warc": (b"no records at all", "is no WARC file, or torn"),
    "empty.warc": (b"", "holds no WARC record"),
    "torn.arrow": (arrow("stream")[:-3000], "is no Arrow file, or torn"),
    "other.arrow": (b"neither one nor the other", "is no Arrow file, or torn"),
    "torn.feather": (arrow("feather")[:-100], "is no Arrow file, or torn"),
    "first.feather": (b"FEA1" + bytes(50), "Feather's first format"),
    "unknown.html": ("<p>В деревне жил мальчик</p>".encode("cp1251"), "is in no encoding that is sure"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_named_or_skipped(tmp_path: Path, name: str) -> None:
    data, complaint = HOSTILE[name]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "z.txt").write_text("good", encoding="utf-8")
    with pytest.raises(DataError, match=complaint) as error:
        read(tmp_path)
    assert str(tmp_path / name) in str(error.value)
    skipped = Skipped(True)
    assert [one.text for one in read(tmp_path, skipped=skipped)][-1] == "good" and skipped.count == 1


@pytest.mark.parametrize("name", ["a.html", "a.pdf", "a.docx", "a.hwpx", "a.epub"])
def test_a_document_no_memory_should_hold_is_refused(tmp_path: Path, name: str, monkeypatch) -> None:
    for module in ("packed", "hwpx", "epub", "docx"):
        monkeypatch.setattr(f"dodam.data.readers.{module}.LARGEST_DOCUMENT", 1 << 20)
    data = zipped({"x.xml": " " * (2 << 20)}) if name[2:] in ("docx", "hwpx", "epub") else b" " * (2 << 20)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=r"(larger|more) than 1 MB"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "package"),
    [("a.pdf", "pypdfium2"), ("a.docx", "docx"), ("a.html", "trafilatura"), ("a.warc", "fastwarc.warc")],
)
def test_a_package_that_is_not_there_is_named(tmp_path: Path, name: str, package: str, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    (tmp_path / name).write_bytes(page(LONG).encode())
    with pytest.raises(UsageError, match=rf"a\.{name[2:]}: reading .* needs the package .*pip install"):
        read(tmp_path / name)


def test_unreadable_files_are_named(tmp_path: Path, monkeypatch) -> None:
    """As root reads everything, the system's answer is made up."""
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")

    def refuse(path, *rest):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(packed, "open", refuse, raising=False)
    with pytest.raises(DataError, match=r"a\.txt: cannot be read \(Permission denied\)"):
        read(tmp_path / "a.txt")


def test_folders_behind_links_are_read_once(tmp_path: Path, capsys) -> None:
    NOTED.clear()
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    (tmp_path / "texts" / "deep" / "a.txt").write_text("a", encoding="utf-8")
    (tmp_path / "texts" / "deep" / "up").symlink_to(tmp_path / "texts")
    (tmp_path / "texts" / "self").symlink_to(tmp_path / "texts" / "self")
    (tmp_path / "texts" / "gone.txt").symlink_to(tmp_path / "gone.txt")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.txt").write_text("b", encoding="utf-8")
    for name in ("linked", "twice"):
        (tmp_path / "texts" / name).symlink_to(tmp_path / "other")
    assert files_of(str(tmp_path / "texts")) == [
        str(tmp_path / "texts" / name) for name in ("deep/a.txt", "linked/b.txt")
    ]
    assert [one.text for one in read(tmp_path / "texts")] == ["a", "b"]
    assert "links that lead nowhere left out: 4." in capsys.readouterr().err  # two, met twice


def test_every_source_goes_into_one_data_folder(tmp_path: Path, capsys) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.html").write_text(page(f"<p>{LONG}</p>"), encoding="utf-8")
    (corpus / "b.pdf").write_bytes(pdf(["A page about apples."]))
    made = docx.Document()
    made.add_paragraph("문서의 문단.")
    made.save(str(corpus / "c.docx"))
    (corpus / "d.hwpx").write_bytes(zipped(hwpx(para("한글 문서."))))
    (corpus / "e.epub").write_bytes(zipped(epub(["c1", "c2"])))
    (corpus / "f.warc").write_bytes(b"".join(RECORDS))
    (corpus / "g.arrow").write_bytes(arrow("stream"))
    assert (
        cli.main(["prepare", "--data", str(corpus), "--license", "CC0", "--out", str(tmp_path / "out"), "--json"]) == 0
    )
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["documents"] == 1 + 1 + 1 + 1 + 2 + 3 + 2500
    assert [one["name"] for one in result["sources"]] == ["corpus", "f", "g"]


def test_every_reader_has_a_test() -> None:
    tested = {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".zip", ".tar", ".tgz"}
    here = {Path(name.removesuffix(".gz")).suffix for name in HOSTILE} | {".htm", ".xhtml"}
    assert set(ROW_READERS) == tested | here
