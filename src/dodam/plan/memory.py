"""Memory by part: weights, gradients and optimiser exactly, as `train/optim.py` has them; what is kept of a step and
the cache of keys and values by formula.

B rows that are computed at one time, T positions of a row, D width, Q and K widths of all query and all key/value
heads, F width of the feed-forward, V vocabulary. Everything is in bytes.
"""

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import nn

from dodam.models.build import MASK_SHARE, MODELS, SOURCE_SHARE, TARGET_SHARE, Sizes, outline
from dodam.models.decoder import DecoderConfig
from dodam.models.encoder import EncoderConfig
from dodam.models.encoder_decoder import EncoderDecoderConfig
from dodam.nn.attention import EXPLICIT_UP_TO, QUERY_BLOCK
from dodam.nn.lora import is_lora
from dodam.nn.norm import NormKind
from dodam.train.objective import chunk_size
from dodam.train.optim import in_block
from dodam.train.recompute import spread

FULL = 4  # bytes of a weight, of its gradient, and of each number an optimiser keeps
STEP_COUNT = 4  # AdamW counts its steps for every tensor


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What training needs on one device. `activations` and `update` are never there at one time."""

    weights: int
    """Parameters and the tables that are computed (angles of positions)."""
    gradients: int
    optimizer: int
    activations: int
    """What the forward pass keeps for the backward pass."""
    copies: int
    """Of the matrices inside the blocks, in what they multiply in."""
    logits: int
    """Of one chunk of positions, with what is computed from them."""
    recomputed: int
    """Of the one block that is just computed again, when the logits and the blocks behind it are gone."""
    update: int
    """What Muon's largest group of matrices needs while it is updated."""

    def shared(self, *, data: int, tensor: int, pipeline: int, full: bool) -> "Memory":
        """Of one device, where `tensor` of them share every matrix and what is kept, `pipeline` have a part of the
        blocks each (and keep as many microbatches as there are parts, so that nothing is saved there), and `data` share
        weights and gradients too if `full`, else the optimiser's state only."""
        model = tensor * pipeline
        whole = model * (data if full else 1)
        return Memory(
            weights=math.ceil(self.weights / whole),
            gradients=math.ceil(self.gradients / whole),
            optimizer=math.ceil(self.optimizer / (model * data)),
            activations=math.ceil(self.activations / tensor),
            copies=math.ceil(self.copies / whole),
            logits=math.ceil(self.logits / tensor),
            recomputed=math.ceil(self.recomputed / tensor),
            update=math.ceil(self.update / (model * data)),
        )

    @property
    def states(self) -> int:
        """What is there all the time."""
        return self.weights + self.gradients + self.optimizer

    @property
    def peak(self) -> int:
        step = self.activations + self.copies + max(self.logits, self.recomputed)
        return self.states + max(step, self.update)


@lru_cache(maxsize=4)
def outlined(sizes: Sizes) -> nn.Module:
    """The model of these sizes, without memory; to be looked at and not changed."""
    return outline(MODELS[type(sizes)], sizes)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters, each counted once, and of the tables beside them."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))


def gradient_bytes(model: nn.Module) -> int:
    """Bytes of the gradients of what is trained."""
    return sum(one.numel() * one.element_size() for one in model.parameters() if one.requires_grad)


def optimizer_bytes(model: nn.Module) -> int:
    """Bytes of the state of `Optimizers`: one momentum for a matrix inside a block (Muon), two moments and a count of
    steps for everything else (AdamW). What is frozen has none."""
    trained = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    return sum(
        FULL * one.numel() if has_muon(name, one) else 2 * one.numel() * one.element_size() + STEP_COUNT
        for name, one in trained
    )


def has_muon(name: str, parameter: nn.Parameter) -> bool:
    return in_block(name) and parameter.ndim == 2 and not is_lora(name)


def update_bytes(model: nn.Module) -> int:
    """Bytes that the largest group of matrices of one shape needs while Muon updates it: the gradients stacked (4), the
    update in full precision (4), and three of its kind in half precision (6)."""
    groups: Counter[torch.Size] = Counter()
    for name, one in model.named_parameters():
        if one.requires_grad and has_muon(name, one):
            groups[one.shape] += one.numel()
    return 14 * max(groups.values(), default=0)


