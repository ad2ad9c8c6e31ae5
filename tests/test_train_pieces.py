"""Checkpoints in pieces: whatever part is read of whatever pieces, it is that of the whole; a torn file is noticed."""

import errno
import json
import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dodam.errors import CheckpointError, StorageError
from dodam.models.build import build_decoder, decoder_config, initialize, outline_decoder
from dodam.tensors import Made, ModelTensors, write_model_tensors, write_tensors
from dodam.train import checkpoint
from dodam.train.pieces import PLACES, Pieces, begins_of, own_pieces, writes
from dodam.train.writer import Writer, write_piece

WHOLE = torch.arange(7 * 10.0).view(7, 10)


def cut(rows: int, columns: int) -> list[tuple[list[int], Tensor]]:
    """WHOLE in so many pieces along each side, as `torch.chunk` cuts it, and where each begins."""
    found, row = [], 0
    for stripe in WHOLE.chunk(rows):
        column = 0
        for piece in stripe.chunk(columns, dim=1):
            found.append(([row, column], piece.contiguous()))
            column += piece.shape[1]
        row += stripe.shape[0]
    return found


def written(folder: Path, rows: int, columns: int) -> list[Path]:
    """A file for each piece."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (begins, piece) in enumerate(cut(rows, columns)):
        paths.append(folder / f"tensors-{number:05d}.safetensors")
        write_tensors({"a": piece}, paths[-1], {PLACES: json.dumps({"a": [begins, list(WHOLE.shape)]})})
    return paths


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(1, 4), st.integers(1, 3)), st.tuples(st.integers(1, 5), st.integers(1, 4)))
def test_pieces_of_one_layout_are_read_in_another(
    tmp_path_factory: pytest.TempPathFactory, one: tuple[int, int], other: tuple[int, int]
) -> None:
    saved = Pieces(written(tmp_path_factory.mktemp("pieces"), *one))
    assert torch.equal(saved["a"], WHOLE)
    assert not saved.missing()
    for begins, piece in cut(*other):
        assert torch.equal(saved.part("a", begins, piece.shape), piece)


def test_a_file_that_tells_of_no_pieces_holds_whole_tensors(tmp_path: Path) -> None:
    write_tensors({"a": WHOLE, "step": torch.tensor(3.0)}, tmp_path / "old.safetensors")
    saved = Pieces([tmp_path / "old.safetensors"])
    into = {"a": torch.zeros(7, 10), "step": torch.zeros(())}
    saved.read_into(into)
    assert torch.equal(into["a"], WHOLE) and into["step"] == 3.0


def in_pieces(folder: Path, step: int) -> Path:
    """A checkpoint of four pieces."""
    path = checkpoint.place(folder, checkpoint.LATEST, step)
    names = {one.name: checkpoint.file_hash(one) for one in written(path, 2, 2)}
    checkpoint.describe(path, step, {"choices": {}}, names)
    return path


@pytest.mark.parametrize("harm", ["torn", "missing", "no state"])
def test_a_checkpoint_in_pieces_is_torn_where_any_of_it_is(
    harm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_pieces(tmp_path, 1)
    newest = in_pieces(tmp_path, 2)
    assert checkpoint.newest(tmp_path)["step"] == 2  # type: ignore[index]
    piece = newest / "tensors-00002.safetensors"
    if harm == "torn":
        piece.write_bytes(piece.read_bytes()[:-1] + b"\1")
    else:
        (piece if harm == "missing" else newest / "state.json").unlink()
    assert checkpoint.newest(tmp_path)["step"] == 1  # type: ignore[index]
    assert "this checkpoint is torn" in capsys.readouterr().err


def test_pieces_that_are_not_all_of_a_tensor_are_refused(tmp_path: Path) -> None:
    paths = written(tmp_path, 2, 2)
    checkpoint.check(Pieces(paths), {"a": [7, 10]}, tmp_path)
    for saved, wanted in ((Pieces(paths[1:]), [7, 10]), (Pieces(paths), [10, 7])):
        with pytest.raises(CheckpointError, match="another shape"):
            checkpoint.check(saved, {"a": wanted}, tmp_path)


class Spread:
    """What `pieces.py` asks of a tensor of which a rank has a part: on a mesh, of rank 0 and so many after it unless
    `among` others, cut along some sides."""

    def __init__(
        self, mesh: tuple[int, ...], at: tuple[int, ...], dims: tuple[int | None, ...], among: Tensor | None = None
    ) -> None:
        from torch.distributed.tensor import Replicate, Shard

        self.shape, self.ndim = WHOLE.shape, WHOLE.ndim
        self.placements = [Replicate() if dim is None else Shard(dim) for dim in dims]
        among = torch.arange(math.prod(mesh)).view(mesh) if among is None else among
        self.device_mesh = type("Mesh", (), {"shape": mesh, "mesh": among, "get_coordinate": lambda self: at})()
        part = WHOLE
        for number, here, dim in zip(mesh, at, dims, strict=True):
            if dim is not None:
                parts = part.chunk(number, dim=dim)
                part = parts[here] if here < len(parts) else part.narrow(dim, 0, 0)
        self.part = part

    def to_local(self) -> Tensor:
        return self.part

    def full_tensor(self) -> Tensor:
        return WHOLE


@pytest.mark.parametrize("dims", [(0, None), (0, 1), (1, 0), (None, 0)])
@pytest.mark.parametrize("mesh", [(2, 2), (5, 2), (1, 4), (8, 1)])
def test_what_ranks_write_is_the_whole_once(mesh: tuple[int, int], dims: Any, tmp_path: Path) -> None:
    paths, cells = [], 0
    for row in range(mesh[0]):
        for column in range(mesh[1]):
            tensors: Any = {"a": Spread(mesh, (row, column), dims)}
            held, places = own_pieces(tensors)
            begins = begins_of(tensors["a"])
            for name, piece in held.items():
                (first, second), (rows, columns) = begins, piece.shape
                assert torch.equal(piece, WHOLE[first : first + rows, second : second + columns]), name
                cells += piece.numel()
            assert bool(held) == (writes(tensors["a"]) and tensors["a"].part.numel() > 0)
            paths.append(tmp_path / f"{len(paths)}.safetensors")
            write_tensors(held, paths[-1], places)
    assert cells == WHOLE.numel()
    assert torch.equal(Pieces(paths)["a"], WHOLE)


def test_of_two_meshes_that_each_have_all_of_a_tensor_one_writes(tmp_path: Path) -> None:
    """Ranks 0 and 2, and 1 and 3, as norms are spread where two ranks compute each product together."""
    paths = []
    for rank in range(4):
        tensors: Any = {"a": Spread((2,), (rank // 2,), (0,), torch.tensor([rank % 2, rank % 2 + 2]))}
        held, places = own_pieces(tensors)
        assert bool(held) == (rank in (0, 2))
        paths.append(tmp_path / str(rank))
        write_tensors(held, paths[-1], places)
    saved = Pieces(paths)
    assert not saved.missing() and torch.equal(saved["a"], WHOLE)


@pytest.mark.parametrize("fails", ["nobody", "this rank", "the other"])
def test_what_one_rank_cannot_write_none_has_written(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranks, of which the other one writes as soon as this one has told of its file."""
    mine: Any = {"a": Spread((2, 1), (0, 0), (0, None))}
    others: Any = {"a": Spread((2, 1), (1, 0), (0, None))}
    write = checkpoint.write_tensors

    def refuses(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
        if path.name == {"this rank": "tensors-00000.safetensors", "the other": "tensors-00001.safetensors"}.get(fails):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(tensors, path, metadata)

    def tell(word: str) -> list[str]:
        [draft] = (path for path in tmp_path.iterdir() if path.name.startswith(".step"))
        return [word, write_piece(draft, 1, *own_pieces(others))]

    in_pieces(tmp_path, 1)
    monkeypatch.setattr(checkpoint, "write_tensors", refuses)
    monkeypatch.setattr("dodam.train.distributed.teller", lambda: tell)
    with Writer(tmp_path) as writer:
        writer.write(checkpoint.LATEST, 2, mine, {"tokens": 7}, 2)
        if fails == "nobody":
            writer.wait()
        else:
            with pytest.raises(StorageError, match="the disk is full"):
                writer.wait()
    saved = checkpoint.newest(tmp_path)
    assert saved is not None and saved["step"] == (2 if fails == "nobody" else 1)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert torch.equal(checkpoint.pieces(checkpoint.place(tmp_path, checkpoint.LATEST, saved["step"]))["a"], WHOLE)


def test_tensors_are_asked_for_a_file_at_a_time(tmp_path: Path) -> None:
    tensors = {"b": torch.randn(3, 5), "a": torch.randn(4).bfloat16(), "c": torch.zeros(()), "이름": torch.ones(2, 1)}
    alive: list[Any] = []

    def make(name: str) -> Tensor:
        assert sum(one() is not None for one in alive) < 3, "those of earlier files are gone"
        tensor = tensors[name].clone()
        alive.append(weakref.ref(tensor))
        return tensor

    write_model_tensors(Made({name: one.nbytes for name, one in tensors.items()}, make), tmp_path, largest=20)
    assert len(alive) == len(tensors) and len(list(tmp_path.glob("*.safetensors"))) > 1
    assert {name: one.tolist() for name, one in ModelTensors(tmp_path).items()} == {
        name: one.tolist() for name, one in tensors.items()
    }


@pytest.mark.parametrize("tied", [False, True])
def test_parts_are_drawn_as_the_whole_is(tied: bool) -> None:
    config = decoder_config(vocabulary=64, context=16, depth=2, width=64, tied=tied)
    model, drawn = outline_decoder(config), {}

    def put(weight: Tensor, draw: Any) -> None:
        [name] = [name for name, one in model.named_parameters() if one is weight]
        drawn[name] = torch.full(weight.shape, torch.nan)
        draw(drawn[name])

    initialize(model, 3, put)
    whole = dict(build_decoder(config, 3).named_parameters())
    assert drawn.keys() == whole.keys()
    assert all(torch.equal(drawn[name], whole[name]) for name in whole)
