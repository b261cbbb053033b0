"""A transformer that predicts the tokens of each scale from those of the scales before (Tian et al. 2024).

Of Infinity's shape (Han et al. 2025): the text reaches it by cross-attention, and pooled as the start token and as what
shifts, scales and gates every block (AdaLN, one projection for all blocks); queries and keys of self-attention are
normalised, with a learned scale for each head; the head gives for each symbol of a token its values' logits, so two for
each bit or V for an index. Or it is conditioned on a class, as VAR is, without cross-attention. Positions are a learned
table, as VAR's, or turn queries and keys, as Infinity's. What else the published models do otherwise than ours, the
start token, the modulation and the biases, are options of the one transformer.

n: rows of a batch; L: tokens of all scales; C: the width; T: the width of the text. Inputs (n, L - 1, c) are those of
the residual quantiser; logits (n, L, symbols, values).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from palimpsest.models.scales import block_causal, check_sizes, levels, positions, spans

SLOWEST = 10_000.0  # the base of the frequencies by which positions turn
LONG = 1000  # tokens of a picture; one of 512 pixels has more
START_SCALE, GREATEST_SCALE = 4.0, 100.0  # of a head's normalised queries, as in VAR and Infinity


def by_heads(tokens: Tensor, heads: int) -> Tensor:
    """(n, l, C) as (n, heads, l, C / heads)."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def from_heads(tokens: Tensor) -> Tensor:
    """(n, heads, l, C / heads) as (n, l, C)."""
    return tokens.transpose(1, 2).flatten(2)