def training(
    sizes: Sizes,
    rows: int,
    context: int,
    *,
    dtype: str,
    device: str,
    model: nn.Module | None = None,
    recompute: float = 0.0,
) -> Memory:
    """What training on `rows` rows of `context` tokens at one time needs; `model` where parts of it are frozen,
    `recompute` the share of the blocks that are computed again on the way back."""
    model = model or outlined(sizes)
    how = Kept(half=dtype != "float32", on_cpu=device == "cpu", context=context)
    stacks, copies = stacks_of(sizes, how), copied_bytes(sizes, how)
    again = [spread(stack.depth, recompute) for stack in stacks]
    blocks = sum(stack.depth for stack in stacks)
    share = sum(map(sum, again)) / blocks
    kept = around_bytes(sizes, how) + sum(stack.kept(sum(which)) for stack, which in zip(stacks, again, strict=True))
    room = [
        (rows * stack.block + copies / blocks) * (1 - freed_before(which))
        for stack, which in zip(stacks, again, strict=True)
        if any(which)
    ]
    return Memory(
        weights=weight_bytes(model),
        gradients=gradient_bytes(model),
        optimizer=optimizer_bytes(model),
        activations=round(rows * kept),
        copies=round((1 - share) * copies),
        logits=logit_bytes(sizes, rows * context, device, how),
        recomputed=round(max([0.0, *room])),
        update=update_bytes(model),
    )


def freed_before(again: list[bool]) -> int:
    """How many blocks of a stack that keep all are gone before the last one that does not is computed again."""
    return again[::-1].index(True)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What the layers of a step keep for the backward pass, in bytes for each position."""

    half: bool
    """Whether matrices multiply in half precision; the stream of a model is in full precision always."""
    on_cpu: bool
    """There attention is written out up to `EXPLICIT_UP_TO` in half precision, and a root mean square norm keeps what
    it has normalised beside what it read."""
    context: int

    @property
    def size(self) -> int:
        """Bytes of what a matrix product reads and gives."""
        return 2 if self.half else FULL

    @property
    def explicit(self) -> bool:
        return self.on_cpu and self.half and self.context <= EXPLICIT_UP_TO

    def norm(self, kind: NormKind, width: int) -> int:
        """A norm of the stream."""
        return FULL * width * (2 if self.on_cpu and kind != "layer" else 1)

    def attention(
        self,
        width: int,
        q: int,
        k: int,
        heads: int,
        *,
        qk_norm: bool,
        rotary: bool,
        causal: bool,
        softcap: bool = False,
    ) -> float:
        """Self-attention, from what its projections read to what the last of them reads."""
        size, T = self.size, self.context
        kept = size * width + (FULL * (q + k) * (self.half + self.on_cpu) if qk_norm else 0)
        if not (softcap or self.explicit):  # values in one piece with queries and keys; what comes out
            return kept + size * (q + 2 * k + (q + k if rotary or qk_norm else 0) + q) + FULL * heads
        blocks = -(-T // QUERY_BLOCK) if causal else 1
        copies = (blocks + 1) * k  # of the keys and values each block of queries sees
        scores = heads * T * (blocks + 1) / (2 * blocks) * (2 if softcap else 1)
        return kept + size * (2 * q + copies + scores)

    def cross(self, width: int, q: int, heads: int, sources: float) -> float:
        """Attention to `sources` positions of another sequence for each of this one."""
        size = self.size
        scores = sources * heads * self.context if self.explicit else 0
        return size * (width + 2 * q + sources * (width + 2 * q) + scores)

    def feedforward(self, width: int, hidden: int, *, gated: bool, activation: str) -> int:
        """What it reads, its projection, what the activation gives, and in a gated one their product."""
        return self.size * (width + hidden * (4 if gated else 1 if activation == "relu" else 2))


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Blocks that are alike, and what they keep of a row, in bytes. Dropout and masks of documents are not counted."""

    depth: int
    block: float
    """All that one keeps."""
    read: float
    """What one reads, the stream."""

    def kept(self, again: int) -> float:
        """Where `again` of them are computed again, and keep only what they read."""
        return (self.depth - again) * self.block + again * self.read


def stacks_of(sizes: Sizes, how: Kept) -> list[Stack]:
    """One, or those of both sides of a pair: a row with spans dropped, `SOURCE_SHARE` of which is read and
    `TARGET_SHARE` written."""
    stream = FULL * sizes.width
    if not isinstance(sizes, EncoderDecoderConfig):
        block = decoder_block(sizes, how) if isinstance(sizes, DecoderConfig) else encoder_block(sizes, how)
        return [Stack(depth=sizes.depth, block=how.context * block, read=how.context * stream)]
    source, target = SOURCE_SHARE * how.context, TARGET_SHARE * how.context
    reads, writes = pair_blocks(sizes, source, target, how)
    looked_at = 2 * how.size * source * sizes.heads * sizes.head_dim  # keys and values that a block is given
    return [
        Stack(depth=sizes.encoder_depth, block=source * reads, read=source * stream),
        Stack(depth=sizes.decoder_depth, block=target * writes, read=target * stream + looked_at),
    ]


