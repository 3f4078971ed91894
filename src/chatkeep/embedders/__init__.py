"""Who tells what texts are about. Needs the extra `embeddings`."""

from importlib.util import find_spec


def is_installed() -> bool:
    """Return whether the extra is there; nothing is imported for that."""
    return all(find_spec(name) is not None for name in ("numpy", "onnxruntime", "tokenizers"))
