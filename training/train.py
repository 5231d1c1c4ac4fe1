"""Train the mouth network on the synthesised corpus and write the package's weights.

python training/train.py --steps 6000
"""

import argparse
import datetime
import json
import shlex
from pathlib import Path

import numpy as np
import torch
from augment import Augmenter, Batches, Corpus
from model import TorchMouthNetwork
from torch import Tensor, nn
from tqdm import tqdm

from musetalk_service.engines.builtin import mel
from musetalk_service.engines.builtin.mouth_measures import APERTURE, WIDTH
from musetalk_service.engines.builtin.mouth_stream import LOOK_AHEAD_STEPS
from musetalk_service.engines.builtin.mouth_table import BILABIAL, CLASSES, LABIODENTAL, TABLE
from musetalk_service.engines.builtin.network import STACK, MouthNetwork

_HERE = Path(__file__).parent
WEIGHTS = _HERE.parent / "src" / "musetalk_service" / "assets" / "builtin" / "mouth_net.npz"
_DELAY = LOOK_AHEAD_STEPS * STACK
_FORMAT = 1


class Loss(nn.Module):
    """Cross entropy of the classes, and the squared error of the lips' opening and width that they give."""

    def __init__(self, shape_weight: float) -> None:
        super().__init__()
        weight = torch.ones(len(CLASSES))
        weight[[BILABIAL, LABIODENTAL]] = 1.8
        self._entropy = nn.CrossEntropyLoss(weight, label_smoothing=0.02)
        shape = np.stack((TABLE @ APERTURE, 2.0 * TABLE @ WIDTH), axis=1)
        self._shape = torch.from_numpy(shape.astype(np.float32))
        self._shape_weight = shape_weight

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Take logits (batch, time, classes) and classes (batch, time)."""
        logits, labels = logits[:, _DELAY:], labels[:, : labels.shape[1] - _DELAY]
        entropy: Tensor = self._entropy(logits.flatten(0, 1), labels.flatten())
        error = torch.softmax(logits, -1) @ self._shape - self._shape[labels]
        smooth = nn.functional.avg_pool1d(error.transpose(1, 2), 5, 1)
        return entropy + self._shape_weight * smooth.square().mean()


def train(options: argparse.Namespace) -> TorchMouthNetwork:
    """Run the training, all seeded."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    sounds = Corpus.load([options.data / "sounds.npz"])
    speech = Corpus.load(sorted(options.data.glob("speech_*.npz")))
    network = TorchMouthNetwork(options.width, (1, 2, 4, 8, 16), options.dropout)
    print(f"{len(speech.label) / 360_000:.2f} h of speech, {sum(p.numel() for p in network.parameters())} weights")
    augmenter = Augmenter(speech, sounds, options.seed, options.clean_share)
    batches = Batches(augmenter, options.batch, 400)
    loader = iter(torch.utils.data.DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4))
    loss_of = Loss(options.shape_weight)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, options.steps, pct_start=0.15)
    running = 0.0
    with tqdm(range(options.steps), desc="train", unit="step", mininterval=5) as progress:
        for step in progress:
            frames, labels = next(loader)
            loss = loss_of(network(frames), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
            progress.set_postfix(loss=f"{running:.3f}", refresh=False)
    return network.eval()


def check_export(network: TorchMouthNetwork, exported: MouthNetwork) -> None:
    """RuntimeError unless the package's numpy network gives what the trained one gives."""
    frames = torch.randn(1, 400, mel.BANDS, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = torch.softmax(network(frames)[0], -1).numpy()
    _, posteriors = exported.run(exported.initial(), frames[0].numpy())
    difference = float(np.abs(posteriors - expected).max())
    if difference > 1e-4:
        raise RuntimeError(f"the exported network differs by {difference:.1e}")


def command(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """The command line that gives these weights; folders do not matter."""
    words = ["python", "training/train.py"]
    for name, value in vars(options).items():
        if name not in ("data", "out") and value != parser.get_default(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=24, help="stretches of 4 s")
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--clean-share", type=float, default=0.4, help="share of the stretches not augmented")
    parser.add_argument("--shape-weight", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, default=_HERE / "data")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    network = train(options)
    metadata = {
        "format": _FORMAT,
        "version": f"{datetime.date.today():%Y.%m.%d}",
        "command": command(parser, options),
        "classes": CLASSES,
        "dilations": network.dilations,
        "look_ahead_steps": LOOK_AHEAD_STEPS,
    }
    arrays = {"metadata": np.array(json.dumps(metadata)), **network.export()}
    check_export(network, MouthNetwork(arrays))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(options.out, **arrays)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
