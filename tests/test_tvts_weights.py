"""Loading weights into a network, all or nothing, and writing them out again."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from reelscript.models.tvts import configs, weights
from reelscript.models.tvts.model import TVTS
from reelscript.models.tvts.sizes import sizes_of
from reelscript.models.tvts.weights import WeightsError
from tests import tvts_weights_made as made

V1_SHAPES = made.tvts(12, 2, 8, 9, 2, 6, made.distilbert(12, 2, 30, 20))


@pytest.fixture
def model() -> TVTS:
    torch.manual_seed(1)
    return TVTS(made.toy())


def test_load_released_weights_leaves_only_the_sorting_head(model: TVTS) -> None:
    before = made.copied(model)
    state = made.toy_official(sorter=False)
    with pytest.raises(WeightsError, match=r"pred_model\..* and 24 more; .* require='towers'"):
        weights.load(model, state)
    assert made.same(model.state_dict(), before)
    report = weights.load(model, state, require="towers")
    missing = tuple(name for name in before if name.startswith("sorter."))
    assert report == weights.Report(len(state), missing, (), ())
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in report.missing)
    assert torch.equal(model.video.cls_embedding, state["video_model.class_embedding"])


def test_load_training_checkpoint_sets_every_tensor(model: TVTS) -> None:
    before, state = made.copied(model), made.toy_official()
    assert weights.load(model, state) == weights.Report(len(state), (), (), ())
    after = model.state_dict()
    assert not any(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(after["sorter.head.weight"], state["pred_model.head.weight"])


def test_load_each_missing_tensor_is_named_and_nothing_is_loaded(model: TVTS) -> None:
    before, state = made.copied(model), made.toy_official()
    for name in state:
        rest = {other: tensor for other, tensor in state.items() if other != name}
        for require in ("all", "towers", "clip"):  # the layout has a name for each
            with pytest.raises(WeightsError, match=rf"the weights lack {re.escape(name)}"):
                weights.load(model, rest, require=require)  # type: ignore[arg-type]
    assert made.same(model.state_dict(), before)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fc.weight", r"what this network has not: fc\.weight$"),
        ("text_model.extra", r"what this network has not: text_model\.extra$"),
        ("video_model.transformer.resblocks.2.ln_1.weight", "video.blocks is 3 and not 2"),
    ],
)
def test_load_too_much_is_named_and_nothing_is_loaded(model: TVTS, name: str, said: str) -> None:
    before, state = made.copied(model), made.toy_official()
    with pytest.raises(WeightsError, match=said):
        weights.load(model, state | {name: torch.ones(16)})
    assert made.same(model.state_dict(), before)


def test_load_part_of_a_sorting_head_is_an_error(model: TVTS) -> None:
    state = made.toy_official()
    del state["pred_model.norm.bias"]
    with pytest.raises(WeightsError, match=r"lack pred_model\.norm\.bias$"):
        weights.load(model, state, require="towers")


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("video_model.proj", (16, 9), r"not of 'toy': embed_dim is 9 and not 8$"),
        (
            "video_model.temporal_embedding",
            (8, 16),
            r"not of 'toy': video\.frames is 8 and not 12$",
        ),
        (
            "video_model.positional_embedding",
            (17, 16),
            r"not of 'toy': video\.image_px is 32 and not 24$",
        ),
        # What shows in one tensor alone is told in the names and shapes of the file.
        ("text_projection", (25, 8), r"size: text_projection is \(25, 8\) and not \(24, 8\)$"),
        (
            "pred_model.type_embed",
            (1, 3, 8),
            r"size: pred_model\.type_embed is \(1, 3, 8\) and not \(1, 2, 8\)$",
        ),
    ],
)
def test_load_other_shapes_are_named_and_nothing_is_loaded(
    model: TVTS, name: str, shape: tuple[int, ...], said: str
) -> None:
    before = made.copied(model)
    with pytest.raises(WeightsError, match=said):
        weights.load(model, made.toy_official() | {name: torch.ones(shape)})
    assert made.same(model.state_dict(), before)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_load_numbers_that_are_not_finite_are_named(model: TVTS, bad: float) -> None:
    before, state = made.copied(model), made.toy_official()
    last = "pred_model.head.bias"
    state[last] = state[last].double()
    state[last][-1] = bad
    with pytest.raises(WeightsError, match=r"pred_model\.head\.bias holds numbers that are not"):
        weights.load(model, state)
    assert made.same(model.state_dict(), before)


def test_load_whole_numbers_are_no_weights(model: TVTS) -> None:
    state = made.toy_official()
    state["text_projection"] = state["text_projection"].to(torch.int64)
    with pytest.raises(WeightsError, match=r"text_projection holds torch\.int64"):
        weights.load(model, state)


def test_load_into_a_network_without_memory_is_an_error() -> None:
    with torch.device("meta"):
        model = TVTS(made.toy())
    with pytest.raises(WeightsError, match="meta"):
        weights.load(model, made.toy_official())


@pytest.mark.parametrize("shapes", [made.clip(made.TOY), made.hf_clip(made.TOY)])
def test_load_clip_in_half_precision_keeps_the_time_parts_as_they_were(
    model: TVTS, shapes: made.Shapes
) -> None:
    state = {name: tensor.half() for name, tensor in made.filled(shapes).items()}
    before = made.copied(model)
    for require in ("all", "towers"):
        with pytest.raises(WeightsError, match="require='clip'"):
            weights.load(model, state, require=require)  # type: ignore[arg-type]
    assert made.same(model.state_dict(), before)
    report = weights.load(model, state, require="clip")
    assert report.unexpected == ("logit_scale",)
    assert report.initialised == ()
    new = re.compile(
        r"video\.time_embedding|video\.blocks\.[01]\.(time_attention|norm_time)\..*|sorter\..*"
    )
    assert set(report.missing) == {name for name in before if new.fullmatch(name)}
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, before[name]) == (name in report.missing), name
    token = next(name for name in state if name.endswith("token_embedding.weight"))
    assert torch.equal(model.text.token_embedding.weight, state[token].float())


def test_load_clip_copies_attention_over_space_if_so_configured() -> None:
    model = TVTS(made.toy(time_attention_init="space_copy"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7)
    report = weights.load(model, made.filled(made.clip(made.TOY)), require="clip")
    assert len(report.initialised) == 2 * 6
    assert set(report.initialised) < set(report.missing)
    for block in model.video.blocks:
        assert made.same(block.time_attention.qkv.state_dict(), block.attention.qkv.state_dict())
        assert made.same(block.norm_time.state_dict(), block.norm_attention.state_dict())
        assert not block.time_attention.projection.weight.any()
        assert not block.time_attention.projection.bias.any()
    assert (model.video.time_embedding == 7).all()
    assert (model.sorter.head.weight == 7).all()


def test_load_trained_time_attention_is_not_overwritten_by_a_copy() -> None:
    model = TVTS(made.toy(time_attention_init="space_copy"))
    state = made.toy_official(sorter=False)
    assert weights.load(model, state, require="towers").initialised == ()
    there = state["video_model.transformer.resblocks.0.timeattn.proj.weight"]
    assert torch.equal(model.video.blocks[0].time_attention.projection.weight, there)


def test_load_part_of_queries_keys_values_is_missing(model: TVTS) -> None:
    state = made.filled(made.hf_clip(made.TOY))
    del state["text_model.encoder.layers.1.self_attn.k_proj.bias"]
    with pytest.raises(WeightsError, match=r"lack .*q_proj\.bias \+ .*k_proj\.bias \+ .*v_proj"):
        weights.load(model, state, require="clip")


def test_load_tvts_of_the_first_version_from_mae_and_distilbert() -> None:
    model = TVTS(made.toy_v1())
    before = made.copied(model)
    mae = made.filled(made.mae(12, 2, 8, 9)) | {"mask_token": torch.zeros(1, 1, 12)}
    report = weights.load(model, mae, require="clip")
    assert report.unexpected == ("mask_token",)
    kept = {"video.time_embedding", "video.projection.weight", "video.projection.bias"}
    assert {name for name in report.missing if name.startswith("video.")} == kept
    bert = made.filled(made.distilbert(12, 2, 30, 20))
    report = weights.load(model, {f"distilbert.{n}": t for n, t in bert.items()}, require="clip")
    kept = {"text.projection.weight", "text.projection.bias"}
    assert {name for name in report.missing if name.startswith("text.")} == kept
    assert torch.equal(model.video.norm_out.weight, mae["norm.weight"])
    assert torch.equal(model.text.norm_in.bias, bert["embeddings.LayerNorm.bias"])
    assert torch.equal(model.text.projection.weight, before["text.projection.weight"])


def test_save_and_open_give_the_same_network(model: TVTS, tmp_path: Path) -> None:
    weights.save(model, tmp_path / "model.safetensors")
    opened = weights.open_model(tmp_path / "model.safetensors")
    assert opened.config == model.config
    assert not opened.training
    assert made.same(opened.state_dict(), dict(model.state_dict()))
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "reelscript-tvts/1"
    assert configs.TVTSConfig.from_dict(json.loads(metadata["config"])) == model.config


@pytest.mark.parametrize("sorter", [False, True])
def test_save_official_is_what_the_released_code_reads(
    model: TVTS, tmp_path: Path, sorter: bool
) -> None:
    weights.save_official(model, tmp_path / "model.pth", sorter=sorter)
    state = torch.load(tmp_path / "model.pth", weights_only=True)["state_dict"]
    shapes = made.official_video(made.TOY) | made.official_text(made.TOY)
    shapes |= made.official_sorter(8) if sorter else {}
    assert made.shapes_of(state) == {f"module.{name}": shape for name, shape in shapes.items()}
    assert all(tensor.is_contiguous() for tensor in state.values())
    numbers = sum(tensor.nbytes for tensor in state.values())
    assert (tmp_path / "model.pth").stat().st_size < numbers + 400 * len(state)
    opened = weights.open_model(tmp_path / "model.pth", made.toy())
    for name, tensor in model.state_dict().items():
        if sorter or not name.startswith("sorter."):
            assert torch.equal(opened.state_dict()[name], tensor)


def test_save_official_of_the_first_version_loads_again(tmp_path: Path) -> None:
    model, again = TVTS(made.toy_v1()), TVTS(made.toy_v1())
    weights.save_official(model, tmp_path / "model.pth", sorter=True)
    held = weights.read(tmp_path / "model.pth")
    assert (held.layout, made.shapes_of(held.state)) == (
        "tvts",
        {f"module.{name}": shape for name, shape in V1_SHAPES.items()},
    )
    weights.load(again, held)
    assert made.same(again.state_dict(), dict(model.state_dict()))


@pytest.mark.parametrize("write", [weights.save, weights.save_official])
def test_save_that_fails_leaves_what_was_there(
    model: TVTS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any
) -> None:
    file = tmp_path / "model"
    file.write_bytes(b"before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WeightsError, match=r"model cannot be written: .*No space left"):
        write(model, file)
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(WeightsError, match=r"/no/such cannot be written: there is no folder .*no$"):
        write(model, tmp_path / "no" / "such")
    with pytest.raises(WeightsError, match=r"cannot be written: it is a folder$"):
        write(model, tmp_path)


@pytest.mark.parametrize("name", made.SIZES)
def test_config_is_known_by_the_sizes(name: str) -> None:
    size = made.SIZES[name]
    official = made.official_video(size) | made.official_text(size)
    for shapes in (official, made.clip(size), made.hf_clip(size)):
        assert weights.config_of(made.on_meta(shapes)) == configs.named(name)


@pytest.mark.parametrize(
    "shapes",
    [
        made.tvts(768, 12, 16, 196, 8, 256, made.distilbert(768, 6, 30522, 512)),
        made.mae(768, 12, 16, 196),
        made.distilbert(768, 6, 30522, 512),
    ],
)
def test_config_of_the_first_version_is_known_by_the_sizes(shapes: made.Shapes) -> None:
    assert weights.config_of(made.on_meta(shapes)) == configs.v1()


def test_config_of_other_sizes_names_the_nearest_and_what_differs() -> None:
    size = dataclasses.replace(made.SIZES["b16"], frames=8, text_blocks=11)
    state = made.on_meta(made.official_video(size) | made.official_text(size))
    with pytest.raises(WeightsError) as caught:
        weights.config_of(state)
    assert str(caught.value) == (
        "these weights are of no named configuration; the nearest is 'b16', but "
        "text.blocks is 11 and not 12, video.frames is 8 and not 12"
    )
    assert sizes_of(state)["video.image_px"] == 224


def test_open_needs_the_configuration_of_sizes_without_a_name(tmp_path: Path) -> None:
    file = tmp_path / "toy.pth"
    torch.save({"state_dict": made.toy_official(sorter=False)}, file)
    assert weights.read(file).config is None
    with pytest.raises(WeightsError, match=r"toy\.pth cannot be used: .* the nearest is 'b32'"):
        weights.open_model(file)
    with pytest.raises(WeightsError, match=r"the weights are not of 'b32': embed_dim is 8"):
        weights.open_model(file, "b32")
    with pytest.raises(ValueError, match="did you mean 'b32'"):
        weights.open_model(file, "b23")
    model = weights.open_model(file, made.toy())
    assert model.config == dataclasses.replace(made.toy(), preprocess="official")


@pytest.mark.parametrize("config", ["", "[]", "{}", "[" * 100_000, '{"name": "toy"}', "width"])
def test_open_a_file_with_a_configuration_that_is_none_is_an_error(
    tmp_path: Path, config: str
) -> None:
    file = tmp_path / "toy.safetensors"
    state = {name: tensor.clone() for name, tensor in TVTS(made.toy()).state_dict().items()}
    save_file(state, file, {"format": "reelscript-tvts/1", "config": config})
    with pytest.raises(WeightsError, match=r"toy\.safetensors cannot be used: "):
        weights.open_model(file)


def test_open_takes_no_memory_for_what_a_configuration_claims(tmp_path: Path) -> None:
    file = tmp_path / "toy.safetensors"
    state = {name: tensor.clone() for name, tensor in TVTS(made.toy()).state_dict().items()}
    told = made.toy().to_dict()
    told["video"]["width"] = 2**40
    save_file(state, file, {"format": "reelscript-tvts/1", "config": json.dumps(told)})
    with pytest.raises(WeightsError, match=f"video.width is 16 and not {2**40}"):
        weights.open_model(file)


@pytest.mark.parametrize("shapes", [made.clip(made.TOY), made.hf_clip(made.TOY)])
def test_open_clip_embeds_frames_without_regard_to_their_order(
    tmp_path: Path, shapes: made.Shapes
) -> None:
    state = {name: tensor * 0.3 for name, tensor in made.filled(shapes).items()}
    torch.save(state, tmp_path / "clip.pt")
    model = weights.open_model(tmp_path / "clip.pt", made.toy())
    assert model.config.preprocess == "clean"
    loaded = TVTS(made.toy())
    weights.load(loaded, state, require="clip")
    for name, tensor in model.state_dict().items():
        if not re.search(r"time_attention\.qkv|sorter", name):  # drawn anew for each
            assert torch.equal(tensor, loaded.state_dict()[name]), name
    frames = torch.randn(2, 5, 3, 24, 24)
    with torch.no_grad():
        forth, back = model.video(frames).embedding, model.video(frames.flip(1)).embedding
        other = model.video(frames[:, :4]).embedding
    torch.testing.assert_close(forth, back)
    assert (forth - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (made.mae(12, 2, 8, 9), "MAE's image encoder alone, .*; they embed no video"),
        (made.distilbert(12, 2, 30, 20), "DistilBERT alone, .*; they embed no video"),
    ],
)
def test_open_what_one_tower_begins_with_is_an_error(
    tmp_path: Path, shapes: made.Shapes, said: str
) -> None:
    torch.save(made.filled(shapes), tmp_path / "one.pt")
    with pytest.raises(WeightsError, match=rf"one\.pt cannot be used: .*{said}"):
        weights.open_model(tmp_path / "one.pt", made.toy_v1())


def test_open_initialises_what_the_file_lacks(tmp_path: Path, model: TVTS) -> None:
    """Memory that was never written to holds anything: here it is what is not a number."""
    weights.save_official(model, tmp_path / "released.pth")
    torch.save(made.filled(made.clip(made.TOY)), tmp_path / "clip.pt")
    torch.use_deterministic_algorithms(True)  # fills empty tensors with NaN
    try:
        assert torch.empty(1).isnan()
        for name in ("released.pth", "clip.pt"):
            opened = weights.open_model(tmp_path / name, made.toy())
            assert all(torch.isfinite(tensor).all() for tensor in opened.state_dict().values())
            head = opened.sorter.blocks[0].attention.qkv.weight
            assert 0.01 < head.std() < 1
            assert dict(opened.named_buffers()).keys() <= opened.state_dict().keys()
            for ours, wanted in zip(opened.parameters(), model.parameters(), strict=True):
                assert ours.requires_grad == wanted.requires_grad
                assert not ours.is_meta
    finally:
        torch.use_deterministic_algorithms(False)


def test_open_initialises_little_that_is_loaded(
    tmp_path: Path, model: TVTS, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights.save_official(model, tmp_path / "released.pth")
    drawn = 0

    def noted(draw: Any) -> Any:
        def counted(tensor: torch.Tensor, *how: Any, **named: Any) -> torch.Tensor:
            nonlocal drawn
            drawn += tensor.numel()
            return draw(tensor, *how, **named)

        return counted

    for name in ("normal_", "uniform_"):
        monkeypatch.setattr(torch.Tensor, name, noted(getattr(torch.Tensor, name)))
    TVTS(made.toy())
    assert drawn > sum(parameter.numel() for parameter in model.parameters())
    drawn = 0
    weights.open_model(tmp_path / "released.pth", made.toy())
    assert 0 < drawn <= 2 * sum(parameter.numel() for parameter in model.sorter.parameters())


@pytest.mark.parametrize(
    ("write", "told", "found"),
    [
        (weights.save, "official", "official"),
        (weights.save, "clean", "clean"),
        (weights.save_official, "official", "official"),
    ],
)
def test_open_knows_how_frames_were_made(
    model: TVTS, tmp_path: Path, write: Any, told: Any, found: str
) -> None:
    model.config = dataclasses.replace(model.config, preprocess=told)
    write(model, tmp_path / "model")
    assert weights.open_model(tmp_path / "model", made.toy()).config.preprocess == found
    again = weights.open_model(tmp_path / "model", made.toy())
    weights.save(again, tmp_path / "again.safetensors")
    assert weights.open_model(tmp_path / "again.safetensors").config.preprocess == found


def test_load_report_is_shown_by_groups(model: TVTS) -> None:
    shapes = made.clip(made.TOY)
    shown = str(weights.load(model, made.filled(shapes), require="clip"))
    assert shown == (
        f"{len(shapes) - 1} tensors loaded; as initialised: sorting head (29), "
        "attention over time (12), time embedding; left out of the file: logit_scale"
    )
    state = made.toy_official()
    assert str(weights.load(model, state)) == f"{len(state)} tensors loaded"
    model = TVTS(made.toy(time_attention_init="space_copy"))
    shown = str(weights.load(model, made.filled(made.clip(made.TOY)), require="clip"))
    assert "copied from what was loaded: attention over time (12);" in shown
    v1 = TVTS(made.toy_v1())
    shown = str(weights.load(v1, made.filled(made.mae(12, 2, 8, 9)), require="clip"))
    assert "text tower (28)" in shown
    assert "projection of video (2)" in shown


@pytest.mark.parametrize(
    ("require", "said"),
    [("tower", "did you mean 'towers'"), ("any", "there are all, towers, clip")],
)
def test_load_another_requirement_is_an_error(model: TVTS, require: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        weights.load(model, made.toy_official(), require=require)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"video_model.proj": 3}, "'video_model.proj' is a int: expected a state dict"),
        ({"state_dict": {}}, "'state_dict' is a dict: expected a state dict"),
        ({3: torch.ones(1)}, "3 is a Tensor: expected a state dict"),
    ],
)
def test_load_what_is_no_state_dict_is_an_error(model: TVTS, state: Any, said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        weights.load(model, state)


def test_load_numbers_too_large_for_the_network_are_named() -> None:
    model, state = TVTS(made.toy()).half(), made.toy_official()
    before = made.copied(model)
    weights.load(model, state)
    state["pred_model.head.bias"][0] = 1e6
    with pytest.raises(WeightsError, match=r"head\.bias holds .* not finite as torch\.float16"):
        weights.load(model, state)
    assert not made.same(model.state_dict(), before)


def test_load_weights_of_another_named_network_tells_the_sizes() -> None:
    small = dataclasses.replace(made.TOY, patch=4, patches=36)
    state = made.filled(made.official_video(small) | made.official_text(small))
    with pytest.raises(WeightsError, match=r"not of 'toy': video\.patch_px is 4 and not 8$"):
        weights.load(TVTS(made.toy()), state, require="towers")


def test_sizes_are_told_without_putting_parts_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queries, keys and values of transformers' CLIP are half of its bytes."""
    put_together = torch.cat

    def noted(parts: list[torch.Tensor]) -> torch.Tensor:
        assert all(part.is_meta for part in parts)
        return put_together(parts)

    monkeypatch.setattr(torch, "cat", noted)
    sizes = sizes_of(made.filled(made.hf_clip(made.TOY)))
    assert (sizes["video.width"], sizes["text.width"], sizes["video.blocks"]) == (16, 24, 2)


