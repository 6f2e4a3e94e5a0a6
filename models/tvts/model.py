"""TVTS: both towers and the sorting head.

Shapes: B clips, T frames, K transcripts of a clip, L tokens, d embedding.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from reelscript.models.tvts.configs import TVTSConfig
from reelscript.models.tvts.losses import Losses, training_losses
from reelscript.models.tvts.sorting import SortingHead
from reelscript.models.tvts.text import TextTower
from reelscript.models.tvts.video import VideoTower


class Output(NamedTuple):
    """What the network says of B clips with K transcripts each.

    Attributes:
        video: (B, d), embeddings of the clips, not normalised.
        texts: (B, K, d), embeddings of the transcripts, not normalised.
        order_logits: (B, K, K), how likely transcript k is at each place, float32; None for K = 1.
    """

    video: Tensor
    texts: Tensor
    order_logits: Tensor | None


class TVTS(nn.Module):
    """The network of arXiv 2305.14173 (TVTSv2), or of arXiv 2209.15280 (TVTS).

    ```
    frames ─ video tower ─┬─ embedding ──────────────────┐
                          └─ tokens ──────────┐          contrast
    texts ── text tower ──┬─ mean of K ───────│──────────┘
                          └─ no gradient ── sorting head ── places
    ```

    Args:
        config: sizes and forms, from `models.tvts.configs`.
    """

    def __init__(self, config: TVTSConfig) -> None:
        super().__init__()
        self.config = config
        self.video = VideoTower(config.video, config.embed_dim)
        self.text: nn.Module
        if config.text.kind == "clip":
            self.text = TextTower(config.text, config.embed_dim)
        else:
            from reelscript.models.tvts.distilbert import DistilBert

            self.text = DistilBert(config.text, config.embed_dim)
        self.sorter = SortingHead(config.sorting)

    def forward(self, frames: Tensor, texts: Tensor, keep: Tensor | None = None) -> Output:
        """Returns embeddings and the transcripts' places.

        Args:
            frames: (B, T, 3, H, W), normalised.
            texts: int64 (B, K, L), token ids of the transcripts; K is 1 for a captioned clip, else
                `config.sorting.places`.
            keep: the patches to keep, as `draw_mask` gives them; None: all.

        Raises:
            ValueError: the shapes are not those of the configuration.
        """
        places = self.config.sorting.places
        if (
            texts.ndim != 3
            or texts.shape[0] != frames.shape[0]
            or texts.shape[1] not in (1, places)
        ):
            raise ValueError(
                f"the texts are {tuple(texts.shape)}: expected ({frames.shape[0]} clips, "
                f"1 or {places} transcripts, tokens)"
            )
        clips, count, _ = texts.shape
        video = self.video(frames, keep)
        text = self.text(texts.flatten(0, 1))
        embeddings = text.embedding.unflatten(0, (clips, count))
        if count == 1:
            return Output(video.embedding, embeddings, None)
        tokens = text.token.unflatten(0, (clips, count)).detach()  # sorting teaches video, not text
        return Output(video.embedding, embeddings, self.sorter(video.tokens, tokens))

    def losses(self, output: Output) -> Losses:
        """Returns the losses of what `forward` returned, by `config.losses`."""
        return training_losses(output.video, output.texts, output.order_logits, self.config.losses)
