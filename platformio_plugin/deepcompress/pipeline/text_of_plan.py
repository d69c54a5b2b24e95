"""Text form of the values with kernels and with addresses; see `ir/text.py`.

%out = conv2d(%x) ... kernel=conv2d_taps encoding=delta ... cycles=900 : int8[4,10,10] ... @0
"""

from __future__ import annotations

from collections.abc import Callable

from deepcompress.backend.plan import Plan, SelectedGraph, Selection
from deepcompress.ir.graph import EncodedWeight, IntegerNode
from deepcompress.ir.text import document, node_text, quantization, shape, text


@text.register
def _(selected: SelectedGraph) -> str:
    head = f"cpu {selected.cpu}, optimize {selected.optimize}\n"

    def node(node: IntegerNode) -> str:
        return " ".join([node_text(node), *_selection(selected.selections[node.name])])

    graph = selected.integer
    return head + document("selected", graph, _result(selected), map(node, graph.nodes))


@text.register
def _(plan: Plan) -> str:
    graph = plan.integer
    steps = {step.node.name: step for step in plan.steps}

    def node(node: IntegerNode) -> str:
        step = steps.get(node.name)
        if step is None:
            return f"{node_text(node)} alias"
        words = [node_text(node), *_selection(step.selection)]
        if step.scratch_bytes:
            words.append(f"scratch={step.scratch}+{step.scratch_bytes}")
        return " ".join(words)

    def result(tensor: str) -> str:
        location = plan.locations[tensor]
        inside = "" if location.root == tensor else f" in %{location.root}+{location.offset}"
        return f"{_result(plan.selected)(tensor)} @{plan.addresses[tensor]}{inside}"

    head = f"cpu {plan.cpu}, arena {plan.arena_bytes} B, stack {plan.stack_bytes} B\n"
    return head + document("planned", graph, result, map(node, graph.nodes))


def _result(selected: SelectedGraph) -> Callable[[str], str]:
    graph = selected.integer

    def result(tensor: str) -> str:
        return f"int8{shape(graph.tensors[tensor])}{quantization(graph.quantization[tensor])}"

    return result


def _selection(selection: Selection) -> list[str]:
    cost = selection.cost
    return [
        f"kernel={selection.kernel.name}",
        *(_weight(selection.weight) if selection.weight else ()),
        f"macs={cost.macs}",
        f"cycles={cost.cycles}",
        f"code_bytes={cost.code_bytes}",
    ]


def _weight(weight: EncodedWeight) -> list[str]:
    return [
        f"encoding={weight.encoding}",
        f"weight_bytes={weight.weight_bytes}",
        f"constant_bytes={weight.constant_bytes}",
        f"zero_point={weight.zero_point}",
    ]
