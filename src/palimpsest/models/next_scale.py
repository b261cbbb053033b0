"""A transformer that predicts the tokens of each scale from those of the scales before (Tian et al. 2024).

Of Infinity's shape (Han et al. 2025): the text reaches it by cross-attention, and pooled as the start token and as what
shifts, scales and gates every block (AdaLN, one projection for all blocks); queries and keys of self-attention are
normalised, with a learned scale for each head; the head gives for each symbol of a token its values' logits, so two for
each bit or V for an index. Or it is conditioned on a class, as VAR is, without cross-attention. Positions are a learned
table, as VAR's.

n: rows of a batch; L: tokens of all scales; C: the width; T: the width of the text. Inputs (n, L - 1, c) are those of
the residual quantiser; logits (n, L, symbols, values).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palimpsest.models.scales import block_causal, check_sizes, levels, spans

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

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.scale = nn.Parameter(torch.full((heads, 1, 1), math.log(START_SCALE)))

    def forward(self, tokens: Tensor, allowed: Tensor | None, seen: Seen | None) -> Tensor:
        """Tokens (n, l, C); allowed: which may see which, (l, l) bool; without it all see all, and what was seen."""
        query, key, value = (by_heads(each, self.heads) for each in self.qkv(tokens).chunk(3, -1))
        query = F.normalize(query, dim=-1) * self.scale.clamp(max=math.log(GREATEST_SCALE)).exp()
        key = F.normalize(key, dim=-1)
        if seen is not None:
            key, value = seen.with_these(key, value)
        found = F.scaled_dot_product_attention(query, key, value.to(key.dtype), attn_mask=allowed, scale=1.0)
        return self.out(from_heads(found))


class CrossAttention(nn.Module):
    """Attention of tokens to the words of the text."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

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
    """Self-attention, cross-attention where there is a text, and two layers for each token."""

    def __init__(self, width: int, heads: int, depth: int, text: bool):
        super().__init__()
        # Its own part of what the condition says: both gates are open at first.
        self.offset = nn.Parameter(torch.cat([torch.ones(2, width), torch.zeros(4, width)]))
        self.attention = SelfAttention(width, heads)
        self.text_norm = nn.LayerNorm(width, eps=1e-6) if text else None
        self.text_attention = CrossAttention(width, heads) if text else None
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
    ) -> Tensor:
        """Tokens (n, l, C) under a condition (n, 6, C), and words with which of them are known."""
        parts = (self.offset + condition).unsqueeze(2).unbind(1)
        gate, feed_gate, scale, feed_scale, shift, feed_shift = parts
        tokens = tokens + gate * self.attention(modulated(tokens, scale, shift), allowed, seen)
        if words is not None:
            tokens = tokens + self.text_attention(self.text_norm(tokens), *words)
        return tokens + feed_gate * self.feed(modulated(tokens, feed_scale, feed_shift))


class TextCondition(nn.Module):
    """What a text says to the transformer: words for cross-attention, and one vector of all of them.

    Where no text is wanted a learned one, as long as the text, takes its place.
    """

    def __init__(self, text_width: int, length: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.RMSNorm(text_width, eps=1e-6)
        self.none = nn.Parameter(torch.randn(length, text_width) / 2)
        self.query = nn.Parameter(torch.randn(1, 1, text_width) / 2)
        self.kv, self.out = nn.Linear(text_width, 2 * text_width), nn.Linear(text_width, width)
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


@dataclass(frozen=True)
class Conditions:
    """What a batch's texts or classes say: pooled (n, C); to every block (n, 6, C); words, and which are known."""

    pooled: Tensor
    blocks: Tensor
    words: tuple[Tensor, Tensor] | None


class NextScaleTransformer(nn.Module):
    """Logits of every token from what the scales before have drawn, and a text or a class.

    sizes: sides of the scales; channels: of the inputs; symbols, values: of a token. Either text_width and length: of
    the texts; or classes: how many there are. text_heads: of the pooling of the text.
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
    ):
        super().__init__()
        given = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        self.config = {**given, "sizes": list(sizes)}
        self.sizes, self.symbols, self.values = check_sizes(sizes), symbols, values
        if bool(classes) == bool(text_width and length):
            raise ValueError("give either text_width and length, or classes: the transformer has one condition")
        if width % heads or (text_width and text_width % text_heads):
            raise ValueError(f"width {width} or text_width {text_width} is no multiple of its heads")
        place = levels(self.sizes)
        self.condition = (
            ClassCondition(classes, width) if classes else TextCondition(text_width, length, width, text_heads)
        )
        self.start = nn.Linear(width, width)
        self.modulation, self.last_modulation = nn.Linear(width, 6 * width), nn.Linear(width, 2 * width)
        for layer in (self.modulation, self.last_modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.embed = nn.Linear(channels, width)
        self.places = nn.Parameter(torch.randn(len(place), width) * 0.02)
        self.level = nn.Parameter(torch.randn(len(self.sizes), width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, depth, text=not classes) for _ in range(depth))
        self.head = nn.Linear(width, symbols * values)
        self.register_buffer("levels", place, persistent=False)
        self.register_buffer("allowed", block_causal(self.sizes), persistent=False)

    def conditioned(self, given: Tensor | tuple[Tensor, Tensor], dropped: Tensor | None) -> Conditions:
        """What a batch's texts, or classes, say at every scale."""
        pooled, words = self.condition(given, dropped)
        return Conditions(pooled, self.modulation(F.silu(pooled)).unflatten(-1, (6, -1)), words)

    def forward(self, given: Tensor | tuple[Tensor, Tensor], inputs: Tensor, dropped: Tensor | None = None) -> Tensor:
        """Logits (n, L, symbols, values) of all scales at once, each from the inputs of its own.

        given: embeddings (n, length, T) and which are words (n, length), or labels (n,); dropped (n,): rows without.
        """
        conditions = self.conditioned(given, dropped)
        tokens = torch.cat([self.start(conditions.pooled)[:, None], self.embed(inputs)], 1)
        tokens = tokens + self.places + self.level[self.levels]
        for block in self.blocks:
            tokens = block(tokens, conditions.blocks, conditions.words, self.allowed)
        return self.logits(tokens, conditions)

    def next_logits(self, conditions: Conditions, seen: list[Seen], scale: int, inputs: Tensor | None) -> Tensor:
        """Logits (n, side * side, symbols, values) of one scale, after those before it, which `seen` remembers.

        inputs: of the scale (n, side * side, c); None at the first. seen: one of each block, empty at the first scale.
        """
        tokens = self.start(conditions.pooled)[:, None] if inputs is None else self.embed(inputs)
        tokens = tokens + self.places[spans(self.sizes)[scale]] + self.level[scale]
        for block, each in zip(self.blocks, seen, strict=True):
            tokens = block(tokens, conditions.blocks, conditions.words, seen=each)
        return self.logits(tokens, conditions)

    def logits(self, tokens: Tensor, conditions: Conditions) -> Tensor:
        """What the head says of tokens (n, l, C)."""
        scale, shift = self.last_modulation(F.silu(conditions.pooled))[:, None].chunk(2, -1)
        return self.head(modulated(tokens, scale, shift)).unflatten(-1, (self.symbols, self.values))


def symbol_losses(logits: Tensor, symbols: Tensor) -> Tensor:
    """Minus the log-probability of each symbol (n, L, symbols), float32, of logits (n, L, symbols, values)."""
    return -logits.float().log_softmax(-1).gather(-1, symbols[..., None])[..., 0]
