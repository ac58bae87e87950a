"""The layer table of networks that it does not know."""

import subprocess
import sys

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from cnn_experiments.inspection.layer_table import LayerTable, Row, layer_table
from cnn_experiments.models.lenet5 import LeNet5


class Block(nn.Module):
    """A residual block, whose ReLU is used twice and works in place."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(maps, maps, 3, padding="same", bias=False)
        self.norm1 = nn.BatchNorm2d(maps)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.relu(maps + self.conv2(self.relu(self.norm1(self.conv1(maps)))))


class Strange(nn.Module):
    """Functional ReLU, a block and a layer used twice, a tuple output, a plain tensor, a head for training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.zeros(3, 1, 1)
        self.stem = nn.Conv2d(3, 8, (3, 1), stride=(2, 1))
        self.block = Block(8)
        self.fc = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.rnn = nn.LSTM(8, 4, batch_first=True)
        self.output = nn.Linear(4, 2)
        self.head = nn.Linear(8, 2)
        self.unused = nn.Linear(5, 5)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        maps = functional.relu(self.stem(images - self.mean))
        maps = self.block(self.block(maps))
        units = self.norm(self.fc(self.fc(maps.mean((2, 3)))))
        sequence, _ = self.rnn(units[:, None])
        scores = self.output(sequence[:, 0])
        return (scores, self.head(units)) if self.training else scores


def rows_of(table: LayerTable) -> dict[str, Row]:
    return {row.name: row for row in table.rows}


def test_a_strange_network() -> None:
    network = Strange()
    table = layer_table(network, (3, 9, 4))
    rows = rows_of(table)
    assert list(rows) == ["input", "stem", "block", "conv1", "norm1", "relu", "conv2", "fc", "norm", "rnn", "output",
                          "head", "unused"]  # fmt: skip
    stem = rows["stem"]
    assert (stem.maps, stem.size, stem.kernel, stem.stride, stem.padding) == (8, "4×4", "3×1", "2×1", "0×0")
    assert stem.multiply_adds == 8 * 4 * 4 * 3 * 3
    assert stem.connections == stem.multiply_adds + 8 * 4 * 4
    one_pass = 4 * 4 * 8 * 8 * 9
    assert rows["conv1"].multiply_adds == rows["conv1"].connections == 2 * one_pass  # the block is used twice
    assert rows["block"].multiply_adds == 4 * one_pass
    assert rows["block"].parameters == 8 * 8 * 9 * 2 + 8 + 16
    assert [row.depth for row in table.rows] == [0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert rows["conv1"].padding == "same"
    assert rows["fc"].multiply_adds == 2 * 64
    assert (rows["rnn"].parameters, rows["rnn"].multiply_adds) == (16 * 8 + 16 * 4 + 32, 16 * 8 + 16 * 4)
    assert rows["head"].kind == "dense, training only"
    assert (rows["head"].parameters, rows["head"].multiply_adds, rows["head"].connections) == (18, 0, 0)
    assert (rows["unused"].parameters, rows["unused"].maps, rows["unused"].size) == (30, None, "")
    assert table.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert table.multiply_adds == sum(row.multiply_adds for row in table.rows if row.depth == 0)


def test_the_network_is_not_touched() -> None:
    network = Strange().train()
    network.block.eval()
    seen = []
    network.stem.register_forward_hook(lambda module, inputs, output: seen.append(output))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    layer_table(network, (3, 9, 4))
    assert seen == []
    assert network.training
    assert not network.block.training
    assert len(network.stem._forward_hooks) == 1
    assert not network.block._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_attention_counts() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, images: Tensor) -> Tensor:
            places = images.flatten(2).transpose(1, 2)
            with torch.inference_mode():
                return self.attend(places, places, places, need_weights=False)[0].mean(1)

    table = layer_table(Attention(), (8, 4, 4))
    assert table.multiply_adds == 16 * 8 * 8 * 4 + 16 * 16 * 8 * 2  # four projections; scores and mixture


def test_pytorchs_compiler_is_not_imported() -> None:
    # It takes longer to import than PyTorch itself.
    program = (
        "import sys, torch; from cnn_experiments.inspection.layer_table import layer_table; "
        "from cnn_experiments.models.lenet5 import LeNet5; "
        "layer_table(LeNet5(), (1, 32, 32)); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_network_that_needs_values() -> None:
    class Choosy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.large, self.small = nn.Linear(4, 9), nn.Linear(4, 2)

        def forward(self, images: Tensor) -> Tensor:
            noise = torch.rand(1).item()  # so that a table that draws numbers is noticed
            return self.large(images.flatten(1)) if images.sum().item() > noise else self.small(images.flatten(1))

    network, random_state = Choosy(), torch.get_rng_state()
    table = layer_table(network, (1, 2, 2))
    assert table.multiply_adds == 8
    assert torch.equal(torch.get_rng_state(), random_state)


def test_what_a_network_does_itself_counts() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 3))
            self.flatten = nn.Flatten()

        def forward(self, images: Tensor) -> Tensor:
            return self.flatten(images) @ self.weight

    table = layer_table(Bare(), (1, 2, 2))
    assert (table.parameters, table.multiply_adds) == (12, 12)
    assert rows_of(layer_table(nn.Linear(4, 3), (4,)))["Linear"].parameters == 15


def test_large_and_double_precision_networks() -> None:
    with torch.device("meta"):
        network = nn.Sequential(nn.Flatten(), nn.Linear(10**6, 10**6))  # 4 TB
    assert layer_table(network, (1, 1000, 1000)).multiply_adds == 10**12
    assert layer_table(LeNet5().double(), (1, 32, 32)).connections == 340_908
    assert layer_table(LeNet5().bfloat16(), (1, 32, 32)).connections == 340_908


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.slow
def test_a_compiled_network(wrap: bool) -> None:
    network: nn.Module = LeNet5()
    if wrap:
        network = torch.compile(network)
    else:
        network.compile()
    assert layer_table(network, (1, 32, 32)).multiply_adds == 415_680


def test_images_that_do_not_fit() -> None:
    with pytest.raises(RuntimeError):
        layer_table(LeNet5(), (3, 32, 32))


def test_how_it_is_shown() -> None:
    table = layer_table(LeNet5(), (1, 32, 32))
    text = str(table)
    assert "│ c3      │ convolution  │   16 │ 10×10  │ 5×5    │" in text
    assert "340,908" in text
    page = table._repr_html_()
    assert page.startswith("<table><thead>")
    assert page.count("<tr>") == len(table.rows) + 2
    assert "<td" in page
    assert "151,600" in page
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table.rich_table("lenet5"))
    assert "lenet5" in capture.get().splitlines()[0]


def test_names_are_escaped() -> None:
    network = nn.Sequential()
    network.add_module("<b>", nn.Linear(1, 1))
    assert "<b>" not in layer_table(network, (1,))._repr_html_()


def test_the_command_prints_the_table(run_command) -> None:
    outcome = run_command("summary", "experiment=lenet5_paper")
    assert outcome.status == 0, outcome.error
    assert "lenet5" in outcome.out
    for figure in ("60,000", "340,908", "415,680", "10×10"):
        assert figure in outcome.out
