"""FLUX's blocks, made from diffusers' and taking their weights over."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from lotus2_ros.model.inference.arithmetic import attend, gelu, modulate, normalize_heads, rotate
from lotus2_ros.model.inference.low_rank import LowRankLinear, rows
from lotus2_ros.model.inference.modulation import Affine, Branch, DoubleTable, StreamTable


def joined(*layers: nn.Linear) -> nn.Linear:
    """One linear layer with the outputs of several, in a row."""
    with torch.device('meta'):
        layer = nn.Linear(layers[0].in_features, sum(part.out_features for part in layers))
    layer.weight = _frozen(torch.cat([part.weight for part in layers]))
    layer.bias = _frozen(torch.cat([part.bias for part in layers]))
    return layer


def _frozen(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value, requires_grad=False)


def _linear(layer: Any) -> nn.Linear:
    return cast('nn.Linear', layer)


class Heads(nn.Module):
    """Queries, keys and values in one matrix product, with the norms of queries and keys."""

    def __init__(
        self, layers: tuple[nn.Linear, nn.Linear, nn.Linear], norms: tuple[Any, Any], heads: int
    ) -> None:
        super().__init__()
        self.qkv = joined(*layers)
        self.weight = _frozen(torch.stack([norm.weight for norm in norms])[:, None])  # (2, 1, hd)
        self.eps = float(norms[0].eps)
        self.heads = heads

    def forward(self, normed: Tensor, turns: Tensor | None) -> Tensor:
        """Heads (B, T, 3, H, hd) of tokens (B, T, D); no turns for tokens at the origin."""
        joint: Tensor = self.qkv(normed)
        heads = joint.view(*joint.shape[:2], 3, self.heads, -1)
        normalize_heads(heads[:, :, :2], self.weight, self.eps)
        if turns is not None:
            rotate(heads[:, :, :2], turns)
        return heads

    def keys_and_values(self, normed: Tensor) -> Tensor:
        """(B, T, 2, H, hd) of tokens at the origin whose queries nobody needs."""
        width = self.qkv.in_features
        both = rows(cast('nn.Linear | LowRankLinear', self.qkv), normed, width)
        both = both.view(*both.shape[:2], 2, self.heads, -1)
        normalize_heads(both[:, :, :1], self.weight[1:], self.eps)
        return both


class Stream(nn.Module):
    """The image's or the text's half of a double block."""

    def __init__(self, heads: Heads, out: Any, feed_forward: Any) -> None:
        super().__init__()
        self.heads = heads
        self.out = _linear(out)
        self.up = _linear(feed_forward.net[0].proj)
        self.down = _linear(feed_forward.net[2])

    def project(self, tokens: Tensor, affine: Affine, turns: Tensor | None) -> Tensor:
        """Heads (B, T, 3, H, hd) of tokens (B, T, D)."""
        return cast('Tensor', self.heads(modulate(tokens, affine), turns))

    def finish(self, tokens: Tensor, attended: Tensor, table: StreamTable) -> Tensor:
        """Add what attention brought, then the feed forward branch; all (B, T, D)."""
        tokens = torch.addcmul(tokens, table.attention.gate, self.out(attended))
        hidden = gelu(self.up(modulate(tokens, table.feed_forward.affine)))
        return torch.addcmul(tokens, table.feed_forward.gate, self.down(hidden))


class DoubleBlock(nn.Module):
    """Image and text with weights of their own, attending to each other."""

    def __init__(self, block: Any) -> None:
        """Take over a `FluxTransformerBlock`, but for its modulation."""
        super().__init__()
        attn = block.attn
        image = Heads((attn.to_q, attn.to_k, attn.to_v), (attn.norm_q, attn.norm_k), attn.heads)
        text = Heads(
            (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj),
            (attn.norm_added_q, attn.norm_added_k),
            attn.heads,
        )
        self.image = Stream(image, attn.to_out[0], block.ff)
        self.text = Stream(text, attn.to_add_out, block.ff_context)

    def project_text(self, text: Tensor, table: DoubleTable) -> Tensor:
        """The text's heads (B, L, 3, H, hd), which depend on nothing but the text (B, L, D)."""
        return self.text.project(text, table.text.attention.affine, None)

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        text_heads: Tensor | None,
        table: DoubleTable,
        turns: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Run on image (B, T, D) and text (B, L, D) tokens.

        Args:
            image: tokens.
            text: tokens.
            text_heads: what `project_text` gave, where that is known already.
            table: constants of the timestep.
            turns: see `rotate`.

        Returns:
            Image and text, as they came.
        """
        if text_heads is None:
            text_heads = self.project_text(text, table)
        image_heads = self.image.project(image, table.image.attention.affine, turns)
        attended = attend(*torch.cat([text_heads, image_heads], 1).unbind(2))
        length = text.shape[1]
        text = self.text.finish(text, attended[:, :length], table.text)
        return self.image.finish(image, attended[:, length:], table.image), text


class SingleBlock(nn.Module):
    """Attention and feed forward side by side, on text and image in one row.

    The feed forward's first layer is no part of the heads' matrix product: no adapter touches it,
    so that all stages and tasks share one copy of it, three gigabytes of FLUX's, and a matrix
    product this large gains nothing by being a third larger.
    """

    def __init__(self, block: Any) -> None:
        """Take over a `FluxSingleTransformerBlock`, but for its modulation."""
        super().__init__()
        attn = block.attn
        layers = attn.to_q, attn.to_k, attn.to_v
        self.heads = Heads(layers, (attn.norm_q, attn.norm_k), attn.heads)
        self.up = _linear(block.proj_mlp)
        self.down = _linear(block.proj_out)

    def forward(self, tokens: Tensor, length: int, table: Branch, turns: Tensor) -> Tensor:
        """Run on tokens (B, L + T, D), of which the first `length` are text."""
        normed = modulate(tokens, table.affine)
        heads = self.heads(normed, None)
        rotate(heads[:, length:, :2], turns)
        return self._finish(tokens, normed, attend(*heads.unbind(2)), table)

    def image_only(self, tokens: Tensor, length: int, table: Branch, turns: Tensor) -> Tensor:
        """Run on tokens (B, L + T, D), and return the image's (B, T, D) alone."""
        normed = modulate(tokens, table.affine)
        image = normed[:, length:]
        heads = self.heads(image, turns)
        text = self.heads.keys_and_values(normed[:, :length])
        keys, values = torch.cat([text, heads[:, :, 1:]], 1).unbind(2)
        return self._finish(tokens[:, length:], image, attend(heads[:, :, 0], keys, values), table)

    def _finish(self, tokens: Tensor, normed: Tensor, attended: Tensor, table: Branch) -> Tensor:
        hidden = torch.cat([attended, gelu(self.up(normed))], -1)
        return torch.addcmul(tokens, table.gate, self.down(hidden))
