"""pandas and PyTorch with batches from a DataLoader, the documented way.

    python torch_dataloader.py big.csv model.pt [workers]
"""

import sys

from common import BATCH, EPOCHS, finish, judge, network, phase, read

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main(path: str, out: str, workers: str = "0") -> None:
    phase("imported")
    train, valid, test = read(path)
    workers = int(workers)
    loader = DataLoader(
        TensorDataset(*train),
        batch_size=BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    del train
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss_of = nn.CrossEntropyLoss()
    for epoch in range(EPOCHS):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss_of(model(x), y).backward()
            optimizer.step()
        judge(f"epoch {epoch + 1}", model, valid)
        phase("epoch")
    finish(model, test, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
