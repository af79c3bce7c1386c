"""Networks without the concatenations that they can do without. Runs in a worker process.

A convolution over channels that were concatenated is the sum of one convolution for each part. oneDNN adds the second
to the first where it lies, while its concatenation moves every number on its own if the batch is 1: on a processor with
AVX2 that was 4 of the 14 ms of SqueezeNet.
"""

import json
from collections import Counter
from typing import Any

import mxnet as mx

_SAME_CHANNELS = {"Activation", "BatchNorm", "Dropout", "LeakyReLU", "Pooling"}
"""Have as many channels as their first input."""
_BETWEEN = {"Activation", "Dropout", "Pooling"}
"""Of those, what does the same to every channel and has no parameters."""
_CHANNELS_FIRST = {None, "None", "NCW", "NCHW", "NCDHW"}
_FUSED = "_sg_mkldnn_conv"
_MOST_PARTS = 4
_BLOCK = 8
"""oneDNN computes with blocks of at least so many channels, and would fill up a part of another number."""

Node = dict[str, Any]
Nodes = list[Node]


def split_concatenations(symbol: Any, params: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a symbol that computes the same without concatenating what only a convolution uses, and its parameters.

    Poolings and activations may lie between the two.
    """
    graph = _without_fusion(json.loads(symbol.tojson(remove_amp_cast=False)))
    nodes: Nodes = graph["nodes"]
    uses = Counter(source for source, *_ in [*graph["heads"], *(entry for node in nodes for entry in node["inputs"])])
    paths = {number: _path_from_concatenation(nodes, number, uses) for number in range(len(nodes))}
    paths = {number: path for number, path in paths.items() if path and _is_worth_it(nodes, number, path[0], params)}
    if not paths:
        return symbol, params
    writer = _Writer(nodes, params)
    gone = {step for path in paths.values() for step in path} | {_source(nodes[number], 1) for number in paths}
    for number in range(len(nodes)):
        if number in paths:
            writer.add_parts(number, paths[number])
        elif number not in gone:
            writer.copy(number)
    return mx.sym.load_json(json.dumps(writer.graph(graph))), writer.params


def _without_fusion(graph: dict[str, Any]) -> dict[str, Any]:
    """Put what MXNet fused with a convolution beside it again; bind fuses it anew.

    An int8 model has such convolutions where it stays in fp32. Those in int8 are left alone: their concatenations are
    fast.
    """
    nodes: Nodes = graph["nodes"]
    writer = _Writer(nodes, {})
    for number, node in enumerate(nodes):
        if node["op"] == _FUSED and node.get("attrs", {}).get("quantized") != "true":
            writer.add_inner(number)
        else:
            writer.copy(number)
    return writer.graph(graph)


def _path_from_concatenation(nodes: Nodes, number: int, uses: Counter[int]) -> list[int]:
    """Return the nodes from a concatenation of channels to the convolution with this number; empty if it has none.

    All of them are used for that convolution only.
    """
    attrs = nodes[number].get("attrs", {})
    if nodes[number]["op"] != "Convolution" or attrs.get("num_group", "1") != "1" or not _has_channels_first(attrs):
        return []
    path = [_source(nodes[number], 0)]
    while nodes[path[0]]["op"] in _BETWEEN and _has_channels_first(nodes[path[0]].get("attrs", {})):
        path.insert(0, _source(nodes[path[0]], 0))
    first = nodes[path[0]]
    is_concatenation = first["op"] == "Concat" and first.get("attrs", {}).get("dim", "1") == "1"
    return path if is_concatenation and all(uses[step] == 1 for step in [*path, _source(nodes[number], 1)]) else []


def _is_worth_it(nodes: Nodes, number: int, concatenation: int, params: dict[str, Any]) -> bool:
    weight = params.get(nodes[_source(nodes[number], 1)]["name"])
    parts = [_channels(nodes, entry) for entry in nodes[concatenation]["inputs"]]
    if weight is None or len(parts) > _MOST_PARTS or any(not channels or channels % _BLOCK for channels in parts):
        return False
    return sum(channels or 0 for channels in parts) == weight.shape[1]


def _channels(nodes: Nodes, entry: list[int]) -> int | None:
    """Say how many channels an output has; None where only the shape of the data would tell."""
    node = nodes[entry[0]]
    if node["op"] == "Convolution":
        return int(node["attrs"]["num_filter"])
    return _channels(nodes, node["inputs"][0]) if node["op"] in _SAME_CHANNELS else None


def _has_channels_first(attrs: dict[str, str]) -> bool:
    return attrs.get("layout") in _CHANNELS_FIRST


class _Writer:
    """Writes the nodes of a graph anew, and its parameters with the weights that are split."""

    def __init__(self, nodes: Nodes, params: dict[str, Any]) -> None:
        self.made: Nodes = []
        self.params = dict(params)
        self._nodes = nodes
        self._places: dict[int, int] = {}
        """Where the old nodes are among the new."""

    def copy(self, number: int) -> None:
        """Add a node as it was."""
        node = self._nodes[number]
        self._places[number] = self._add(node, node["name"], [self.moved(entry) for entry in node["inputs"]])

    def add_parts(self, number: int, path: list[int]) -> None:
        """Add, in place of a convolution, one for each part of the concatenation before it, and their sum."""
        convolution = self._nodes[number]
        _, weight_entry, *bias = convolution["inputs"]
        weight_name = self._nodes[weight_entry[0]]["name"]
        weight = self.params.pop(weight_name)
        total, begin = -1, 0
        for part, entry in enumerate(self._nodes[path[0]]["inputs"]):
            end = begin + (_channels(self._nodes, entry) or 0)
            value = self.moved(entry)
            for step in path[1:]:
                value = [self._add(self._nodes[step], f"{self._nodes[step]['name']}#{part}", [value]), 0, 0]
            self.params[f"{weight_name}#{part}"] = weight[:, begin:end].copy()
            inputs = [value, [self._add({"op": "null"}, f"{weight_name}#{part}", []), 0, 0]]
            attrs = dict(convolution["attrs"])
            if part:
                attrs["no_bias"] = "True"
            else:
                inputs += [self.moved(entry) for entry in bias]
            one = self._add({**convolution, "attrs": attrs}, f"{convolution['name']}#{part}", inputs)
            if part:
                is_last = end == weight.shape[1]
                name = convolution["name"] if is_last else f"{convolution['name']}#sum{part}"
                one = self._add({"op": "elemwise_add"}, name, [[total, 0, 0], [one, 0, 0]])
            total, begin = one, end
        self._places[number] = total

    def add_inner(self, number: int) -> None:
        """Add what a fused node consists of."""
        node = self._nodes[number]
        inner = node["subgraphs"][0]
        outside = iter(node["inputs"])
        places = {}
        for position, part in enumerate(inner["nodes"]):
            if part["op"] == "null":
                places[position] = self.moved(next(outside))
            else:
                inputs = [[places[source][0], *rest] for source, *rest in part["inputs"]]
                places[position] = [self._add(part, part["name"], inputs), 0, 0]
        self._places[number] = places[inner["heads"][0][0]][0]

    def graph(self, old: dict[str, Any]) -> dict[str, Any]:
        """Return the graph of the new nodes."""
        variables = [number for number, node in enumerate(self.made) if node["op"] == "null"]
        heads = [self.moved(head) for head in old["heads"]]
        return {"nodes": self.made, "arg_nodes": variables, "heads": heads, "attrs": old["attrs"]}

    def moved(self, entry: list[int]) -> list[int]:
        """Return what an input or a head is among the new nodes."""
        return [self._places[entry[0]], *entry[1:]]

    def _add(self, node: Node, name: str, inputs: list[list[int]]) -> int:
        self.made.append({**node, "name": name, "inputs": inputs})
        return len(self.made) - 1


def _source(node: Node, position: int) -> int:
    number: int = node["inputs"][position][0]
    return number