def around_bytes(sizes: Sizes, how: Kept) -> float:
    """Of a row: the embedding, the last norm, what the head reads."""
    if isinstance(sizes, EncoderDecoderConfig):
        source, target = SOURCE_SHARE * how.context, TARGET_SHARE * how.context
        return (source * FULL + target * (FULL + how.size)) * sizes.width
    return how.context * (how.norm(sizes.norm, sizes.width) + (FULL + how.size) * sizes.width)


def decoder_block(sizes: DecoderConfig, how: Kept) -> float:
    q, k = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    attention = how.attention(
        sizes.width, q, k, sizes.heads, qk_norm=sizes.qk_norm, rotary=not sizes.learned_positions, causal=True,
        softcap=sizes.attention_softcap is not None,
    )  # fmt: skip
    feedforward = how.feedforward(
        sizes.width, sizes.feedforward_size, gated=sizes.gated or sizes.experts > 0, activation=sizes.activation
    )
    if sizes.experts:  # each token's input, and what each expert says of it, once for every one chosen
        feedforward = sizes.experts_chosen * (feedforward + 2 * how.size * sizes.width) + how.size * sizes.width
    return attention + feedforward + (4 if sizes.norm_place == "around" else 2) * how.norm(sizes.norm, sizes.width)


def encoder_block(sizes: EncoderConfig, how: Kept) -> float:
    width = sizes.width
    rotary = not sizes.learned_positions
    attention = how.attention(width, width, width, sizes.heads, qk_norm=False, rotary=rotary, causal=False)
    feedforward = how.feedforward(width, sizes.feedforward_size, gated=sizes.gated, activation=sizes.activation)
    return attention + feedforward + 2 * how.norm(sizes.norm, width)


def pair_blocks(sizes: EncoderDecoderConfig, source: float, target: float, how: Kept) -> tuple[float, float]:
    """A block that reads so many positions, and one that writes so many, each for one position."""
    width, q = sizes.width, sizes.heads * sizes.head_dim
    norm = how.norm(sizes.norm, width)
    feedforward = how.feedforward(width, sizes.feedforward_size, gated=sizes.gated, activation=sizes.activation)

    def attention(length: float, *, causal: bool) -> float:
        return shorter(length).attention(width, q, q, sizes.heads, qk_norm=False, rotary=False, causal=causal)

    def shorter(length: float) -> Kept:
        return replace(how, context=round(length))

    look = shorter(target).cross(width, q, sizes.heads, source / target)
    reads = attention(source, causal=False) + feedforward + 2 * norm
    return reads, attention(target, causal=True) + look + feedforward + 3 * norm


def copied_bytes(sizes: Sizes, how: Kept) -> int:
    """Copies of the matrices inside the blocks: in half precision of all of them; in full precision of those that are
    multiplied side by side (`nn/linear.py`)."""
    joined = ("query", "key", "value", "gate", "up")
    return sum(
        how.size * one.numel()
        for name, one in outlined(sizes).named_parameters()
        if in_block(name) and one.ndim == 2 and (how.half or name.split(".")[-2] in joined)
    )


def logit_bytes(sizes: Sizes, positions: int, device: str, how: Kept) -> int:
    """One chunk of logits in full precision four times over (themselves, their softmax on the way to a gradient), and
    the head in its dtype with its gradient, and that of the chunk."""
    by_kind: dict[type, float] = {EncoderConfig: MASK_SHARE, EncoderDecoderConfig: TARGET_SHARE}
    told = by_kind.get(type(sizes), 1.0)
    chunk = min(round(told * positions), chunk_size(sizes.vocabulary, torch.device(device)))
    return sizes.vocabulary * (4 * FULL * chunk + (how.size + 2 * FULL) * sizes.width)


def cache_bytes(sizes: DecoderConfig | EncoderDecoderConfig, rows: int, context: int, size: int) -> int:
    """Keys and values of `rows` sequences of `context` positions (`nn/cache.py`), in numbers of `size` bytes."""
    return 2 * sizes.depth * rows * sizes.kv_heads * context * sizes.head_dim * size