def test_load_transformers_clip_computes_what_transformers_computes() -> None:
    transformers = pytest.importorskip("transformers")
    vision = {
        "hidden_size": 16,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 24,
        "patch_size": 8,
    }
    text = {
        "hidden_size": 24,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "vocab_size": 40,
        "max_position_embeddings": 77,
        "eos_token_id": 39,
        "bos_token_id": 38,
        "pad_token_id": 0,
    }
    told = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=8)
    theirs = transformers.CLIPModel(told).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.3)
    ours = TVTS(made.toy()).eval()
    weights.load(ours, theirs.state_dict(), require="clip")
    frames, ids = torch.randn(2, 3, 24, 24), torch.tensor([[38, 3, 5, 39], [38, 7, 39, 0]])
    with torch.no_grad():
        seen = theirs(pixel_values=frames, input_ids=ids)
        video, written = ours.video(frames).embedding, ours.text(ids).embedding
    for own, other in ((video, seen.image_embeds), (written, seen.text_embeds)):
        normed = torch.nn.functional.normalize(own, dim=-1)
        torch.testing.assert_close(normed, other, atol=1e-5, rtol=1e-5)


def test_load_transformers_distilbert_computes_what_transformers_computes() -> None:
    transformers = pytest.importorskip("transformers")
    told = transformers.DistilBertConfig(
        vocab_size=30, max_position_embeddings=20, n_layers=2, n_heads=2, dim=12, hidden_dim=48
    )
    theirs = transformers.DistilBertModel(told).eval()
    ours = TVTS(made.toy_v1()).eval()
    report = weights.load(ours, theirs.state_dict(), require="clip")
    assert not any(name.startswith("text.blocks.") for name in report.missing)
    ids = torch.tensor([[5, 3, 9, 6], [5, 8, 6, 0]])
    with torch.no_grad():
        seen = theirs(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state[:, 0]
        torch.testing.assert_close(ours.text(ids).token, seen, atol=1e-5, rtol=1e-5)
