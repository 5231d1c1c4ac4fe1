"""Train the mouth network on the synthesised corpus and write the package's weights.

python training/train.py
"""

import argparse
import io
import json
import shlex
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from augment import Augmenter, Batches, Corpus
from model import TorchMouthNetwork
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from musetalk_service.engines.builtin import mel
from musetalk_service.engines.builtin.mouth_measures import APERTURE, WIDTH
from musetalk_service.engines.builtin.mouth_table import BILABIAL, CLASSES, LABIODENTAL, TABLE
from musetalk_service.engines.builtin.network import LOOK_AHEADS, STACK, STEP_MS, MouthNetwork

_HERE = Path(__file__).parent
WEIGHTS = _HERE.parent / "src" / "musetalk_service" / "assets" / "builtin" / "mouth_net.npz"
_FORMAT = 2


class Loss(nn.Module):
    """Cross entropy of the classes; squared errors of the lips' opening, width and contacts that they give, against
    those of the right classes and between the two views of a stretch."""

    def __init__(self, shape_weight: float) -> None:
        super().__init__()
        weight = torch.ones(len(CLASSES))
        weight[BILABIAL], weight[LABIODENTAL] = 2.0, 3.0
        self._entropy = nn.CrossEntropyLoss(weight, label_smoothing=0.02)
        contacts = np.eye(len(CLASSES))[:, [BILABIAL, LABIODENTAL]]
        shape = np.column_stack((TABLE @ APERTURE, 2.0 * TABLE @ WIDTH, 0.5 * contacts))
        self.shape: Tensor
        self.register_buffer("shape", torch.from_numpy(shape.astype(np.float32)))
        self._shape_weight = shape_weight

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Take logits (2 pairs, time, heads, classes) and classes (2 pairs, time)."""
        total = torch.zeros((), device=logits.device)
        for head, look_ahead in enumerate(LOOK_AHEADS):
            delay = look_ahead // STEP_MS * STACK
            total = total + self._of_head(logits[:, delay:, head].float(), labels[:, : labels.shape[1] - delay])
        return total / len(LOOK_AHEADS)

    def _of_head(self, logits: Tensor, labels: Tensor) -> Tensor:
        entropy: Tensor = self._entropy(logits.flatten(0, 1), labels.flatten())
        shape = torch.softmax(logits, -1) @ self.shape
        one, other = shape.chunk(2)
        error = self._difference(shape, self.shape[labels]) + 2.0 * self._difference(one, other)
        return entropy + self._shape_weight * error

    @staticmethod
    def _difference(shape: Tensor, other: Tensor) -> Tensor:
        """Mean squared difference over 50 ms: lips are no faster."""
        return nn.functional.avg_pool1d((shape - other).transpose(1, 2), 5, 1).square().mean()


def train(options: argparse.Namespace) -> TorchMouthNetwork:
    """Run the training, all seeded."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    sounds = Corpus.load([options.data / "sounds.npz"])
    speech = Corpus.load(sorted(options.data.glob("speech_*.npz")))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = TorchMouthNetwork(options.width, (1, 2, 4, 8, 16), options.dropout).to(device)
    print(f"{len(speech.label) / 360_000:.2f} h of speech, {sum(p.numel() for p in network.parameters())} weights")
    augmenter = Augmenter(speech, sounds, options.seed, options.clean_share)
    batches = Batches(augmenter, options.batch // 2, 400)
    loader = iter(torch.utils.data.DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4))
    loss_of = Loss(options.shape_weight).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, options.steps, pct_start=0.15)
    running = 0.0
    with tqdm(range(options.steps), desc="train", unit="step", mininterval=5) as progress:
        for step in progress:
            frames, labels = next(loader)
            frames, labels = frames.to(device), labels.to(device)
            with torch.autocast(device, torch.bfloat16):
                logits = network(frames)
            loss = loss_of(logits, labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
            progress.set_postfix(loss=f"{running:.3f}", refresh=False)
    return network.cpu().eval()


def check_export(network: TorchMouthNetwork, exported: MouthNetwork) -> None:
    """RuntimeError unless the package's numpy network gives what the trained one gives."""
    frames = torch.randn(1, 400, mel.BANDS, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.softmax(network(frames)[0], -1).numpy()  # (time, heads, classes)
    _, posteriors = exported.run(exported.initial(), frames[0].numpy())
    difference = float(np.abs(posteriors - expected).max())
    if difference > 1e-4:
        raise RuntimeError(f"the exported network differs by {difference:.1e}")


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """An .npz without the time of writing in it: the same weights make the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())


def command(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """The command line that gives these weights; folders do not matter."""
    words = ["python", "training/train.py"]
    for name, value in vars(options).items():
        if name not in ("data", "out") and value != parser.get_default(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--name", default="4", help="the version that the weights carry")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=24, help="stretches of 4 s, each one twice")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--clean-share", type=float, default=0.3, help="share of the stretches not augmented")
    parser.add_argument("--shape-weight", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=_HERE / "data")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    network = train(options)
    metadata = {
        "format": _FORMAT,
        "version": options.name,
        "command": command(parser, options),
        "classes": CLASSES,
        "dilations": network.dilations,
        "look_aheads_ms": LOOK_AHEADS,
    }
    arrays = {"metadata": np.array(json.dumps(metadata)), **network.export()}
    check_export(network, MouthNetwork(arrays))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write(options.out, arrays)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
