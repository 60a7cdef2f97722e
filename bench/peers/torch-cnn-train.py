"""PyTorch peer for the bench of convolutional training: a step of ResNet-18 on images of 32^2, f32, SGD with momentum, on the CPU.

Run: python3 torch-cnn-train.py [--batch 64 --threads 1]
Answers lines as turns.mjs says, the cases being those of torch_steps.py, with images in the faster of two memory layouts.
"""
import argparse
import timeit

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch_steps import answer_steps


class Block(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        conv = lambda i, o, size, stride: nn.Conv2d(i, o, size, stride, size // 2, bias=False)
        self.conv1, self.bn1 = conv(i, o, 3, stride), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = conv(o, o, 3, 1), nn.BatchNorm2d(o)
        self.shortcut = nn.Sequential(conv(i, o, 1, stride), nn.BatchNorm2d(o)) if stride > 1 else nn.Identity()

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.shortcut(x))


def resnet18(classes):
    layers, width = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()], 64
    for out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(width, out, stride), Block(out, out, 1)]
        width = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


def training(batch, layout):
    torch.manual_seed(0)
    model = resnet18(10).to(memory_format=layout)
    opt = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=layout)
    labels = torch.arange(batch) * 7 % 10

    def step():
        loss = F.cross_entropy(model(images), labels)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        return loss.item()

    return step


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)

    def taken(layout):
        step = training(a.batch, layout)
        step()
        return min(timeit.repeat(step, number=1, repeat=2))

    answer_steps("torch", lambda: training(a.batch, min((torch.contiguous_format, torch.channels_last), key=taken)))


main()
