"""The contrastive loss of several processes, each in its own, against one process with all clips.

Run as a program, this file is such a group of processes: WORLD FOLDER.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed

from reelscript.models.tvts import losses

PER_PROCESS, SIZE = 3, 5
TEMPERATURE = 0.4
FORMS = ("true", "official")


def inputs(world: int) -> tuple[Tensor, Tensor, Tensor]:
    """Clips and texts of all processes, process 0 first, and the weights of a toy network."""
    generator = torch.Generator().manual_seed(world)
    count = world * PER_PROCESS
    clips = torch.randn(count, SIZE, generator=generator, dtype=torch.float64)
    texts = torch.randn(count, SIZE, generator=generator, dtype=torch.float64)
    weights = torch.randn(2, SIZE, SIZE, generator=generator, dtype=torch.float64)
    return clips, texts + clips, weights


def loss_and_gradients(
    clips: Tensor, texts: Tensor, weights: Tensor, form: str
) -> tuple[Tensor, Tensor]:
    """The loss of two linear towers, and its gradient by their weights."""
    weights = weights.clone().requires_grad_()
    loss = losses.contrastive(
        clips @ weights[0], texts @ weights[1], temperature=TEMPERATURE, gather=form
    )
    loss.backward()
    assert weights.grad is not None
    return loss.detach(), weights.grad


def take_part(rank: int, world: int, folder: Path) -> None:
    """One process: its rows of the batch, gradients averaged as DistributedDataParallel does."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=world
    )
    clips, texts, weights = inputs(world)
    own = slice(rank * PER_PROCESS, (rank + 1) * PER_PROCESS)
    found = {}
    for form in FORMS:
        loss, gradient = loss_and_gradients(clips[own], texts[own], weights, form)
        distributed.all_reduce(gradient)
        found[form] = (loss, gradient / world)
    half = [rows[own].bfloat16() for rows in (clips, texts)]
    found["half"] = (losses.contrastive(*half, temperature=TEMPERATURE), torch.zeros(0))
    fixed = weights[0].clone().requires_grad_()  # texts of a tower that does not train
    loss = losses.contrastive(clips[own] @ fixed, texts[own], temperature=TEMPERATURE)
    loss.backward()
    assert fixed.grad is not None
    distributed.all_reduce(fixed.grad)
    found["fixed texts"] = (loss.detach(), fixed.grad / world)
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def main(world: int, folder: Path) -> int:
    """Forks the group, so that torch is loaded once; returns 0 if all of them ended well."""
    torch.set_num_threads(1)
    children = []
    for rank in range(world):
        child = os.fork()
        if child == 0:
            try:
                take_part(rank, world, folder)
                sys.stdout.flush()
                os._exit(0)
            except BaseException as error:
                print(f"process {rank}: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)


Found = list[dict[str, tuple[Tensor, Tensor]]]


@pytest.fixture(scope="module", params=[2, 3])
def group(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What each process of a group found."""
    world, folder = int(request.param), tmp_path_factory.mktemp("group")
    subprocess.run(
        [sys.executable, __file__, str(world), str(folder)],
        check=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_every_process_has_the_loss_of_the_global_batch(group: Found, form: str) -> None:
    expected, _ = loss_and_gradients(*inputs(len(group)), "true")
    for found in group:
        torch.testing.assert_close(found[form][0], expected, rtol=1e-12, atol=0)


@pytest.mark.slow
def test_averaged_gradients_are_those_of_one_process_with_all_clips(group: Found) -> None:
    _, expected = loss_and_gradients(*inputs(len(group)), "true")
    for found in group:
        torch.testing.assert_close(found["true"][1], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_official_gradients_are_so_many_times_smaller_as_there_are_processes(group: Found) -> None:
    _, expected = loss_and_gradients(*inputs(len(group)), "true")
    for found in group:
        torch.testing.assert_close(
            found["official"][1], expected / len(group), rtol=1e-6, atol=1e-9
        )


@pytest.mark.slow
def test_texts_without_gradient_are_contrasted_alike(group: Found) -> None:
    clips, texts, weights = inputs(len(group))
    weight = weights[0].clone().requires_grad_()
    expected = losses.contrastive(clips @ weight, texts, temperature=TEMPERATURE)
    expected.backward()
    for loss, gradient in (found["fixed texts"] for found in group):
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_half_precision_embeddings_are_contrasted_in_float32(group: Found) -> None:
    clips, texts, _ = inputs(len(group))
    exact = [rows.bfloat16().double() for rows in (clips, texts)]
    expected = losses.contrastive(*exact, temperature=TEMPERATURE).float()
    for found in group:
        torch.testing.assert_close(found["half"][0], expected, rtol=1e-5, atol=0)


def test_one_process_has_one_gradient_in_either_form() -> None:
    clips, texts, weights = inputs(2)
    true, official = (loss_and_gradients(clips, texts, weights, form) for form in FORMS)
    assert torch.equal(true[0], official[0])
    assert torch.equal(true[1], official[1])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
