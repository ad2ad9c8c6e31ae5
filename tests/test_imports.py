"""The walls of the house: who may import whom (docs/architecture.md, section 1), and what must load without torch.

In come the source files, read and not run; what fails names the file and the import that goes the wrong way.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from dodam.cli import COMMANDS

SOURCE = Path(__file__).parent.parent / "src" / "dodam"

FRAME = {"errors", "files", "config"}
TEXT = FRAME | {"sample", "tokenizer", "data"}
TRAINING = {"nn", "models", "train"}
MAY_IMPORT = {  # room or file: what of dodam it may import, beside itself
    "errors": set(),
    "files": {"errors"},
    "config": {"errors"},
    "flags": {"errors", "config"},
    "nn": set(),
    "models": {"nn"},
    "ranks": {"errors"},
    "train": {"nn", "models", "errors", "files", "tensors", "data", "ranks"},
    "sample": FRAME,
    "tokenizer": TEXT,
    "data": TEXT | {"feedback"},
    "feedback": FRAME,
    "tensors": {"errors", "files"},
    "machine": {"errors"},
    "versions": set(),
    "neighbours": set(),
    "doctor": {"machine"},
    "plan": FRAME
    | {"cli", "recipe", "nn", "models", "train", "tokenizer", "exchange", "folder", "stages", "machine", "doctor"},
    "tracking": FRAME | {"data"},
    "exchange": FRAME | {"nn", "models", "tokenizer", "tensors"},
    "folder": FRAME | {"nn", "models", "tokenizer", "tensors", "exchange"},
    "generate": TEXT | {"nn", "models", "exchange", "folder", "machine"},
    "stages": TEXT
    | TRAINING
    | {"exchange", "folder", "generate", "evaluate", "machine", "versions", "rl", "tracking", "ranks", "tensors"}
    | {"neighbours"},
    "evaluate": TEXT | {"nn", "models", "folder", "generate", "machine", "versions"},
    "rl": TEXT | TRAINING | {"folder", "generate", "evaluate", "machine"},
    "serve": TEXT | {"nn", "models", "folder", "generate", "machine", "feedback"},
}
ABOVE = MAY_IMPORT["exchange"] | {"folder", "versions"}
COMMANDS_OF_A_ROOM = {  # they stand above the rest of it
    "exchange/incoming.py": ABOVE,
    "exchange/outgoing.py": ABOVE,
    "tokenizer/trial.py": TEXT | {"stages", "models", "evaluate", "folder", "machine"},
    "feedback/forms.py": FRAME | {"data"},
    "feedback/uncertainty.py": FRAME | {"machine", "generate"},
}
BARE = {"torch", "numpy", "safetensors", "tokenizers"}  # all that the training core may need of others,
DRAWING = {"matplotlib"}  # and, inside the functions that draw, what they draw with
HEAVY = [
    "torch",
    "tokenizers",
    "pyarrow",
    "transformers",
    "matplotlib",
    "fastapi",
    "pydantic",
    "sacrebleu",
    "openai",
    "sklearn",
    "scipy",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "sqlalchemy",
    "alembic",
    "psycopg",
    "datasets",
    "docx",
    "fastwarc",
    "huggingface_hub",
    "lxml",
    "pypdfium2",
    "resiliparse",
    "trafilatura",
    "mlflow",
    "tensorboard",
    "trackio",
    "wandb",
]


def room(file: Path) -> str:
    """`nn/mask.py` -> `nn`, `folder.py` -> `folder`."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(file: Path) -> list[str]:
    """Every module a file imports, those inside functions included: `torch.nn`, `dodam.nn.mask`."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = [f"dodam.{alias.name}" for alias in node.names]  # `from dodam import files` is dodam.files
            found += names if node.module == "dodam" else [node.module]
    return found


FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = {room(file) for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_go_one_way(file: Path) -> None:
    here, path = room(file), file.relative_to(SOURCE).as_posix()
    rooms = {name.split(".")[1] for name in imports(file) if name.startswith("dodam.")} & ROOMS - {here}
    if here in MAY_IMPORT:
        may = COMMANDS_OF_A_ROOM.get(path, MAY_IMPORT[here])
        assert rooms <= may, f"{path} may not import {sorted(rooms - may)}"
    if here in TRAINING:
        others = {name.split(".")[0] for name in imports(file)} - set(sys.stdlib_module_names) - {"dodam"}
        assert others <= BARE | DRAWING, f"the training core may not need {sorted(others - BARE - DRAWING)}"


@pytest.mark.parametrize("module", ["dodam.models.build", "dodam.train.loop", "dodam.train.metrics"])
def test_training_core_loads_without_the_rest(module: str) -> None:
    assert loaded_by(f"import {module}") <= BARE


def test_every_room_has_its_rule() -> None:
    entrances = {"__init__", "__main__", "cli", "recipe", "runner", "child", "launcher", "grow"}  # these start commands
    assert MAY_IMPORT.keys() | entrances == ROOMS


def loaded_by(statement: str) -> set[str]:
    """The heavy packages a fresh Python has loaded after a statement."""
    code = f"import sys; {statement}; print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ast.literal_eval(result.stdout.splitlines()[-1]))


def test_import_dodam_is_light() -> None:
    assert loaded_by("import dodam") == set()


def test_command_modules_are_light() -> None:
    """`--help` reads every command's config, so no command module may load anything heavy at its head."""
    modules = {entry[0] for entry in COMMANDS.values()}
    assert loaded_by("import " + ", ".join(sorted(modules))) <= {"pydantic"}