def modulated(tokens: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Tokens normalised, and scaled and shifted by the condition (n, 1, C)."""
    return F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6) * (1 + scale) + shift


def angles_of(sizes: Sequence[int], width: int, over: int) -> Tensor:
    """By how much each token's pairs of channels are turned, (L, width / 2) of a head's width.

    Half of the pairs by the row, half by the column, each at frequencies of its own (rotary positions over two axes).
    A scale's grid is spread over one of side `over`, so that the same place of a picture has the same angle at every
    scale (Han et al. 2025). Raises ValueError for a width that no two axes share.
    """
    if width % 4:
        raise ValueError(f"a head of width {width} cannot turn by rows and columns: give a multiple of 4")
    frequencies = SLOWEST ** -(torch.arange(0, width // 2, 2) / (width // 2))
    return (positions(sizes, over)[..., None] * frequencies).flatten(1)


def turned(tokens: Tensor, angles: Tensor) -> Tensor:
    """Tokens (n, heads, l, w), each pair of neighbouring channels turned by its angle (l, w / 2)."""
    first, second = tokens.unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = angles.cos().to(tokens.dtype), angles.sin().to(tokens.dtype)
    return torch.stack([cosine * first - sine * second, sine * first + cosine * second], -1).flatten(-2)


class Projection(nn.Linear):
    """Keys and values (parts 2), or queries before them (3), as one product.

    key_bias: whether keys have a bias too. VAR and Infinity give them none: a bias that all keys share moves no share
    of a plain attention.
    """

    def __init__(self, width: int, out: int, parts: Literal[2, 3], key_bias: bool):
        super().__init__(width, parts * out, bias=key_bias)
        self.key_bias, self.out = key_bias, out
        if not key_bias:
            self.query_bias = nn.Parameter(torch.zeros(out)) if parts == 3 else None
            self.value_bias = nn.Parameter(torch.zeros(out))

    def forward(self, tokens: Tensor) -> Tensor:
        """All parts (n, l, parts * out) of tokens (n, l, width)."""
        if self.key_bias:
            return super().forward(tokens)
        none = torch.zeros_like(self.value_bias)
        biases = [none, self.value_bias] if self.query_bias is None else [self.query_bias, none, self.value_bias]
        return F.linear(tokens, self.weight, torch.cat(biases))


class Seen:
    """The keys and values of a block's self-attention for the scales that are drawn already."""

    def __init__(self):
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def with_these(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All of them, with those (n, heads, l, C / heads) of the scale that is drawn now."""
        self.keys.append(keys)
        self.values.append(values)
        return torch.cat(self.keys, 2), torch.cat(self.values, 2)


class SelfAttention(nn.Module):
    """Attention of tokens to tokens: the cosine of query and key, times a learned scale for each head."""

    def __init__(self, width: int, heads: int, key_bias: bool = True):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = Projection(width, width, 3, key_bias), nn.Linear(width, width)
        self.scale = nn.Parameter(torch.full((heads, 1, 1), math.log(START_SCALE)))

    def forward(
        self, tokens: Tensor, allowed: Tensor | None, seen: Seen | None, angles: Tensor | None = None
    ) -> Tensor:
        """Tokens (n, l, C); allowed: which may see which, (l, l) bool; without it all see all, and what was seen.

        angles (l, C / heads / 2): by which queries and keys are turned.
        """
        query, key, value = (by_heads(each, self.heads) for each in self.qkv(tokens).chunk(3, -1))
        query = F.normalize(query, dim=-1) * self.scale.clamp(max=math.log(GREATEST_SCALE)).exp()
        key = F.normalize(key, dim=-1)
        if angles is not None:
            query, key = turned(query, angles), turned(key, angles)
        if seen is not None:
            key, value = seen.with_these(key, value)
        found = F.scaled_dot_product_attention(query, key, value.to(key.dtype), attn_mask=allowed, scale=1.0)
        return self.out(from_heads(found))


class CrossAttention(nn.Module):
    """Attention of tokens to the words of the text."""

    def __init__(self, width: int, heads: int, key_bias: bool = True):
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Linear(width, width), Projection(width, width, 2, key_bias)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, words: Tensor, known: Tensor) -> Tensor:
        """Tokens (n, l, C) that have looked at words (n, w, C), where those are known (n, w)."""
        query = by_heads(self.q(tokens), self.heads)
        key, value = (by_heads(each, self.heads) for each in self.kv(words).chunk(2, -1))
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=known[:, None, None])
        return self.out(from_heads(found))

    def shares(self, tokens: Tensor, words: Tensor, known: Tensor) -> Tensor:
        """How much each token looks at each word, (n, heads, l, w) of sum 1 over the words."""
        query = by_heads(self.q(tokens), self.heads)
        key = by_heads(self.kv(words).chunk(2, -1)[0], self.heads)
        alike = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
        return alike.masked_fill(~known[:, None, None], -torch.inf).softmax(-1)


class Block(nn.Module):
    """Self-attention, cross-attention where there is a text, and two layers for each token.

    own: whether it has a projection of the condition of its own, as VAR's, or an offset to the one of all blocks.
    """

    def __init__(self, width: int, heads: int, depth: int, text: bool, own: bool = False, key_bias: bool = True):
        super().__init__()
        # Its own part of what the condition says: both gates are open at first.
        first = torch.cat([torch.ones(2, width), torch.zeros(4, width)])
        self.modulation = nn.Linear(width, 6 * width) if own else None
        if own:
            nn.init.zeros_(self.modulation.weight)
            self.modulation.bias = nn.Parameter(first.flatten())
        else:
            self.offset = nn.Parameter(first)
        self.attention = SelfAttention(width, heads, key_bias)
        self.text_norm = nn.LayerNorm(width, eps=1e-6) if text else None
        self.text_attention = CrossAttention(width, heads, key_bias) if text else None
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        last = [self.attention.out, self.feed[2], *([self.text_attention.out] if text else [])]
        for layer in last:  # as in VAR: the more blocks, the less each adds at first
            layer.weight.data.div_(math.sqrt(2 * depth))

    def forward(
        self,
        tokens: Tensor,
        condition: Tensor,
        words: tuple[Tensor, Tensor] | None,
        allowed: Tensor | None = None,
        seen: Seen | None = None,
        angles: Tensor | None = None,
    ) -> Tensor:
        """Tokens (n, l, C) under a condition, as `Conditions` has it, and words with which of them are known."""
        if self.modulation is None:
            parts = self.offset + condition
        else:
            parts = self.modulation(condition).unflatten(-1, (6, -1))
        gate, feed_gate, scale, feed_scale, shift, feed_shift = parts.unsqueeze(2).unbind(1)
        tokens = tokens + gate * self.attention(modulated(tokens, scale, shift), allowed, seen, angles)
        if words is not None:
            tokens = tokens + self.text_attention(self.text_norm(tokens), *words)
        return tokens + feed_gate * self.feed(modulated(tokens, feed_scale, feed_shift))


class TextCondition(nn.Module):
    """What a text says to the transformer: words for cross-attention, and one vector of all of them.

    Where no text is wanted a learned one, as long as the text, takes its place. pooled_width: of the one vector, before
    it is projected.
    """

    def __init__(
        self, text_width: int, length: int, width: int, heads: int, pooled_width: int = 0, key_bias: bool = True
    ):
        super().__init__()
        self.heads, pooled_width = heads, pooled_width or text_width
        self.norm = nn.RMSNorm(text_width, eps=1e-6)
        self.none = nn.Parameter(torch.randn(length, text_width) / 2)
        self.query = nn.Parameter(torch.randn(1, 1, pooled_width) / 2)
        self.kv, self.out = Projection(text_width, pooled_width, 2, key_bias), nn.Linear(pooled_width, width)
        self.words = nn.Sequential(nn.Linear(text_width, width), nn.GELU(approximate="tanh"), nn.Linear(width, width))

    def forward(self, text: tuple[Tensor, Tensor], dropped: Tensor | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The pooled text (n, C), and words (n, length, C) with which are known (n, length).

        text: embeddings (n, length, T), and which are words of it; dropped (n,): the rows that shall have none.
        """
        embeddings, known = text
        if dropped is not None:
            embeddings = torch.where(dropped[:, None, None], self.none[: embeddings.shape[1]], embeddings)
        normed = self.norm(embeddings)
        query = by_heads(self.query.expand(len(normed), -1, -1), self.heads)
        key, value = (by_heads(each, self.heads) for each in self.kv(normed).chunk(2, -1))
        pooled = F.scaled_dot_product_attention(query.to(key.dtype), key, value, attn_mask=known[:, None, None])
        return self.out(from_heads(pooled))[:, 0], (self.words(normed), known)


class ClassCondition(nn.Module):
    """What a class says to the transformer: one vector. The class after the last one is none."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.classes = classes
        self.embedding = nn.Embedding(classes + 1, width)

    def forward(self, labels: Tensor, dropped: Tensor | None) -> tuple[Tensor, None]:
        """The vector (n, C) of labels (n,)."""
        if dropped is not None:
            labels = torch.where(dropped, self.classes, labels)
        return self.embedding(labels), None


class Added(nn.Module):
    """A learned vector that is added."""

    def __init__(self, width: int):
        super().__init__()
        self.vector = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, pooled: Tensor) -> Tensor:
        """What was pooled (n, C), with the vector."""
        return pooled + self.vector


@dataclass(frozen=True)
class Conditions:
    """What a batch's texts or classes say: pooled (n, C); to every block; words, and which are known.

    blocks: (n, 6, C); or (n, C), of which each block makes its own.
    """

    pooled: Tensor
    blocks: Tensor
    words: tuple[Tensor, Tensor] | None


class NextScaleTransformer(nn.Module):
    """Logits of every token from what the scales before have drawn, and a text or a class.

    sizes: sides of the scales; channels: of the inputs; symbols, values: of a token. Either text_width and length: of
    the texts; or classes: how many there are. text_heads: of the pooling of the text, pooled_width: its width, that of
    the text unless given.

    start: the first token is the pooled condition projected, or with a learned vector added. modulation: one projection
    of it for all blocks, or of each its own. key_bias: whether keys have a bias. turned_over: queries and keys are
    turned by their position, scales spread over a grid of this side; 0: positions are a learned table. level_rows: of
    the table of scales, which may have more than there are.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        channels: int,
        symbols: int,
        values: int,
        width: int,
        depth: int,
        heads: int,
        text_width: int = 0,
        length: int = 0,
        text_heads: int = 4,
        classes: int = 0,
        pooled_width: int = 0,
        start: Literal["projected", "added"] = "projected",
        modulation: Literal["shared", "own"] = "shared",
        key_bias: bool = True,
        turned_over: int = 0,
        level_rows: int = 0,
    ):
        super().__init__()
        given = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        self.config = {**given, "sizes": list(sizes)}
        self.sizes, self.symbols, self.values = check_sizes(sizes), symbols, values
        if bool(classes) == bool(text_width and length):
            raise ValueError("give either text_width and length, or classes: the transformer has one condition")
        if width % heads or (text_width and (pooled_width or text_width) % text_heads):
            raise ValueError(f"width {width} or that of the pooled text is no multiple of its heads")
        if level_rows and level_rows < len(self.sizes):
            raise ValueError(f"{level_rows} levels are too few for {len(self.sizes)} scales")
        length_of_all = sum(side * side for side in self.sizes)
        self.condition = (
            ClassCondition(classes, width)
            if classes
            else TextCondition(text_width, length, width, text_heads, pooled_width, key_bias)
        )
        self.start = nn.Linear(width, width) if start == "projected" else Added(width)
        self.modulation = nn.Linear(width, 6 * width) if modulation == "shared" else None
        self.last_modulation = nn.Linear(width, 2 * width)
        for layer in (self.modulation, self.last_modulation):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.embed = nn.Linear(channels, width)
        self.places = None if turned_over else nn.Parameter(torch.randn(length_of_all, width) * 0.02)
        self.level = nn.Parameter(torch.randn(level_rows or len(self.sizes), width) * 0.02)
        own = modulation == "own"
        self.blocks = nn.ModuleList(
            Block(width, heads, depth, text=not classes, own=own, key_bias=key_bias) for _ in range(depth)
        )
        self.head = nn.Linear(width, symbols * values)
        self.lay_out()

    def lay_out(self) -> None:
        """Make what follows from the sizes alone; again, where the module was made without tensors (device `meta`)."""
        over, heads, width = (self.config[name] for name in ("turned_over", "heads", "width"))
        with torch.device("cpu"):
            made = {"levels": levels(self.sizes), "allowed": block_causal(self.sizes)}
            made["angles"] = angles_of(self.sizes, width // heads, over) if over else None
        for name, tensor in made.items():
            self.register_buffer(name, tensor, persistent=False)

    def conditioned(self, given: Tensor | tuple[Tensor, Tensor], dropped: Tensor | None) -> Conditions:
        """What a batch's texts, or classes, say at every scale."""
        pooled, words = self.condition(given, dropped)
        said = F.silu(pooled)
        return Conditions(
            pooled, said if self.modulation is None else self.modulation(said).unflatten(-1, (6, -1)), words
        )

    def forward(self, given: Tensor | tuple[Tensor, Tensor], inputs: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Logits (n, L, symbols, values) of all scales at once, each from the inputs of its own.

        given: embeddings (n, length, T) and which are words (n, length), or labels (n,); dropped (n,): rows without.
        """
        conditions = self.conditioned(given, dropped)
        tokens = torch.cat([self.start(conditions.pooled)[:, None], self.embed(inputs)], 1)
        tokens = self.placed(tokens, slice(None), self.levels)
        told = conditions.blocks, conditions.words, self.allowed, None, self.angles
        for block in self.blocks:
            # Of so many tokens what blocks compute is too much to remember: it is computed again for the gradient.
            again = tokens.shape[1] > LONG and torch.is_grad_enabled()
            tokens = checkpoint(block, tokens, *told, use_reentrant=False) if again else block(tokens, *told)
        return self.logits(tokens, conditions)

    def next_logits(self, conditions: Conditions, seen: list[Seen], scale: int, inputs: Tensor | None) -> Tensor:
        """Logits (n, side * side, symbols, values) of one scale, after those before it, which `seen` remembers.

        inputs: of the scale (n, side * side, c); None at the first. seen: one of each block, empty at the first scale.
        """
        tokens = self.start(conditions.pooled)[:, None] if inputs is None else self.embed(inputs)
        part = spans(self.sizes)[scale]
        tokens = self.placed(tokens, part, scale)
        angles = None if self.angles is None else self.angles[part]
        for block, each in zip(self.blocks, seen, strict=True):
            tokens = block(tokens, conditions.blocks, conditions.words, seen=each, angles=angles)
        return self.logits(tokens, conditions)

    def placed(self, tokens: Tensor, part: slice, level: int | Tensor) -> Tensor:
        """Tokens told where they stand, by the table if there is one, and of which scale they are."""
        return (tokens if self.places is None else tokens + self.places[part]) + self.level[level]

    def logits(self, tokens: Tensor, conditions: Conditions) -> Tensor:
        """What the head says of tokens (n, l, C)."""
        scale, shift = self.last_modulation(F.silu(conditions.pooled))[:, None].chunk(2, -1)
        return self.head(modulated(tokens, scale, shift)).unflatten(-1, (self.symbols, self.values))


def symbol_losses(logits: Tensor, symbols: Tensor) -> Tensor:
    """Minus the log-probability of each symbol (n, L, symbols), float32, of logits (n, L, symbols, values)."""
    return -logits.float().log_softmax(-1).gather(-1, symbols[..., None])[..., 0]
