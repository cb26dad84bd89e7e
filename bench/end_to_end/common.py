"""Code shared by both PyTorch scripts: the table, the network, the evaluation."""

import time

START = time.perf_counter()

import pandas as pd  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

BATCH = 1024
EPOCHS = 2


def phase(name: str) -> None:
    print(f"{name:12} {time.perf_counter() - START:7.2f} s", flush=True)


def read(path: str):
    """The three parts, 70 : 15 : 15 at random, standardised by the training part: (x, y) each."""
    frame = pd.read_csv(path)
    phase("read")
    y = torch.from_numpy(frame.pop("target").to_numpy(dtype="int64", copy=True))
    x = torch.from_numpy(frame.to_numpy(dtype="float32", copy=True))
    del frame
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    n_valid = n_test = round(0.15 * len(x))
    test, valid, train = order.split([n_test, n_valid, len(x) - n_test - n_valid])
    std, mean = torch.std_mean(x[train], dim=0, correction=0)
    x.sub_(mean).div_(std)
    parts = [(x[rows], y[rows]) for rows in (train, valid, test)]
    phase("prepared")
    return parts


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(50, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2)
    )


@torch.inference_mode()
def outputs(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    model.eval()
    return torch.cat([model(rows) for rows in x.split(8192)])


def judge(name: str, model: nn.Module, part, areas: bool = False) -> None:
    x, y = part
    logits = outputs(model, x)
    loss = nn.functional.cross_entropy(logits, y).item()
    accuracy = (logits.argmax(1) == y).float().mean().item()
    line = f"{name}: accuracy {accuracy:.4f}, log loss {loss:.4f}"
    if areas:
        from sklearn.metrics import average_precision_score, roc_auc_score

        score = (logits[:, 1] - logits[:, 0]).numpy()
        line += f", ROC AUC {roc_auc_score(y, score):.4f}, PR AUC {average_precision_score(y, score):.4f}"
    print(line)


def finish(model: nn.Module, test, out: str) -> None:
    judge("test", model, test, areas=True)
    torch.save(model.state_dict(), out)
    phase("saved")
