"""How the tensors of a TVTS network are called, by us and by everybody else: the one mapping.

A line of a table is one tensor, a column is what a layout calls it. The columns are the layouts of
the `@` lines above them, in that order:

- `@layout start`: `start` stands before each name of a group in that layout's column; a `/name` is
  whole as it stands.
- `{i}` is a block's number. `*` stands for `weight` and for `bias`.
- `-`: the layout has no such tensor. `=`: as in the column before.
- `[q,k,v]`: three tensors there, which are one here, one behind another.
- `^T`: a matrix that is transposed there. `^1`, `^11`: with one or two leading dimensions of 1.
- `^t`: a kernel for images there, which may be one for tubelets here.

Layouts:

- `ours`: the parameters of `model.TVTS`.
- `tvtsv2`, `tvts`: the released files of TVTSv2 and of TVTS, and their training checkpoints.
- `clip`: OpenAI's CLIP and OpenCLIP, where `text.` may stand before the names of the text tower.
  `hf_clip`: the CLIPModel of transformers.
- `mae`: the image encoder of MAE. `distilbert`: the DistilBertModel of transformers. TVTS began
  with these two.
"""

from __future__ import annotations

from typing import Literal

Layout = Literal["ours", "tvtsv2", "tvts", "clip", "hf_clip", "mae", "distilbert"]
Form = Literal["", "T", "1", "11", "t"]

TOWERS_V2 = """
@ours       video.
@tvtsv2     video_model.
@clip       visual.
@hf_clip    vision_model.embeddings.
  cls_embedding                class_embedding         =                  =
  position_embedding           positional_embedding    =                  position_embedding.weight
  time_embedding               temporal_embedding      -                  -
  patch.weight                 conv1.weight            =                  patch_embedding.weight
@ours       video.
@tvtsv2     video_model.
@clip       visual.
@hf_clip    vision_model.
  norm_in.*                    ln_pre.*                =                  pre_layrnorm.*
  norm_out.*                   ln_post.*               =                  post_layernorm.*
  projection.weight            proj^T                  =                  /visual_projection.weight
@ours       video.blocks.{i}.
@tvtsv2     video_model.transformer.resblocks.{i}.
@clip       visual.transformer.resblocks.{i}.
@hf_clip    vision_model.encoder.layers.{i}.
  norm_time.*                  ln_3.*                  -                  -
  time_attention.qkv.*         timeattn.qkv.*          -                  -
  time_attention.projection.*  timeattn.proj.*         -                  -
  norm_attention.*             ln_1.*                  =                  layer_norm1.*
  attention.qkv.*              attn.qkv.*              attn.in_proj_*     self_attn.[q,k,v]_proj.*
  attention.projection.*       attn.proj.*             attn.out_proj.*    self_attn.out_proj.*
  norm_mlp.*                   ln_2.*                  =                  layer_norm2.*
  mlp.up.*                     mlp.c_fc.*              =                  mlp.fc1.*
  mlp.down.*                   mlp.c_proj.*            =                  mlp.fc2.*
@ours       text.
@tvtsv2     text_
@clip
@hf_clip    text_model.embeddings.
  token_embedding.weight       token_embedding.weight  =                  =
  position_embedding           positional_embedding    =                  position_embedding.weight
@ours       text.
@tvtsv2     text_
@clip
@hf_clip    text_model.
  norm_out.*                   ln_final.*              =                  final_layer_norm.*
  projection.weight            projection^T            text_projection^T  /text_projection.weight
@ours       text.blocks.{i}.
@tvtsv2     text_model.resblocks.{i}.
@clip       transformer.resblocks.{i}.
@hf_clip    text_model.encoder.layers.{i}.
  norm_attention.*             ln_1.*                  =                  layer_norm1.*
  attention.qkv.*              attn.in_proj_*          =                  self_attn.[q,k,v]_proj.*
  attention.projection.*       attn.out_proj.*         =                  self_attn.out_proj.*
  norm_mlp.*                   ln_2.*                  =                  layer_norm2.*
  mlp.up.*                     mlp.c_fc.*              =                  mlp.fc1.*
  mlp.down.*                   mlp.c_proj.*            =                  mlp.fc2.*
"""
VIDEO_V1 = """
@ours       video.
@tvts       video_model.
@mae
  cls_embedding           cls_token^11             =
  position_embedding      pos_embed^1              =
  time_embedding          temporal_embed^1         -
  patch.weight            patch_embed.proj.weight  patch_embed.proj.weight^t
  patch.bias              patch_embed.proj.bias    =
  norm_out.*              norm.*                   =
  projection.*            /vid_proj.0.*            -
@ours       video.blocks.{i}.
@tvts       video_model.blocks.{i}.
@mae        blocks.{i}.
  norm_attention.*        norm1.*                  =
  attention.qkv.*         attn.qkv.*               =
  attention.projection.*  attn.proj.*              =
  norm_mlp.*              norm2.*                  =
  mlp.up.*                mlp.fc1.*                =
  mlp.down.*              mlp.fc2.*                =
"""
TEXT_V1 = """
@ours       text.
@tvts       text_model.
@distilbert
  token_embedding.weight  embeddings.word_embeddings.weight      =
  position_embedding      embeddings.position_embeddings.weight  =
  norm_in.*               embeddings.LayerNorm.*                 =
  projection.*            /txt_proj.1.*                          -
@ours       text.blocks.{i}.
@tvts       text_model.transformer.layer.{i}.
@distilbert transformer.layer.{i}.
  attention.qkv.*         attention.[q,k,v]_lin.*                =
  attention.projection.*  attention.out_lin.*                    =
  norm_attention.*        sa_layer_norm.*                        =
  mlp.up.*                ffn.lin1.*                             =
  mlp.down.*              ffn.lin2.*                             =
  norm_mlp.*              output_layer_norm.*                    =
"""
SORTER = """
@ours       sorter.
@tvtsv2     pred_model.
@tvts       pred_model.
  type_embedding          type_embed^1  =
  norm_out.*              norm.*        =
  head.*                  head.*        =
@ours       sorter.blocks.{i}.
@tvtsv2     pred_model.blocks.{i}.
@tvts       pred_model.blocks.{i}.
  norm_attention.*        norm1.*       =
  attention.qkv.*         attn.qkv.*    =
  attention.projection.*  attn.proj.*   =
  norm_mlp.*              norm2.*       =
  mlp.up.*                mlp.fc1.*     =
  mlp.down.*              mlp.fc2.*     =
"""
TABLES = (TOWERS_V2, VIDEO_V1, TEXT_V1, SORTER)

# What else such files have and is left out on purpose.
DROPPED = (
    r"logit_scale|logit_bias",  # the temperature is fixed
    r"input_resolution|context_length|vocab_size",  # numbers that OpenAI's archives carry
    r"(.*\.)?(text_)?attn_mask",  # the causal mask is computed
    r"(.*\.)?position_ids",  # 0, 1, 2, ... of transformers
    r"mask_token|decoder_.*",  # MAE's decoder
    r"vocab_(transform|layer_norm|projector)\..*",  # DistilBERT's prediction of words
)
