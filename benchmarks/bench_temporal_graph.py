"""
The layers of the temporal graph against the SAGEConv of torch_geometric, on the same windows.

A window has the same nodes and edges every time, so that the mean over neighbours is one dense
product with a matrix of the size of a window, where torch_geometric gathers along the edges of a
graph made of all windows. Both have the same weights and, within rounding, the same outputs. Their
forward passes, and these with the backward passes, run beside each other within one process, so
that a busy machine slows both; ratios below 1 mean that the dense form is faster.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
from statistics import median
from typing import Any
import warnings

from mtl_perception.network.temporal_graph.config import (
    AnticipationConfig,
    GraphSettings,
    PointOfNoReturnConfig,
    RecognitionConfig,
    StateChangeConfig,
)
from mtl_perception.network.temporal_graph.trunk import GraphLayer
from mtl_perception.network.temporal_graph.window import Window, window_of
from rich.table import Table
import torch
from torch import nn, Tensor

from benchmarks.timing import console_for_tables, side_by_side

SETTINGS: dict[str, GraphSettings] = {
    'recognition': RecognitionConfig(),
    'anticipation': AnticipationConfig(),
    'state_change': StateChangeConfig(),
    'point_of_no_return': PointOfNoReturnConfig(),
}
LAYERS = 3
TOLERANCE = 1e-5
Run = Callable[[Tensor], Tensor]


def main() -> None:
    """Measure, print a table and write JSON where asked."""
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    result = measure(args)
    title = f'{LAYERS} layers of width {args.width}, {args.batch_size} windows; dense over sparse'
    columns = ('kind', 'nodes', 'edges', 'difference', 'forward ms', 'ratio', 'with backward ms')
    table = Table(*columns, 'ratio', title=title)
    for kind, row in result['kinds'].items():
        table.add_row(
            kind,
            str(row['nodes']),
            str(row['edges']),
            f'{row["difference"]:.1e}',
            f'{row["forward_ms"]:.2f}',
            f'{row["forward_ratio"]:.3f}',
            f'{row["step_ms"]:.2f}',
            f'{row["step_ratio"]:.3f}',
        )
    console_for_tables().print(table)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + '\n')


def parse_args() -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split('\n')[0])
    parser.add_argument('--width', type=int, default=1024)
    parser.add_argument('--batch-size', type=int, default=16, help='windows')
    parser.add_argument('--repetitions', type=int, default=15)
    parser.add_argument('--threads', type=int, default=0, help="PyTorch's choice if 0")
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--quick', action='store_true', help='width 256, 3 repetitions')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result here, too')
    args = parser.parse_args()
    if args.quick:
        args.width, args.repetitions = 256, 3
    return args


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """
    Return medians of times and of ratios for the windows of every kind of task.

    :raises RuntimeError: If the two forms differ by more than rounding.
    """
    torch.manual_seed(0)
    layers = [GraphLayer(args.width).to(args.device) for _ in range(LAYERS)]
    convolutions = [sage_conv(layer).to(args.device) for layer in layers]
    return {
        'benchmark': 'temporal_graph',
        'settings': {k: v for k, v in vars(args).items() if k != 'json'},
        'torch': torch.__version__,
        'num_threads': torch.get_num_threads(),
        'kinds': {
            kind: measure_windows(window_of(settings), layers, convolutions, args)
            for kind, settings in SETTINGS.items()
        },
    }


def measure_windows(
    window: Window, layers: list[GraphLayer], convolutions: list[nn.Module], args: Any
) -> dict[str, float]:
    """Return the figures of one kind of window."""
    nodes = torch.randn(args.batch_size * window.num_nodes, args.width, device=args.device)
    edges = batched_edges(window, args.batch_size, nodes.device)

    def dense(x: Tensor) -> Tensor:
        means = [(args.batch_size, window.mean_matrix(x))]
        for layer in layers:
            x = layer(x, means)
        return x

    def sparse(x: Tensor) -> Tensor:
        for layer, convolution in zip(layers, convolutions):
            x = nn.functional.leaky_relu(layer.norm(convolution(x, edges)), 0.2)
        return x

    forms: dict[str, Run] = {'dense': dense, 'sparse': sparse}
    with torch.inference_mode():
        difference = float((dense(nodes) - sparse(nodes)).abs().max())
    if not difference <= TOLERANCE * LAYERS:
        raise RuntimeError(f'the two forms differ by {difference} for {window}.')
    forward = times(forms, lambda run: inferred(run, nodes), args)
    step = times(forms, lambda run: trained(run, nodes), args)
    return {
        'nodes': window.num_nodes,
        'edges': edges.shape[1] // args.batch_size,
        'difference': difference,
        'forward_ms': forward[0],
        'forward_ratio': forward[1],
        'step_ms': step[0],
        'step_ratio': step[1],
    }


def times(
    forms: dict[str, Run], use: Callable[[Run], object], args: argparse.Namespace
) -> tuple[float, float]:
    """Return the median milliseconds of the dense form, and its median ratio to the other."""
    runs = {name: (lambda form=form: use(form)) for name, form in forms.items()}
    seconds = side_by_side(runs, args.device, args.repetitions)
    ratios = [one / other for one, other in zip(seconds['dense'], seconds['sparse'])]
    return 1e3 * median(seconds['dense']), median(ratios)


def inferred(run: Run, nodes: Tensor) -> None:
    """Do what the robot does."""
    with torch.inference_mode():
        run(nodes)


def trained(run: Run, nodes: Tensor) -> None:
    """Compute gradients of the weights and of the nodes."""
    run(nodes.detach().requires_grad_()).square().mean().backward()


def batched_edges(window: Window, batch_size: int, device: torch.device) -> Tensor:
    """Return the edges of several windows as one graph, from and to, int64 ``[2, E]``."""
    heard, said = window.edges(device).nonzero().T
    one = torch.stack([said, heard])
    return torch.cat([one + i * window.num_nodes for i in range(batch_size)], 1)


def sage_conv(layer: GraphLayer) -> nn.Module:
    """Return torch_geometric's convolution with the weights of a layer."""
    with warnings.catch_warnings():
        # It compiles parts of itself in a way that PyTorch deprecates.
        warnings.simplefilter('ignore')
        from torch_geometric.nn import SAGEConv
    width = layer.root.in_features
    convolution: nn.Module = SAGEConv(width, width, aggr='mean', project=True)
    parts = {'lin': layer.project, 'lin_l': layer.neighbours, 'lin_r': layer.root}
    for name, part in parts.items():
        convolution.get_submodule(name).load_state_dict(part.state_dict())
    return convolution


if __name__ == '__main__':
    main()
