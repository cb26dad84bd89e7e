"""pandas and PyTorch with batches from tensors in memory, the fastest plain way.

    python torch_tensors.py big.csv model.pt
"""

import sys

from common import BATCH, EPOCHS, finish, judge, network, phase, read

import torch
from torch import nn


def main(path: str, out: str) -> None:
    phase("imported")
    (x, y), valid, test = read(path)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    loss_of = nn.CrossEntropyLoss()
    for epoch in range(EPOCHS):
        model.train()
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss_of(model(x[rows]), y[rows]).backward()
            optimizer.step()
        judge(f"epoch {epoch + 1}", model, valid)
        phase("epoch")
    finish(model, test, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
