"""Text form of the values with encoded weights and addresses; see `ir/text.py`.

%out = conv2d(%x) ... : int8[4,10,10] scale=0.1 zp=3 encoding=delta bytes=60 cycles=900 ...
"""

from __future__ import annotations

from collections.abc import Callable

from deepcompress.ir.graph import EncodedGraph, EncodedWeight, IntegerNode, Plan, Step
from deepcompress.ir.text import document, node_text, quantization, shape, text


@text.register
def _(encoded: EncodedGraph) -> str:
    graph = encoded.integer

    def node(node: IntegerNode) -> str:
        weight = encoded.weights.get(node.name)
        return " ".join([node_text(node), *(_weight(weight) if weight else ())])

    return document("encoded", graph, _result(encoded), map(node, graph.nodes))


@text.register
def _(plan: Plan) -> str:
    graph = plan.encoded.integer
    steps = {step.node.name: step for step in plan.steps}

    def node(node: IntegerNode) -> str:
        weight, step = plan.encoded.weights.get(node.name), steps.get(node.name)
        words = [node_text(node), *(_weight(weight) if weight else ())]
        return " ".join([*words, *(_step(step) if step else ("alias",))])

    def result(tensor: str) -> str:
        place = plan.places[tensor]
        inside = f" in %{place.root}+{place.offset}" if place.root != tensor else ""
        return f"{_result(plan.encoded)(tensor)} @{plan.addresses[tensor]}{inside}"

    head = f"cpu {plan.cpu}, arena {plan.arena_bytes} B, stack {plan.stack_bytes} B\n"
    return head + document("planned", graph, result, map(node, graph.nodes))


def _result(encoded: EncodedGraph) -> Callable[[str], str]:
    graph = encoded.integer

    def result(tensor: str) -> str:
        return f"int8{shape(graph.tensors[tensor])}{quantization(graph.quantization[tensor])}"

    return result


def _weight(weight: EncodedWeight) -> list[str]:
    return [
        f"encoding={weight.encoding}",
        f"weight_bytes={weight.weight_bytes}",
        f"constant_bytes={weight.constant_bytes}",
        f"zero_point={weight.zero_point}",
        f"tiles={weight.tiles}",
    ]


def _step(step: Step) -> list[str]:
    scratch = [f"scratch={step.scratch}+{step.scratch_bytes}"] if step.scratch_bytes else []
    return [*scratch, f"macs={step.macs}", f"cycles={step.cycles}", f"code_bytes={step.code_bytes}"]
